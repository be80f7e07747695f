package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/config"
	"github.com/bartizan-dev/bartizan/internal/authproxy/decision"
	"github.com/bartizan-dev/bartizan/internal/authproxy/filter"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/authproxy/identity"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/test/peers"
)

const listRequest = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`

// lists is P7.
func (b *bench) lists(ctx context.Context) error {
	table, err := decision.Compile(b.w.config().Policy)
	if err != nil {
		return err
	}
	grants := table.For("agents/alice")
	asked, refusal := message.Read([]byte(listRequest), gateconfig.Limits{RequestBytes: 1 << 20, Depth: 64})
	if refusal != nil {
		return fmt.Errorf("the gate refuses to list: %s", refusal.Reason)
	}
	for _, n := range []int{10, 100, 1000} {
		answer := toolList(n)
		filterOnce := func() error {
			out, err := filter.Answer(&asked, grants, gateconfig.Revision20250618, time.Now(), answer)
			if err == nil && (bytes.Contains(out, []byte("drop_")) || !bytes.Contains(out, []byte("get_0"))) {
				err = fmt.Errorf("the list is not cut to what may be called")
			}
			return err
		}
		work := fmt.Sprintf("tools/list of %d tools cut to those that may be called", n)
		if b.with(peers.ToolHive) {
			var gate, toolhive []float64
			for round := range b.rounds {
				one, err := timed(filterOnce)
				if err != nil {
					return err
				}
				folder, err := b.w.folder("filter")
				if err != nil {
					return err
				}
				s := b.w.setup("127.0.0.1:1")
				s.Directory = folder
				other, _, err := peers.ToolHiveFilter(ctx, s, answer, b.some(max(3, 1000/n), 2))
				if err != nil {
					return err
				}
				gate, toolhive = append(gate, one), append(toolhive, other/1e3)
				b.progress("P7 %d tools: round %d of %d", n, round+1, b.rounds)
			}
			b.compare("P7", work+", the filter alone", microsecond, gate, "ToolHive's filter", toolhive, atMost(0.2))
		}
		f, err := b.prepare(ctx, fmt.Sprintf("list:%d", n), nil, peers.ToolHive, peers.HAProxy)
		if err == nil {
			f.asks(request(listRequest))
			var got map[string][]float64
			// ToolHive asks its policies for each tool: a thousand take it long.
			if got, err = b.saturated(ctx, fmt.Sprintf("P7 %d tools, whole requests", n), f.targets, connections, b.some(max(100, 20000/(n+10)), 20)); err == nil {
				b.compare("P7", work+", whole requests, ToolHive without TLS", microsecond, got[gateName], string(peers.ToolHive), got[string(peers.ToolHive)], none)
				b.compare("P7", work+", whole requests, HAProxy without filtering", microsecond, got[gateName], string(peers.HAProxy), got[string(peers.HAProxy)], none)
			}
		}
		f.stop()
		if err != nil {
			return err
		}
	}
	return nil
}

// authenticate returns a function that finds out who makes a request with a key.
func (w *world) authenticate(c gateconfig.Config, key string) (func(), error) {
	folder, err := w.folder("authenticate")
	if err != nil {
		return nil, err
	}
	directory := &gatetest.Directory{Path: folder}
	directory.Write(must{}, gatetest.Files(must{}, c, w.certificate, w.key))
	g, err := config.Load(folder, c.Server)
	if err != nil {
		return nil, err
	}
	r := &http.Request{Header: http.Header{"Authorization": {"Bearer " + key}}}
	now := time.Now()
	if _, failure := identity.Authenticate(r, g, now, nil); failure != "" {
		return nil, fmt.Errorf("the key is not accepted: %s", failure)
	}
	return func() { identity.Authenticate(r, g, now, nil) }, nil
}

// latency is P3.
func (b *bench) latency(ctx context.Context) error {
	f, err := b.prepare(ctx, "call", nil, peers.HAProxy)
	defer f.stop()
	if err != nil {
		return err
	}
	f.asks(request(call("get_0", 300)))
	const rate = 1000
	all := append([]*target{f.upstream}, f.targets...)
	lines := map[string]callers{}
	for _, t := range all {
		c, err := connect(t, 64)
		if err != nil {
			return err
		}
		defer c.close()
		if err := c.saturate(t, 500); err != nil {
			return err
		}
		lines[t.name] = c
	}
	halves, tails := map[string][]float64{}, map[string][]float64{}
	_, err = b.inTurn(ctx, "P3", all, func(t *target) (float64, error) {
		got, err := lines[t.name].paced(ctx, t, rate, time.Duration(b.some(3000, 300))*time.Millisecond)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", t.name, err)
		}
		half := float64(got.quantile(0.5).Nanoseconds()) / 1e3
		halves[t.name], tails[t.name] = append(halves[t.name], half), append(tails[t.name], float64(got.quantile(0.99).Nanoseconds())/1e3)
		return half, nil
	})
	if err != nil {
		return err
	}
	work := "1,000 requests a second, open loop: latency added to the server's own, "
	haproxy := string(peers.HAProxy)
	direct := f.upstream.name
	b.compare("P3", work+"median", microsecond, less(halves[gateName], halves[direct]), haproxy, less(halves[haproxy], halves[direct]), atMost(1))
	b.compare("P3", work+"99th percentile", microsecond, less(tails[gateName], tails[direct]), haproxy, less(tails[haproxy], tails[direct]), atMost(1.2))
	return b.vegeta(ctx, f, rate)
}

// less is what is added to a figure in each round; it is not below a microsecond, which is noise.
func less(all, direct []float64) (out []float64) {
	for i := range all {
		out = append(out, max(1, all[i]-direct[i]))
	}
	return out
}

// streams is P8.
func (b *bench) streams(ctx context.Context) error {
	const events = 64
	// As many as a gate takes on at once by default are 512: a thousand need two.
	count := b.some(500, 40)
	firsts, memory := map[string][]float64{}, map[string][]float64{}
	rounds := b.some(3, 1)
	for round := range rounds {
		f, err := b.prepare(ctx, fmt.Sprintf("stream:%d", events), func(s *setups) { s.peer.Unbuffered = true }, peers.Nginx)
		if err == nil {
			f.asks(request(call("get_0", 300)))
			for _, t := range append([]*target{f.upstream}, f.targets...) {
				var first, each float64
				if first, each, err = b.stream(t, f, count, events); err != nil {
					err = fmt.Errorf("%s: %w", t.name, err)
					break
				}
				firsts[t.name], memory[t.name] = append(firsts[t.name], first), append(memory[t.name], each)
			}
		}
		f.stop()
		if err != nil {
			return err
		}
		b.progress("P8: round %d of %d", round+1, rounds)
	}
	nginx := string(peers.Nginx)
	work := fmt.Sprintf("%d streams of %d events each: ", count, events)
	b.measured("P8", work+"first event later than from the server itself, median", microsecond, less(firsts[gateName], firsts["direct"]), "", 0, atMost(100))
	b.compare("P8", work+"first event, added, median", microsecond, less(firsts[gateName], firsts["direct"]), nginx, less(firsts[nginx], firsts["direct"]), none)
	b.measured("P8", work+"memory a stream", "KB", memory[gateName], nginx, median(memory[nginx]), atMost(20))
	return nil
}

// stream opens streams, and returns the median of the time to the first event in microseconds and the memory that each takes in KB. All
// events of all streams must come.
func (b *bench) stream(t *target, f *field, count, events int) (first, each float64, err error) {
	idle, err := resident(t.pid)
	if err != nil {
		return 0, 0, err
	}
	var open callers
	defer func() { open.close() }()
	var took []float64
	var text bytes.Buffer
	for i := range count {
		c, err := t.dial(i)
		if err != nil {
			return 0, 0, err
		}
		open = append(open, c)
		start := time.Now()
		chunked, _, err := c.begin(t.request(), http.StatusOK)
		if err != nil {
			return 0, 0, err
		}
		if !chunked {
			return 0, 0, fmt.Errorf("the answer is no stream")
		}
		text.Reset()
		for !bytes.Contains(text.Bytes(), []byte("\n\n")) {
			if _, err := c.chunk(&text); err != nil {
				return 0, 0, err
			}
		}
		took = append(took, float64(time.Since(start).Nanoseconds())/1e3)
	}
	busy, err := resident(t.pid)
	if err != nil {
		return 0, 0, err
	}
	if _, err := f.upstream.ask("/release"); err != nil {
		return 0, 0, err
	}
	for i, c := range open {
		_ = c.conn.SetDeadline(time.Now().Add(patience))
		text.Reset()
		for {
			n, err := c.chunk(&text)
			if err != nil {
				return 0, 0, fmt.Errorf("stream %d: %w", i, err)
			}
			if n == 0 {
				break
			}
		}
		if got := bytes.Count(text.Bytes(), []byte("\n\n")); got != events-1 {
			return 0, 0, fmt.Errorf("stream %d: %d events after the first, not %d", i, got, events-1)
		}
	}
	return median(took), float64(busy-idle) / 1e3 / float64(count), nil
}
