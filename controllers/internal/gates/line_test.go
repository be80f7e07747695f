package gates

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// talker is a gate that counts what it is asked, and on how many connections.
type talker struct {
	questions, connections atomic.Int64
	client                 *Client
	gate                   Gate
	// certificate is what the operator shows.
	certificate atomic.Pointer[tls.Certificate]
}

func newTalker(t *testing.T, handler http.HandlerFunc) *talker {
	t.Helper()
	serving, system := newAuthority(t), newAuthority(t)
	const name = "weather.team-a.svc"
	k := &talker{}
	address, port := gateServer(t, serving.serving(t, name), system, func(w http.ResponseWriter, r *http.Request) {
		k.questions.Add(1)
		handler(w, r)
	}, func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			k.connections.Add(1)
		}
	})
	k.certificate.Store(system.operator(t))
	k.client = New(func(context.Context) (*tls.Certificate, error) { return k.certificate.Load(), nil })
	k.client.port = port
	k.gate = Gate{Address: address, ServerName: name, Roots: serving.pem}
	return k
}

func (k *talker) read(t *testing.T) Answer {
	t.Helper()
	return k.client.Read(t.Context(), []Gate{k.gate})[0]
}

func TestConnectionIsKept(t *testing.T) {
	k := newTalker(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"generation":"g1"}`) })
	for range 5 {
		if answer := k.read(t); answer.Err != nil {
			t.Fatal(answer.Err)
		}
	}
	if q, c := k.questions.Load(), k.connections.Load(); q != 5 || c != 1 {
		t.Fatalf("%d questions on %d connections, want 5 on 1", q, c)
	}
	// Whoever was authenticated on another certificate or long ago is authenticated again.
	other := *k.certificate.Load()
	other.Certificate = append([][]byte{}, append(other.Certificate, other.Certificate[0])...)
	k.certificate.Store(&other)
	k.read(t)
	if c := k.connections.Load(); c != 2 {
		t.Fatalf("%d connections with another certificate, want 2", c)
	}
	k.client.lines[k.gate].made = time.Now().Add(-lifetime)
	k.read(t)
	if c := k.connections.Load(); c != 3 {
		t.Fatalf("%d connections after the life of one, want 3", c)
	}
	k.client.lines[k.gate].used, k.client.swept = time.Now().Add(-idle), time.Now().Add(-idle)
	k.client.Read(t.Context(), nil)
	if n := len(k.client.lines); n != 0 {
		t.Fatalf("%d lines that nobody uses are kept", n)
	}
}

// TestQuestionIsShared: while many ask one gate, it is asked one question at a time, and each answer is to a question that was
// asked after the call that it is for.
func TestQuestionIsShared(t *testing.T) {
	var underWay, now atomic.Int64
	k := newTalker(t, func(w http.ResponseWriter, _ *http.Request) {
		if underWay.Add(1) > 1 {
			t.Error("two questions at a time")
		}
		defer underWay.Add(-1)
		_, _ = fmt.Fprintf(w, `{"generation":"%d"}`, now.Load())
	})
	var all sync.WaitGroup
	const many, times = 50, 20
	for range many {
		all.Go(func() {
			for range times {
				asked := now.Add(1)
				answer := k.client.Read(t.Context(), []Gate{k.gate})[0]
				var told int64
				if _, err := fmt.Sscan(answer.Status.Generation, &told); answer.Err != nil || err != nil || told < asked {
					t.Errorf("asked at %d, answered with %+v", asked, answer)
				}
			}
		})
	}
	all.Wait()
	if q, c := k.questions.Load(), k.connections.Load(); q >= many*times || c != 1 {
		t.Errorf("%d questions on %d connections for %d reads, want fewer on 1", q, c, many*times)
	}
}

// TestGateThatRestarted: a connection that the gate has closed is no reason to fail.
func TestGateThatRestarted(t *testing.T) {
	var closing atomic.Bool
	k := newTalker(t, func(w http.ResponseWriter, _ *http.Request) {
		if closing.Load() {
			if connection, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_ = connection.Close()
			}
			return
		}
		_, _ = io.WriteString(w, `{"generation":"g1"}`)
	})
	k.read(t)
	closing.Store(true)
	if answer := k.read(t); answer.Err == nil {
		t.Fatal("a gate that closes every connection has answered")
	}
	closing.Store(false)
	if answer := k.read(t); answer.Err != nil || answer.Status.Generation != "g1" {
		t.Fatalf("got %+v", answer)
	}
}
