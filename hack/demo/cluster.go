package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/bartizan-dev/bartizan/hack/toolchain"
)

// cluster is where the demo runs: the testbed of this machine, or a cluster of the user's kubeconfig.
type cluster struct {
	cache string
	// context of the user's kubeconfig; empty for the testbed.
	context string
	// registry that a user's cluster pulls from; empty for the testbed, into which images are loaded.
	registry string
	// name tells a testbed from the usual one, which has none. It has Flux, and not the operator.
	name string
}

func newCluster(cache string) (*cluster, error) {
	c := &cluster{cache: cache, context: os.Getenv("BARTIZAN_CONTEXT"), registry: os.Getenv("BARTIZAN_REGISTRY")}
	if (c.context == "") != (c.registry == "") {
		return nil, errors.New("set both BARTIZAN_CONTEXT, a context of your kubeconfig, and BARTIZAN_REGISTRY, a repository prefix that its nodes can pull from and you can push to; or none, for the testbed")
	}
	return c, nil
}

// isTestbed says whether the demo brings the cluster up itself.
func (c *cluster) isTestbed() bool { return c.context == "" }

// forFlux makes it the cluster that Flux installs the operator into.
func (c *cluster) forFlux() error {
	if !c.isTestbed() {
		return errors.New("BARTIZAN_CONTEXT is set: Flux is tried on a testbed of its own only")
	}
	c.name = "flux"
	return nil
}

func (c *cluster) testbed() string { return filepath.Join(c.cache, "bin", "testbed") }

// testbedCommand is the command line of a command of the testbed, for this cluster.
func (c *cluster) testbedCommand(command string, arguments ...string) []string {
	all := []string{c.testbed(), command}
	if c.name != "" {
		all = append(all, "--dir", filepath.Join(c.cache, "testbed", c.name))
	}
	return append(all, arguments...)
}

// environment is the file that tells the tests what there is.
func (c *cluster) environment() string {
	if c.name != "" {
		return filepath.Join(c.cache, "environment-"+c.name+".json")
	}
	return filepath.Join(c.cache, "environment.json")
}

func (c *cluster) images() string { return filepath.Join(c.cache, "bin", "images") }

// tools compiles the programs that bring clusters up and build images.
func (c *cluster) tools(ctx context.Context) error {
	for name, folder := range map[string]string{c.testbed(): "hack/testbed", c.images(): "hack/images"} {
		if _, err := output(ctx, nil, "go", "-C", folder, "build", "-o", name, "."); err != nil {
			return err
		}
	}
	return nil
}

// kubectl runs kubectl and returns what it prints.
func (c *cluster) kubectl(ctx context.Context, stdin []byte, arguments ...string) ([]byte, error) {
	command := c.kubectlCommand(arguments...)
	return output(ctx, stdin, command[0], command[1:]...)
}

func (c *cluster) kubectlCommand(arguments ...string) []string {
	if c.isTestbed() {
		return c.testbedCommand("kubectl", append([]string{"--"}, arguments...)...)
	}
	return append([]string{"kubectl", "--context", c.context}, arguments...)
}

// helm runs Helm on the cluster.
func (c *cluster) helm(ctx context.Context, arguments ...string) error {
	program, err := toolchain.Helm3.Path(ctx)
	if err != nil {
		return err
	}
	if c.isTestbed() {
		kubeconfig, err := c.kubeconfig(ctx)
		if err != nil {
			return err
		}
		arguments = append(arguments, "--kubeconfig", kubeconfig)
	} else {
		arguments = append(arguments, "--kube-context", c.context)
	}
	_, err = output(ctx, nil, program, arguments...)
	return err
}

// kubeconfig is the testbed's.
func (c *cluster) kubeconfig(ctx context.Context) (string, error) {
	command := c.testbedCommand("kubeconfig")
	path, err := output(ctx, nil, command[0], command[1:]...)
	return strings.TrimSpace(string(path)), err
}

// apply applies manifests and waits for nothing.
func (c *cluster) apply(ctx context.Context, manifests []byte) error {
	_, err := c.kubectl(ctx, manifests, "apply", "--server-side", "--force-conflicts", "--field-manager=bartizan-demo", "-f", "-")
	return err
}

// wait waits until an object has a condition.
func (c *cluster) wait(ctx context.Context, limit time.Duration, namespace, condition string, objects ...string) error {
	arguments := append([]string{"wait", "--namespace", namespace, "--for", condition, "--timeout", limit.String()}, objects...)
	_, err := c.kubectl(ctx, nil, arguments...)
	return err
}

// ready waits until an object of ours is Ready as its spec is now, not as it was before.
func (c *cluster) ready(ctx context.Context, namespace, object string) error {
	generation, err := c.kubectl(ctx, nil, "get", object, "--namespace", namespace, "--output", "jsonpath={.metadata.generation}")
	if err != nil {
		return err
	}
	if err := c.wait(ctx, 3*time.Minute, namespace, "jsonpath={.status.observedGeneration}="+string(generation), object); err != nil {
		return err
	}
	return c.wait(ctx, 3*time.Minute, namespace, "condition=Ready", object)
}

// file puts one file into an image.
type file struct{ source, path string }

// image builds an image from a program alone, brings it to the cluster's nodes and returns its name with its digest.
func (c *cluster) image(ctx context.Context, name string, program file) (string, error) {
	repository := "bartizan.dev/" + name
	if !c.isTestbed() {
		repository = strings.TrimSuffix(c.registry, "/") + "/" + name
	}
	archive := filepath.Join(c.cache, "images", name+".tar")
	if err := os.MkdirAll(filepath.Dir(archive), 0o755); err != nil {
		return "", err
	}
	arguments := []string{"build", "--name", repository + ":demo", "--out", archive, "--entrypoint", program.path,
		"--file", program.source + ":" + program.path, "--label", "bartizan.dev/image=" + name}
	if !c.isTestbed() {
		arguments = append(arguments, "--push")
	}
	printed, err := output(ctx, nil, c.images(), arguments...)
	if err != nil {
		return "", err
	}
	if c.isTestbed() {
		load := c.testbedCommand("load-image", archive)
		_, err = output(ctx, nil, load[0], load[1:]...)
	}
	return strings.TrimSpace(string(printed)), err
}

// output runs a program and returns its standard output; its error has what it said.
func output(ctx context.Context, stdin []byte, program string, arguments ...string) ([]byte, error) {
	var printed, said bytes.Buffer
	command := exec.CommandContext(ctx, program, arguments...)
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(stdin), &printed, &said
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", filepath.Base(program), first(arguments), err, strings.TrimSpace(said.String()))
	}
	return printed.Bytes(), nil
}

// follow runs a program whose progress a person wants to see.
func follow(ctx context.Context, w io.Writer, program string, arguments ...string) error {
	command := exec.CommandContext(ctx, program, arguments...)
	command.Stdout, command.Stderr = w, w
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", filepath.Base(program), first(arguments), err)
	}
	return nil
}

func first(arguments []string) string {
	if len(arguments) > 3 {
		arguments = arguments[:3]
	}
	return strings.Join(arguments, " ")
}
