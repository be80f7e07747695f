package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/bartizan-dev/bartizan/internal/authproxy/stdio"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// bridgeMemory is a soft limit for the bridge itself. It is not an environment variable: the children would have it, too.
const bridgeMemory = 64 << 20

func stdioCommand(log io.Writer) *cobra.Command {
	options := stdio.Options{Version: buildVersion(), Log: log}
	var sessions, children, memory string
	cmd := &cobra.Command{
		Use:   "stdio [flags] -- COMMAND [ARGUMENT]...",
		Short: "Run a stdio MCP server as child processes, behind a Unix socket for the gate",
		Long: `Run an MCP server that speaks over its standard input and output, as child processes, and serve Streamable HTTP for them on a
Unix socket. The gate says on it who calls; each caller has a child of its own unless --children is Shared.

The server is started once to see that it answers. SIGTERM ends the streams, waits for the last requests and ends all
children. What the children write to their standard error comes out in lines of JSON, without what looks like a secret.`,
		Example: "  authproxy stdio --socket ./mcp.sock -- npx @modelcontextprotocol/server-filesystem /data",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, command []string) error {
			options.Command = command
			for _, flag := range []struct {
				name, value, yes, no string
				to                   *bool
			}{
				{"--sessions", sessions, string(gateconfig.Stateful), string(gateconfig.Stateless), &options.Stateful},
				{"--children", children, "Shared", "PerPrincipal", &options.Shared},
			} {
				if flag.value != flag.yes && flag.value != flag.no {
					return fmt.Errorf("%s: give %s or %s", flag.name, flag.yes, flag.no)
				}
				*flag.to = flag.value == flag.yes
			}
			if memory != "" {
				quantity, err := resource.ParseQuantity(memory)
				if err != nil || quantity.Sign() <= 0 {
					return errors.New("--child-memory: give a quantity such as 128Mi")
				}
				options.ChildMemory = quantity.Value()
			}
			debug.SetMemoryLimit(bridgeMemory)
			defer settle()()
			bridge, err := stdio.New(options)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return bridge.Run(ctx)
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false)
	flags.StringVar(&options.Socket, "socket", gateconfig.StdioSocket, "Unix socket to listen on")
	flags.StringVar(&sessions, "sessions", string(gateconfig.Stateful), "Stateful offers sessions, which live in one child; with Stateless any child answers any request")
	flags.StringVar(&children, "children", "PerPrincipal", "PerPrincipal gives every caller a child of its own; Shared has one for all")
	flags.IntVar(&options.MaxChildren, "max-children", 16, "how many children there are at most")
	flags.DurationVar(&options.IdleTimeout, "idle-timeout", 10*time.Minute, "after how long without a request a child ends")
	flags.StringVar(&memory, "child-memory", "", "resident memory above which a child is ended, as a quantity; empty for no bound")
	flags.DurationVar(&options.Drain, "drain-bound", (gateconfig.GraceSeconds-gateconfig.DrainSeconds-10)*time.Second, "how long the last requests have after SIGTERM")
	return cmd
}

func installCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "install FILE",
		Short: "Copy this program to a file, for the container of a stdio server",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			return install(arguments[0])
		},
	}
}

// install copies the running program. The file is there as a whole or not at all.
func install(file string) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	from, err := os.Open(self)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	to, err := os.CreateTemp(filepath.Dir(file), ".install-")
	if err != nil {
		return fmt.Errorf("installing: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(to.Name())
		}
	}()
	_, copyErr := io.Copy(to, from)
	if err := errors.Join(copyErr, to.Chmod(0o555), to.Close()); err != nil {
		return fmt.Errorf("installing: %w", err)
	}
	return os.Rename(to.Name(), file)
}
