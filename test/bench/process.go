package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/bartizan-dev/bartizan/test/peers"
)

// mebibyte is what memory is told in.
const mebibyte = "MiB"

// memory is P9.
func (b *bench) memory(ctx context.Context) error {
	var idle, busy []float64
	rounds := b.some(3, 1)
	for round := range rounds {
		f, err := b.prepare(ctx, "call", nil)
		if err == nil {
			f.asks(request(call("get_0", 300)))
			var i, m float64
			if i, m, err = b.grown(f.targets[0]); err == nil {
				idle, busy = append(idle, i), append(busy, m)
			}
		}
		f.stop()
		if err != nil {
			return err
		}
		b.progress("P9: round %d of %d", round+1, rounds)
	}
	const published = "agentgateway, as published"
	b.measured("P9", "resident memory, idle", mebibyte, idle, published, 10.6, atMost(15))
	b.measured("P9", "resident memory, 512 connections with 40 requests each", mebibyte, busy, published, 73, atMost(60))
	size, err := b.image(ctx)
	if err != nil {
		return err
	}
	b.measured("P9", "the gate's image, as archive", mebibyte, []float64{size}, "", 0, atMost(20))
	return nil
}

// grown is the memory of a gate before any request, and the most that it has with 512 connections.
func (b *bench) grown(t *target) (idle, most float64, err error) {
	// It has begun when its second tick is over.
	time.Sleep(time.Duration(b.some(3000, 1500)) * time.Millisecond)
	before, err := resident(t.pid)
	if err != nil {
		return 0, 0, err
	}
	all, err := connect(t, 512)
	if err != nil {
		return 0, 0, err
	}
	defer all.close()
	peak := before
	for range 10 {
		if err := all.saturate(t, 512*b.some(4, 1)); err != nil {
			return 0, 0, err
		}
		now, err := resident(t.pid)
		if err != nil {
			return 0, 0, err
		}
		peak = max(peak, now)
	}
	return float64(before) / (1 << 20), float64(peak) / (1 << 20), nil
}

// image is the size of the gate's image in MiB, built as "make images" does.
func (b *bench) image(ctx context.Context) (float64, error) {
	program, err := peers.Program(ctx, "cmd/authproxy")
	if err != nil {
		return 0, err
	}
	root, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return 0, err
	}
	archive := filepath.Join(b.w.directory, "image.tar")
	command := exec.CommandContext(ctx, "go", "run", ".", "build", "--name", "bench/authproxy:bench", "--out", archive, "--file", program+":/authproxy", "--entrypoint", "/authproxy")
	command.Dir = filepath.Join(filepath.Dir(strings.TrimSpace(string(root))), "hack", "images")
	if output, err := command.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("the image: %w: %s", err, output)
	}
	info, err := os.Stat(archive)
	if err != nil {
		return 0, err
	}
	return float64(info.Size()) / (1 << 20), nil
}

// handshakes is P10.
func (b *bench) handshakes(ctx context.Context) error {
	f, err := b.prepare(ctx, "call", nil, peers.Nginx, peers.HAProxy)
	defer f.stop()
	if err != nil {
		return err
	}
	f.asks(request(call("get_0", 300)))
	count := b.some(400, 20)
	figures, err := b.inTurn(ctx, "P10", f.targets, func(t *target) (float64, error) {
		micros, err := perRequest(t, count, func() error { return fresh(t, 8, count) })
		if err != nil {
			return 0, err
		}
		return 1e6 / micros, nil
	})
	if err != nil {
		return err
	}
	const work = "connections with mutual TLS 1.3 and one request each, a second of CPU time"
	for _, peer := range []peers.Peer{peers.Nginx, peers.HAProxy} {
		b.compare("P10", work, "a second", figures[gateName], string(peer), figures[string(peer)], atLeast(0.8))
	}
	return nil
}

// fresh makes requests, each on a connection of its own, so many at once.
func fresh(t *target, at, count int) error {
	work := make(chan struct{}, count)
	for range count {
		work <- struct{}{}
	}
	close(work)
	failures := make(chan error, at)
	for range at {
		go func() {
			for range work {
				c, err := t.dial(0)
				if err == nil {
					_, err = c.do(t.request(), t.want)
					c.close()
				}
				if err != nil {
					failures <- err
					return
				}
			}
			failures <- nil
		}()
	}
	for range at {
		if err := <-failures; err != nil {
			return err
		}
	}
	return nil
}
