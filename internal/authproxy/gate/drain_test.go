package gate_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/drain"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
)

// TestRollingRestartDropsNothing: clients that keep their connections call a service of two gates while the first is
// told to end. The service learns of it late, as kube-proxy does.
func TestRollingRestartDropsNothing(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(5 * time.Millisecond)
		result(w, r)
	})
	accept := func(w *world) { w.options.Accept = 4 * time.Second }
	first := newWorld(t, upstream.address(), accept)
	second := newWorld(t, upstream.address(), accept, func(w *world) {
		w.agents, w.strangers, w.serving, w.system = first.agents, first.strangers, first.serving, first.system
		w.certificate, w.key, w.config, w.aliceKey = first.certificate, first.key, first.config, first.aliceKey
	})
	var service atomic.Pointer[string]
	before, after := first.address(), second.address()
	service.Store(&before)
	go func() {
		gatetest.Eventually(t, "the first gate is not ready", func() bool {
			code, _ := first.ready(t)
			return code != http.StatusOK
		})
		time.Sleep(500 * time.Millisecond)
		service.Store(&after)
	}()
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, *service.Load())
	}
	var load sync.WaitGroup
	var calls atomic.Int64
	stop := make(chan struct{})
	for i := range 8 {
		load.Go(func() {
			c := first.keyed(first.aliceKey)
			transport := c.Transport.(withKey).next.(withHost).next.(*http.Transport)
			transport.DialContext = dial
			transport.ForceAttemptHTTP2 = i%2 == 0
			for {
				select {
				case <-stop:
					return
				default:
				}
				response, err := c.Do(first.post(legacyCall))
				if err != nil {
					t.Errorf("a call was dropped: %v", err)
					return
				}
				_, err = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				if err != nil || response.StatusCode != http.StatusOK {
					t.Errorf("a call was dropped: %d, %v", response.StatusCode, err)
					return
				}
				calls.Add(1)
			}
		})
	}
	gatetest.Eventually(t, "there is load", func() bool { return calls.Load() > 50 })
	first.terminate()
	select {
	case err := <-first.ended:
		first.ended <- err
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("the first gate does not end")
	}
	at := calls.Load()
	gatetest.Eventually(t, "the second gate has the load", func() bool { return calls.Load() > at+20 })
	close(stop)
	load.Wait()
	if lines := int64(len(first.audit.records(t)) + len(second.audit.records(t))); lines != calls.Load() {
		t.Errorf("%d audit lines for %d calls", lines, calls.Load())
	}
}

// TestDrainByTheSocket is what the preStop hook does: a call in flight ends well, a standing stream ends, and the gate
// stays until it is told to end.
func TestDrainByTheSocket(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := &streamer{next: make(chan string)}
	upstream := newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			server.serve(w, r)
			return
		}
		<-release
		result(w, r)
	})
	socket := filepath.Join(t.TempDir(), "drain.sock")
	w := newWorld(t, upstream.address(), func(w *world) { w.options.DrainSocket, w.options.Accept = socket, 200*time.Millisecond })
	_, stream := open(t, w.keyed(w.aliceKey), w.verb(http.MethodGet))
	called := make(chan int, 1)
	go func() {
		status, _, _ := do(t, w.keyed(w.aliceKey), w.post(legacyCall))
		called <- status
	}()
	gatetest.Eventually(t, "both are in flight", func() bool { return len(upstream.seen()) == 2 })
	asked := make(chan error, 2)
	for range 2 {
		go func() { asked <- drain.Ask(t.Context(), socket) }()
	}
	gatetest.Eventually(t, "the gate is not ready", func() bool {
		code, body := w.ready(t)
		return code == http.StatusServiceUnavailable && body == "draining"
	})
	if _, err := io.Copy(io.Discard, stream); err != nil {
		t.Errorf("the stream that belongs to no call did not end well: %v", err)
	}
	select {
	case err := <-asked:
		t.Errorf("the drain is over while a call is in flight: %v", err)
	default:
	}
	if conn, err := net.Dial("tcp", w.address()); err == nil {
		_ = conn.Close()
		t.Error("new connections are still accepted")
	}
	close(release)
	if status := <-called; status != http.StatusOK {
		t.Errorf("the call in flight: %d", status)
	}
	for range 2 {
		if err := <-asked; err != nil {
			t.Error(err)
		}
	}
	if code, _, err := w.get(t, http.DefaultClient, w.probe+"/livez"); err != nil || code != http.StatusOK {
		t.Errorf("the drained gate is gone: %d, %v", code, err)
	}
	w.terminate()
	err := <-w.ended
	w.ended <- err
	if err != nil {
		t.Error(err)
	}
}

// TestDrainIsBounded: a call that does not end is given up, and the gate ends.
func TestDrainIsBounded(t *testing.T) {
	t.Parallel()
	server := &streamer{next: make(chan string)}
	upstream := newRecorder(t, server.serve)
	w := newWorld(t, upstream.address(), func(w *world) { w.options.Bound = 300 * time.Millisecond })
	open(t, w.keyed(w.aliceKey), w.post(legacyCall))
	w.terminate()
	err := <-w.ended
	w.ended <- err
	if err != nil || !strings.Contains(w.log.String(), "given up") {
		t.Errorf("%v\n%s", err, w.log)
	}
	gatetest.Eventually(t, "the call has ended", func() bool { return server.count() == 0 })
}
