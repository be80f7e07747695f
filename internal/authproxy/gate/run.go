package gate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/config"
	"github.com/bartizan-dev/bartizan/internal/authproxy/drain"
	"github.com/bartizan-dev/bartizan/internal/authproxy/listener"
	"github.com/bartizan-dev/bartizan/internal/authproxy/status"
)

// otherConnections bounds the connections of the status port, and those of the probe port.
const otherConnections = 64

// Listeners are the open sockets of a running gate.
type Listeners struct {
	Gate, Status, Probe, Drain net.Listener
}

// Listen opens the sockets that the options name.
func (g *Gate) Listen() (l Listeners, err error) {
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	for _, one := range []struct {
		flag, address string
		listener      *net.Listener
	}{
		{"--gate-address", g.options.GateAddress, &l.Gate},
		{"--status-address", g.options.StatusAddress, &l.Status},
		{"--probe-address", g.options.ProbeAddress, &l.Probe},
	} {
		if *one.listener, err = net.Listen("tcp", one.address); err != nil {
			return l, fmt.Errorf("%s: %w", one.flag, err)
		}
	}
	if g.options.DrainSocket != "" {
		if l.Drain, err = drain.Listen(g.options.DrainSocket); err != nil {
			return l, err
		}
	}
	return l, nil
}

func (l Listeners) close() {
	for _, listener := range []net.Listener{l.Gate, l.Status, l.Probe, l.Drain} {
		if listener != nil {
			_ = listener.Close()
		}
	}
}

func (l Listeners) ports() (ports []uint16) {
	for _, listener := range []net.Listener{l.Gate, l.Status, l.Probe} {
		if address, err := netip.ParseAddrPort(listener.Addr().String()); err == nil {
			ports = append(ports, address.Port())
		}
	}
	return ports
}

// Run serves until the context ends, and then drains: it returns once the last request is done, or given up. A context
// "now" that ends skips what is left of that.
func (g *Gate) Run(ctx, now context.Context, l Listeners) error {
	ready := status.NewReadiness(g.store, g.address, g.drain.Draining, g.unlisted)
	reporter := &status.Reporter{Version: g.options.Version, Boot: g.boot, Store: g.store, Ready: ready, Usage: g.usage,
		Metrics: g.metrics, Log: g.log, OwnPorts: l.ports(), Definitions: g, Denied: g.denied}
	main, account, probe := listener.Server(g, g.options.Timeouts, g.connections), reporter.Server(), status.ProbeServer(ready)
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	last := func() { g.stop(now, main) }
	begin := func() { g.drain.Begin(func() { _ = l.Gate.Close() }, last) }

	failed := make(chan error, 4)
	var running sync.WaitGroup
	serve := func(server *http.Server, listener net.Listener) {
		running.Go(func() {
			// A drain closes the listener before the server.
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				failed <- err
			}
		})
	}
	if err := g.log.Begin(g.knownHeads()); err != nil {
		l.close()
		g.log.Close()
		return fmt.Errorf("the audit log cannot be written: %w", err)
	}
	g.store.Reload()
	running.Go(func() { g.store.Watch(background) })
	running.Go(func() { g.watchAll(background) })
	if g.options.ListInterval > 0 {
		running.Go(func() { g.lister.Run(background) })
	}
	serve(main, tls.NewListener(g.connections.Listener(l.Gate), listener.TLS(g.store)))
	serve(account, tls.NewListener(listener.NewConnections(otherConnections).Listener(l.Status), reporter.TLS()))
	serve(probe, listener.NewConnections(otherConnections).Listener(l.Probe))
	var asked *http.Server
	if l.Drain != nil {
		asked = g.drain.Server(begin)
		serve(asked, l.Drain)
	}

	var err error
	select {
	case <-ctx.Done():
		g.say("draining", "because", "signal")
		begin()
		select {
		case <-g.drain.Done():
		case <-now.Done():
		}
	case <-now.Done():
	case err = <-failed:
	}
	for _, server := range []*http.Server{main, account, probe, asked} {
		if server != nil {
			_ = server.Close()
		}
	}
	g.end()
	stopBackground()
	running.Wait()
	g.log.Close()
	g.spans.Close()
	g.said.close()
	g.client.Close()
	return err
}

// stop ends the taking of work and returns when the last request is done, or after the bound.
func (g *Gate) stop(now context.Context, main *http.Server) {
	g.say("no new work is accepted")
	bounded, cancel := context.WithTimeout(now, g.options.Bound)
	defer cancel()
	if err := main.Shutdown(bounded); err != nil {
		g.say("requests were given up", "after", g.options.Bound.String())
		return
	}
	g.say("the last request is done")
}

// loaded is told about every attempt to load a configuration.
func (g *Gate) loaded(generation *config.Generation, err error) {
	g.metrics.Loaded(generation, err)
	if err != nil {
		g.say("the configuration on disk is not obeyed", "error", err.Error())
		return
	}
	g.usage.Keep(generation)
	g.judgeDefinitions()
	server := generation.Server.Namespace + "/" + generation.Server.Name
	if g.handles.Learn(generation.Certificate.PrivateKey, server, time.Now()) != nil {
		g.say("what the server asks of its clients cannot be sealed with the key of the serving certificate")
	}
	g.say("a configuration is in force", "generation", generation.Generation, "clients", len(generation.Clients))
	if left := time.Until(generation.Certificate.Leaf.NotAfter); left <= 0 {
		g.say("the serving certificate has expired")
	}
}

// say writes one of the gate's own messages.
func (g *Gate) say(text string, attributes ...any) {
	slog.New(slog.NewJSONHandler(g.said, nil)).Info(text, attributes...)
}
