// Command testbed runs a real Kubernetes on one Linux machine, compiled from Go modules. Run it with --help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/cluster"
	"github.com/bartizan-dev/bartizan/hack/testbed/internal/component"
)

const help = `testbed runs a real Kubernetes on one Linux machine: API server, etcd, a node with containerd, enforced NetworkPolicies, cluster DNS,
cert-manager and external-secrets. It needs Go and a few Debian packages (hack/packages.sh), and no container engine or image registry.

  testbed up                      bring it up; compiles what is not in the cache (minutes, once). Prints the kubeconfig's path as its last line
  testbed up --only control-plane just etcd and kube-apiserver on loopback, within seconds and without root
  testbed flux                    add Flux's source, kustomize and helm controllers to it; compiles them (a quarter of an hour, once)
  testbed status                  show every part; the exit code is 0 only when all is well
  testbed kubeconfig              print the kubeconfig's path
  testbed load-image FILE...      make image archives (OCI layout or docker save, as tar) usable in pods, by tag and by digest
  testbed exec -- COMMAND...      run a command in the cluster's network namespace, from where pods and Services can be reached
  testbed kubectl -- ARGS...      run kubectl against it
  testbed down                    take it down; nothing is left but the compiled binaries in the cache
  testbed build                   only compile
  testbed selftest                bring up a second one, try everything in it, take it down

All commands take --dir FOLDER: where the cluster keeps its state, logs and data. Each folder is a cluster of its own; several run side by side.
The default is $XDG_CACHE_HOME/bartizan/testbed/cluster. up heals what was killed, and does nothing where all is well.
With KUBEBUILDER_ASSETS set, up --only control-plane runs etcd and kube-apiserver from that folder and compiles nothing.
`

// exitNone is the exit code of status where nothing runs.
const exitNone = 3

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Not every root has the folders of the administrator's programs on the path.
	_ = os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	err := run(ctx, os.Args[1:], os.Stdout)
	var code exitCode
	switch {
	case err == nil:
	case errors.As(err, &code):
		os.Exit(int(code))
	default:
		fmt.Fprintln(os.Stderr, "testbed:", err)
		if errors.Is(err, cluster.ErrNone) {
			os.Exit(exitNone)
		}
		os.Exit(1)
	}
}

// exitCode ends the program after everything was said.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, help)
		return exitCode(2)
	}
	command := args[0]
	flags := flag.NewFlagSet("testbed "+command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dir := flags.String("dir", "", "")
	only := flags.String("only", "", "")
	switch err := flags.Parse(args[1:]); {
	case errors.Is(err, flag.ErrHelp) || command == "--help" || command == "-h" || command == "help":
		fmt.Fprint(out, help)
		return nil
	case err != nil:
		return fmt.Errorf("%w; see testbed --help", err)
	}
	c, err := open(*dir)
	if err != nil {
		return err
	}
	run, ok := commands[command]
	if !ok {
		return fmt.Errorf("there is no command %q; see testbed --help", command)
	}
	return run(ctx, invocation{Cluster: c, only: *only, dirGiven: *dir != "", args: flags.Args(), out: out})
}

// open makes a Cluster of a run folder's name.
func open(dir string) (*cluster.Cluster, error) {
	begin := time.Now()
	say := func(format string, args ...any) {
		passed := time.Since(begin).Round(time.Second)
		fmt.Fprintf(os.Stderr, "[%2d:%02d] %s\n", int(passed.Minutes()), int(passed.Seconds())%60, fmt.Sprintf(format, args...))
	}
	cache, err := component.CacheFolder()
	if err != nil {
		return nil, err
	}
	if dir == "" {
		dir = filepath.Join(cache, "cluster")
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	source, err := component.SourceFolder()
	if err != nil {
		return nil, err
	}
	return &cluster.Cluster{Dir: dir, Say: say, Builder: &component.Builder{Source: source, Cache: cache, Say: say}}, nil
}
