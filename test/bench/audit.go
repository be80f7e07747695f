package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	auditlog "github.com/bartizan-dev/bartizan/internal/authproxy/audit"
)

// audit is A1.
func (b *bench) audit(ctx context.Context) error {
	upstream, err := b.w.startUpstream(ctx, "call")
	if err != nil {
		return err
	}
	defer func() { _ = upstream.stop() }()
	for _, end := range []struct {
		name string
		// stalled says that nobody reads the log until the gate is gone.
		stalled bool
		signal  syscall.Signal
	}{
		{"the sink stalls, then kill", true, syscall.SIGKILL},
		{"kill under load", false, syscall.SIGKILL},
		{"SIGTERM under load", false, syscall.SIGTERM},
	} {
		var lost []float64
		rounds := b.some(3, 1)
		for round := range rounds {
			n, answered, err := b.ended(ctx, upstream, end.stalled, end.signal)
			if err != nil {
				return fmt.Errorf("%s: %w", end.name, err)
			}
			lost = append(lost, float64(n))
			b.progress("A1 %s: round %d of %d: %d requests were answered, %d of them are not in the log", end.name, round+1, rounds, answered, n)
		}
		b.measured("A1", "answered requests that the audit log lost: "+end.name, "lines", lost, "", 0, atMost(0))
	}
	return b.auditCost(ctx, upstream)
}

// ended makes requests until the gate is ended by a signal, and returns how many of those that were answered have no line in its log.
func (b *bench) ended(ctx context.Context, upstream *target, stalled bool, signal syscall.Signal) (lost, answered int, err error) {
	folder, err := b.w.folder("audited")
	if err != nil {
		return 0, 0, err
	}
	command, address, err := b.w.gateCommand(ctx, upstream.address, folder, b.w.config())
	if err != nil {
		return 0, 0, err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return 0, 0, err
	}
	defer reader.Close()
	command.Stdout = writer
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return 0, 0, err
	}
	defer func() { _ = command.Process.Kill() }()
	_ = writer.Close()
	read := make(chan []byte, 1)
	readAll := func() {
		text, _ := io.ReadAll(reader)
		read <- text
	}
	if !stalled {
		go readAll()
	}
	t := &target{name: gateName, address: address, tls: b.w.withCertificates, want: http.StatusOK}
	if err := ready(ctx, t); err != nil {
		return 0, 0, err
	}
	ids := b.until(t, stalled, command, signal)
	if stalled {
		go readAll()
	}
	_ = command.Wait()
	text := <-read
	if len(ids) == 0 {
		return 0, 0, fmt.Errorf("no request was answered")
	}
	// The last line may be torn by a kill; all before it must be whole.
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	if _, err := auditlog.Verify(bytes.NewReader(whole)); err != nil {
		return 0, 0, err
	}
	return missing(whole, ids), len(ids), nil
}

// until makes requests from 16 connections, each with a trace id of its own, and signals the gate: when it answers no more, if its log is
// not read, or else after a while. It returns the ids of those that were answered.
func (b *bench) until(t *target, stalled bool, command *exec.Cmd, signal syscall.Signal) []string {
	var mu sync.Mutex
	var ids []string
	var running sync.WaitGroup
	for worker := range connections {
		running.Go(func() {
			c, err := t.dial(0)
			if err != nil {
				return
			}
			defer c.close()
			for i := 1; ; i++ {
				id := fmt.Sprintf("%016x%016x", worker+1, i)
				if _, err := c.do(request(call("get_0", 300), "Traceparent: 00-"+id+"-00f067aa0ba902b7-01"), http.StatusOK); err != nil {
					return
				}
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(ids)
	}
	deadline := time.Now().Add(patience)
	before := 0
	for time.Now().Before(deadline) {
		time.Sleep(time.Duration(b.some(1000, 300)) * time.Millisecond)
		n := count()
		// Some were answered, and either that is enough or no more are.
		if n > 0 && (!stalled || n == before) {
			break
		}
		before = n
	}
	_ = command.Process.Signal(signal)
	running.Wait()
	return ids
}

// missing is how many of the trace ids no line has.
func missing(log []byte, ids []string) int {
	there := map[string]bool{}
	for line := range bytes.Lines(log) {
		var record auditlog.Record
		if json.Unmarshal(line, &record) == nil {
			there[record.TraceID] = true
		}
	}
	return len(slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return there[id] }))
}

// auditCost is the CPU time of the audit log for a request, as a share of all of the gate's.
func (b *bench) auditCost(ctx context.Context, upstream *target) error {
	gate, err := b.w.startGate(ctx, upstream.address)
	if err != nil {
		return err
	}
	defer func() { _ = gate.stop() }()
	gate.requests = [][]byte{request(call("get_0", 300))}
	got, err := b.saturated(ctx, "A1", []*target{gate}, connections, b.some(8000, 300))
	if err != nil {
		return err
	}
	var shares []float64
	for i := range b.rounds {
		line, err := b.lineCost(b.some(50_000, 2000))
		if err != nil {
			return err
		}
		shares = append(shares, 100*line/got[gateName][i])
	}
	b.measured("A1", "CPU time of the audit log, chained and written, in that of a request", "%", shares, "", 0, atMost(3))
	return nil
}

// lineCost is what a line costs, in microseconds of CPU time, when as many callers as there are connections write to a file.
func (b *bench) lineCost(count int) (float64, error) {
	sink, err := os.CreateTemp(b.w.directory, "audit-")
	if err != nil {
		return 0, err
	}
	defer func() {
		_ = sink.Close()
		_ = os.Remove(sink.Name())
	}()
	log := auditlog.NewLog(auditlog.Options{Sink: sink, Server: "team-a/bench", Boot: "bench"})
	if err := log.Begin(nil); err != nil {
		return 0, err
	}
	defer log.Close()
	record := auditlog.Record{
		Generation: strings.Repeat("0", 32), Source: "127.0.0.1:4711", Client: "agents/alice", CertificateSerial: strings.Repeat("a", 30),
		Verb: "POST", Method: "tools/call", Targets: []auditlog.Target{{Kind: "tool", Name: "get_0"}}, Decision: auditlog.Allowed, Rule: "readers/0",
		Status: 200, RequestBytes: 300,
	}
	before, err := cpuTime(os.Getpid())
	if err != nil {
		return 0, err
	}
	failures := make(chan error, connections)
	for range connections {
		go func() {
			for range count / connections {
				r := record
				r.Time = time.Now()
				if err := log.Write(&r); err != nil {
					failures <- err
					return
				}
			}
			failures <- nil
		}()
	}
	for range connections {
		if err := <-failures; err != nil {
			return 0, err
		}
	}
	after, err := cpuTime(os.Getpid())
	return float64((after - before).Nanoseconds()) / 1e3 / float64(count/connections*connections), err
}
