package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bartizan-dev/bartizan/hack/toolchain"
)

// The images, by the last part of their names.
const (
	managerImage = "manager"
	gateImage    = "authproxy"
	serverImage  = "kubernetes-mcp-server"
	clientImage  = "mcpclient"
	testImage    = "e2e-server"
	// Another release of the gate, for tests of what notices it: the same program, another digest.
	nextGateImage = "authproxy-next"
)

// environment tells the end-to-end tests what there is.
type environment struct {
	// Kubeconfig and Context reach the cluster. An empty Kubeconfig is the user's own.
	Kubeconfig string `json:"kubeconfig,omitempty"`
	Context    string `json:"context,omitempty"`
	// AuditLog is the file with what was written to the API server, and by whom; empty where nobody gives it to us.
	AuditLog string `json:"auditLog,omitempty"`
	// Images are references with digests.
	Images map[string]string `json:"images"`
	// Builder is the program of hack/images; Load is the beginning of a command line that brings image archives to the testbed's node, Inside
	// of one that runs what follows in its network.
	Builder string   `json:"builder"`
	Load    []string `json:"load,omitempty"`
	Inside  []string `json:"inside,omitempty"`
}

// compileAhead begins to compile what takes longest, out of the way of what is shown meanwhile: with the lowest priority, and
// with its progress in a file. It returns a function that waits for the end of it.
func (c *cluster) compileAhead(ctx context.Context) (wait func() error) {
	done := make(chan struct{})
	var result error
	go func() {
		defer close(done)
		result = func() error {
			if err := c.tools(ctx); err != nil {
				return err
			}
			if _, err := toolchain.Helm3.Path(ctx); err != nil || !c.isTestbed() {
				return err
			}
			progress, err := os.Create(filepath.Join(c.cache, "build.log"))
			if err != nil {
				return err
			}
			defer progress.Close()
			return follow(ctx, progress, "nice", "-n", "19", c.testbed(), "build")
		}()
	}()
	return func() error {
		<-done
		return result
	}
}

// packages installs the Debian packages that a node is made of.
func (c *cluster) packages(ctx context.Context, s *screen) error {
	if !c.isTestbed() {
		return nil
	}
	return s.stage("Debian packages that a node needs", func() error {
		_, err := output(ctx, nil, "hack/packages.sh")
		return err
	})
}

// upAlone is up without anything before it.
func upAlone(ctx context.Context, s *screen, c *cluster) error {
	ctx, cancel := context.WithCancel(ctx)
	compiled := c.compileAhead(ctx)
	defer func() {
		cancel()
		_ = compiled()
	}()
	if err := c.packages(ctx, s); err != nil {
		return err
	}
	_, err := up(ctx, s, c, compiled)
	return err
}

// up brings up the cluster with the operator and the images in it. What is there already is left as it is.
func up(ctx context.Context, s *screen, c *cluster, compiled func() error) (environment, error) {
	e := environment{Context: c.context, Images: map[string]string{}, Builder: c.images()}
	s.title("A real cluster")
	if !c.isTestbed() {
		if err := compiled(); err != nil {
			return e, err
		}
	} else if err := s.stage("compile the cluster's parts (minutes, once; progress in "+filepath.Join(c.cache, "build.log")+")", compiled); err != nil {
		return e, err
	}
	if c.isTestbed() {
		if err := s.stage("bring the cluster up: API server, node, network, DNS, cert-manager, external-secrets", func() error {
			command := c.testbedCommand("up")
			err := follow(ctx, os.Stderr, command[0], command[1:]...)
			if err != nil {
				return err
			}
			e.Kubeconfig, err = c.kubeconfig(ctx)
			e.AuditLog = filepath.Join(filepath.Dir(e.Kubeconfig), "log", "audit.log")
			e.Inside, e.Load = c.testbedCommand("exec", "--"), c.testbedCommand("load-image")
			return err
		}); err != nil {
			return e, err
		}
	}
	s.title("Bartizan")
	if err := s.stage("compile the operator, the gate and the test programs", func() error {
		return goBuild(ctx, filepath.Join(c.cache, "bin"), "./cmd/manager", "./cmd/authproxy", "./cmd/kubectl-mcp", "./test/mcpclient", "./test/e2e/server")
	}); err != nil {
		return e, err
	}
	if err := s.stage("images from nothing but these files", func() error { return c.allImages(ctx, e.Images) }); err != nil {
		return e, err
	}
	if c.name == "" {
		err := s.stage("install the operator by its Helm chart", func() error { return c.install(ctx, e.Images) })
		if err != nil {
			return e, err
		}
	} else if err := s.stage("Flux's source, kustomize and helm controllers (compiled for minutes, once)", func() error {
		command := c.testbedCommand("flux")
		return follow(ctx, os.Stderr, command[0], command[1:]...)
	}); err != nil {
		return e, err
	}
	encoded, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return e, err
	}
	return e, os.WriteFile(c.environment(), encoded, 0o600)
}

func (c *cluster) allImages(ctx context.Context, images map[string]string) error {
	server, err := realServer(ctx, c.cache)
	if err != nil {
		return err
	}
	binary := func(name string) string { return filepath.Join(c.cache, "bin", name) }
	for name, contents := range map[string]file{
		managerImage: {binary("manager"), "/manager"},
		gateImage:    {binary("authproxy"), "/authproxy"},
		serverImage:  {server, "/kubernetes-mcp-server"},
		clientImage:  {binary("mcpclient"), "/mcpclient"},
		testImage:    {binary("server"), "/server"},

		nextGateImage: {binary("authproxy"), "/authproxy"},
	} {
		if images[name], err = c.image(ctx, name, contents); err != nil {
			return err
		}
	}
	return nil
}

const (
	chart             = "charts/bartizan"
	release           = "bartizan"
	operatorNamespace = "bartizan-system"
)

// install installs the operator by its chart, or brings it to what this checkout has. One that was installed from config/ is
// taken over.
func (c *cluster) install(ctx context.Context, images map[string]string) error {
	namespace, err := os.ReadFile("config/manager/namespace.yaml")
	if err != nil {
		return err
	}
	if err := c.apply(ctx, namespace); err != nil {
		return err
	}
	arguments := []string{"upgrade", "--install", release, chart, "--namespace", operatorNamespace, "--take-ownership",
		"--wait", "--timeout", (3 * time.Minute).String()}
	for name, image := range map[string]string{"manager": images[managerImage], "gate": images[gateImage]} {
		repository, digest, ok := strings.Cut(image, "@")
		if !ok {
			return fmt.Errorf("the image %q has no digest", image)
		}
		arguments = append(arguments, "--set-string", "images."+name+".repository="+repository, "--set-string", "images."+name+".digest="+digest)
	}
	return c.helm(ctx, arguments...)
}
