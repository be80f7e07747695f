// Command authproxy is the gate in front of one MCP server: it authenticates callers, judges what they ask for and passes
// on what the policy allows.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/bartizan-dev/bartizan/internal/authproxy/auditverify"
	"github.com/bartizan-dev/bartizan/internal/authproxy/drain"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gate"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// version is set by the linker.
var version string

func main() {
	// net/http writes what servers and strangers sent into the standard logger.
	stdlog.SetOutput(io.Discard)
	if err := command(os.Stdout, os.Stderr).ExecuteContext(context.Background()); err != nil {
		os.Exit(1)
	}
}

func command(out, log io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "authproxy",
		Short:         "The gate in front of one MCP server",
		SilenceUsage:  true,
		SilenceErrors: false,
	}
	root.SetOut(out)
	root.SetErr(log)
	root.AddCommand(serveCommand(out, log), drainCommand(), auditCommand(out), stdioCommand(log), installCommand(), versionCommand(out))
	return root
}

func auditCommand(out io.Writer) *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "Work with audit logs", Args: cobra.NoArgs}
	cmd.AddCommand(auditverify.Command(out, "authproxy"))
	return cmd
}

func serveCommand(out, log io.Writer) *cobra.Command {
	options := gate.Options{Version: buildVersion(), Audit: out, Log: log}
	var server string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve MCP with TLS, and pass on what the policy allows",
		Long: `Serve MCP over TLS 1.3 and pass on to the server, on loopback, what the policy in the configuration allows.

The configuration's directory holds ` + gateconfig.ConfigFile + `, ` + gateconfig.CertificateFile + ` and ` + gateconfig.PrivateKeyFile + `. It is read again when it changes, as a
whole: a change that cannot be obeyed leaves the last configuration in force and is reported. Until there is one that can
be obeyed, no connection is accepted.

Standard output is the audit log, one JSON line a request, written before the request is answered. Standard error has the
gate's own messages.

SIGTERM drains: the gate is not ready but serves for --drain-accept, then takes no new work and ends with the last
request. SIGINT, or a second signal, ends at once.`,
		Example: `  authproxy serve --server team-a/github-tools
  authproxy serve --server demo/pods --config-dir ./gate --gate-address 127.0.0.1:15443 \
      --status-address 127.0.0.1:15444 --probe-address 127.0.0.1:15445 --drain-socket ''`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			namespace, name, ok := strings.Cut(server, "/")
			if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
				return errors.New("--server: give the MCPServer as namespace/name")
			}
			options.Server = gateconfig.Object{Namespace: namespace, Name: name}
			return serve(cmd.Context(), options)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&server, "server", "", "the MCPServer that the gate is for, as namespace/name; a configuration for another is refused (required)")
	flags.StringVar(&options.ConfigDirectory, "config-dir", gateconfig.Directory, "directory of the configuration")
	flags.StringVar(&options.GateAddress, "gate-address", fmt.Sprintf(":%d", gateconfig.GatePort), "address to serve MCP on, with TLS")
	flags.StringVar(&options.StatusAddress, "status-address", fmt.Sprintf(":%d", gateconfig.StatusPort), "address to serve /status and /metrics on, with mutual TLS")
	flags.StringVar(&options.ProbeAddress, "probe-address", fmt.Sprintf(":%d", gateconfig.ProbePort), "address to serve /livez and /readyz on, in plain HTTP")
	flags.StringVar(&options.UpstreamAddress, "upstream-address", "", "loopback address of the server, or unix: and the path of its socket, instead of what the configuration says")
	flags.StringVar(&options.UpstreamPath, "upstream-path", "", "path of the server, instead of what the configuration says")
	flags.DurationVar(&options.ListInterval, "list-interval", 5*time.Minute, "how often the server is asked what it offers when nothing says that it changed; 0 for never")
	flags.StringVar(&options.DrainSocket, "drain-socket", gateconfig.DrainSocket, "Unix socket through which \"authproxy drain\" asks; empty for none")
	flags.DurationVar(&options.Accept, "drain-accept", gateconfig.AcceptSeconds*time.Second, "how long a draining gate still accepts requests")
	flags.DurationVar(&options.Bound, "drain-bound", (gateconfig.GraceSeconds-gateconfig.AcceptSeconds)*time.Second, "how long a draining gate then waits for the last request")
	_ = cmd.MarkFlagRequired("server")
	return cmd
}

func serve(ctx context.Context, options gate.Options) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	ctx, drained := context.WithCancel(ctx)
	defer drained()
	now, end := context.WithCancel(context.Background())
	defer end()
	go func() {
		if received := <-signals; received == syscall.SIGTERM {
			drained()
			<-signals
		}
		end()
	}()
	collectSeldom()
	defer settle()()
	g, err := gate.New(options)
	if err != nil {
		return err
	}
	listeners, err := g.Listen()
	if err != nil {
		return err
	}
	return g.Run(ctx, now, listeners)
}

func drainCommand() *cobra.Command {
	var socket string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Ask the gate in this container to drain, and wait until it has",
		Long: `Ask the gate in this container to drain, and wait until it has no request any more.

It is the preStop hook of the gate's container: the kubelet runs it when the pod's termination begins, long before the
gate, a native sidecar, gets its SIGTERM.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			return drain.Ask(ctx, socket)
		},
	}
	cmd.Flags().StringVar(&socket, "drain-socket", gateconfig.DrainSocket, "Unix socket of the gate")
	cmd.Flags().DurationVar(&wait, "wait", gateconfig.DrainSeconds*time.Second, "how long to wait at most; the drain goes on after it")
	return cmd
}

func versionCommand(out io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(out, buildVersion())
			return err
		},
	}
}

// buildVersion is the version that the linker set, or else what the Go toolchain knows.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
