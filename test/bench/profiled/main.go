// Command profiled is the gate with a CPU profile of all it does until SIGTERM, written to the file in PROFILE; ALLOCATIONS names a file for a
// profile of what it allocates. It takes the arguments of "authproxy serve" that bench gives.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"strings"
	"syscall"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gate"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "profiled:", err)
		os.Exit(1)
	}
}

func run() error {
	options := gate.Options{Version: "profiled", Audit: os.Stdout, Log: os.Stderr}
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	server := flags.String("server", "", "")
	flags.StringVar(&options.ConfigDirectory, "config-dir", "", "")
	flags.StringVar(&options.GateAddress, "gate-address", "", "")
	flags.StringVar(&options.StatusAddress, "status-address", "", "")
	flags.StringVar(&options.ProbeAddress, "probe-address", "", "")
	flags.StringVar(&options.UpstreamAddress, "upstream-address", "", "")
	flags.StringVar(&options.DrainSocket, "drain-socket", "", "")
	flags.DurationVar(&options.Accept, "drain-accept", 0, "")
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
	}
	options.Server.Namespace, options.Server.Name, _ = strings.Cut(*server, "/")
	profile, err := os.Create(os.Getenv("PROFILE"))
	if err != nil {
		return err
	}
	defer profile.Close()
	if err := pprof.StartCPUProfile(profile); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	g, err := gate.New(options)
	if err != nil {
		return err
	}
	listeners, err := g.Listen()
	if err != nil {
		return err
	}
	if err := g.Run(ctx, ctx, listeners); err != nil {
		return err
	}
	name := os.Getenv("ALLOCATIONS")
	if name == "" {
		return nil
	}
	allocations, err := os.Create(name)
	if err != nil {
		return err
	}
	defer allocations.Close()
	return pprof.Lookup("allocs").WriteTo(allocations, 0)
}
