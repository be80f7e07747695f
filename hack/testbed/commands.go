package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"text/tabwriter"
	"time"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/cluster"
	"github.com/bartizan-dev/bartizan/hack/testbed/internal/component"
	"github.com/bartizan-dev/bartizan/hack/testbed/internal/selftest"
)

// An invocation is a command with all that it was given.
type invocation struct {
	*cluster.Cluster
	only string
	// dirGiven tells whether the run folder was chosen.
	dirGiven bool
	args     []string
	out      io.Writer
}

var commands = map[string]func(context.Context, invocation) error{
	"up":         up,
	"down":       down,
	"status":     status,
	"flux":       func(ctx context.Context, i invocation) error { return i.AddFlux(ctx) },
	"kubeconfig": kubeconfig,
	"build":      build,
	"exec":       inside,
	"kubectl":    kubectl,
	"load-image": loadImage,
	"selftest":   selfTest,
	// These two are parts of a cluster, which up starts.
	"anchor":  func(ctx context.Context, i invocation) error { return i.Anchor(ctx) },
	"forward": func(ctx context.Context, i invocation) error { return i.Forward(ctx) },
}

func (i invocation) mode() (cluster.Mode, error) {
	switch i.only {
	case "":
		return cluster.Full, nil
	case string(cluster.ControlPlane):
		return cluster.ControlPlane, nil
	}
	return "", fmt.Errorf("--only %s is not known: it is control-plane, or left out for everything", i.only)
}

func up(ctx context.Context, i invocation) error {
	mode, err := i.mode()
	if err != nil {
		return err
	}
	if err := i.Up(ctx, mode); err != nil {
		return err
	}
	fmt.Fprintln(i.out, i.Kubeconfig())
	return nil
}

func down(ctx context.Context, i invocation) error {
	err := i.Down(ctx)
	if errors.Is(err, cluster.ErrNone) {
		i.Say("nothing runs in %s", i.Dir)
		return nil
	}
	if err == nil {
		i.Say("down; nothing is left")
	}
	return err
}

func status(ctx context.Context, i invocation) error {
	mode, parts, err := i.Status(ctx)
	if len(parts) > 0 {
		fmt.Fprintf(i.out, "%s in %s\n", mode, i.Dir)
		table := tabwriter.NewWriter(i.out, 0, 0, 2, ' ', 0)
		for _, part := range parts {
			if part.Alive {
				fmt.Fprintf(table, "%s\truns\tpid %d\tfor %s\n", part.Name, part.ID.PID, part.ID.Since().Round(time.Second))
			} else {
				fmt.Fprintf(table, "%s\tENDED\tsee %s\n", part.Name, part.Log)
			}
		}
		table.Flush()
	}
	if errors.Is(err, cluster.ErrNone) {
		return fmt.Errorf("%w (%s); start one with up", err, i.Dir)
	}
	if err != nil {
		return fmt.Errorf("unhealthy: %w; up mends it", err)
	}
	fmt.Fprintln(i.out, "healthy")
	return nil
}

func kubeconfig(_ context.Context, i invocation) error {
	if err := i.Open(); err != nil {
		return fmt.Errorf("%w (%s); start one with up", err, i.Dir)
	}
	fmt.Fprintln(i.out, i.Kubeconfig())
	return nil
}

func build(ctx context.Context, i invocation) error {
	mode, err := i.mode()
	if err != nil {
		return err
	}
	apiServer, err := component.APIServer()
	if err != nil {
		return err
	}
	components := []component.Component{apiServer}
	if mode == cluster.Full {
		if components, err = component.All(); err != nil {
			return err
		}
	}
	built, err := i.Builder.Build(ctx, components...)
	if err != nil {
		return err
	}
	for _, c := range components {
		fmt.Fprintln(i.out, built[c.Name].Binary)
	}
	return nil
}

func inside(_ context.Context, i invocation) error {
	if len(i.args) == 0 {
		return errors.New("exec needs a command: testbed exec -- COMMAND...")
	}
	prefix, err := i.Inside()
	if err != nil {
		return err
	}
	return attach(append(prefix, i.args...), "KUBECONFIG="+i.InnerKubeconfig())
}

func kubectl(ctx context.Context, i invocation) error {
	if err := i.Open(); err != nil {
		return fmt.Errorf("%w (%s); start one with up", err, i.Dir)
	}
	built, err := i.Builder.Build(ctx, component.Kubernetes)
	if err != nil {
		return err
	}
	return attach(append([]string{built[component.Kubernetes.Name].Binary, "kubectl"}, i.args...), "KUBECONFIG="+i.Kubeconfig())
}

func selfTest(ctx context.Context, i invocation) error {
	if !i.dirGiven {
		folder, err := os.MkdirTemp("", "testbed-")
		if err != nil {
			return err
		}
		i.Dir = folder
	}
	if err := selftest.Run(ctx, i.Cluster); err != nil {
		return err
	}
	i.Say("everything is as promised")
	return nil
}

func loadImage(ctx context.Context, i invocation) error {
	if len(i.args) == 0 {
		return errors.New("load-image needs at least one archive: testbed load-image FILE.tar...")
	}
	for _, archive := range i.args {
		references, err := i.LoadImage(ctx, archive)
		if err != nil {
			return err
		}
		for _, reference := range references {
			fmt.Fprintln(i.out, reference)
		}
	}
	return nil
}

// attach runs a command in the foreground and ends with its exit code.
func attach(command []string, env string) error {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), env)
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exitCode(exit.ExitCode())
	}
	return err
}
