package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

//go:embed pods.yaml
var podManifests []byte

// sample is what a user would apply.
const sample = "config/samples/kubernetes-mcp-server"

// placeholder is the image in the sample.
const placeholder = "bartizan.dev/kubernetes-mcp-server@sha256:0000000000000000000000000000000000000000000000000000000000000000"

// serverURL is how pods reach the server.
const serverURL = "https://kubernetes.tools.svc/mcp"

// full shows everything on a real cluster. What compiles slowly does so while the local part is shown.
func full(ctx context.Context, s *screen, c *cluster) error {
	ctx, cancel := context.WithCancel(ctx)
	compiled := c.compileAhead(ctx)
	// Nothing goes on when the demo has ended early.
	defer func() {
		cancel()
		_ = compiled()
	}()
	if err := c.packages(ctx, s); err != nil {
		return err
	}
	if err := local(ctx, s, c.cache); err != nil {
		return err
	}
	environment, err := up(ctx, s, c, compiled)
	if err != nil {
		return err
	}
	if err := applySample(ctx, s, c, environment); err != nil {
		return err
	}
	checks, err := clusterChecks(ctx, c)
	if err != nil {
		return err
	}
	s.title("What an allowed client can do, and what an attacker cannot")
	for _, check := range checks {
		check.show(ctx, s)
	}
	s.title("The MCPServer, as kubectl shows it")
	if err := c.showStatus(ctx, s); err != nil {
		return err
	}
	return posture(ctx, s, c)
}

func applySample(ctx context.Context, s *screen, c *cluster, e environment) error {
	s.title("One MCPServer, two clients, one policy: " + sample)
	if err := s.stage("apply the sample", func() error {
		manifests, err := c.kubectl(ctx, nil, "kustomize", sample)
		if err != nil {
			return err
		}
		if !bytes.Contains(manifests, []byte(placeholder)) {
			return fmt.Errorf("no %s in %s", placeholder, sample)
		}
		return c.apply(ctx, bytes.ReplaceAll(manifests, []byte(placeholder), []byte(e.Images[serverImage])))
	}); err != nil {
		return err
	}
	if err := s.stage("the server is ready: certificate, secret, network policy, pods, configuration in force", func() error {
		if err := c.ready(ctx, "tools", "mcpserver/kubernetes"); err != nil {
			// The reason is in the conditions.
			return errors.Join(err, c.showStatus(ctx, s))
		}
		return nil
	}); err != nil {
		return err
	}
	return s.stage("the clients have their keys and certificates; two pods start", func() error {
		for _, client := range []string{"mcpclient/assistant", "mcpclient/reporter"} {
			if err := c.ready(ctx, "assistants", client); err != nil {
				return err
			}
		}
		pods := bytes.ReplaceAll(podManifests, []byte("CLIENT_IMAGE"), []byte(e.Images[clientImage]))
		if _, err := c.kubectl(ctx, nil, "delete", "pod", "--namespace", "assistants", "assistant", "stranger", "--ignore-not-found"); err != nil {
			return err
		}
		if err := c.apply(ctx, pods); err != nil {
			return err
		}
		return c.wait(ctx, 2*time.Minute, "assistants", "condition=Ready", "pod/assistant", "pod/stranger")
	})
}

// credentials are whose key and certificate a client shows; empty for none.
type credentials struct{ key, certificate string }

// client is the command line of mcpclient in a pod.
func (c *cluster) client(pod string, with credentials, command string, arguments ...string) []string {
	all := c.kubectlCommand("exec", "--namespace", "assistants", pod, "--", "/mcpclient", command,
		"--url", serverURL, "--ca", "/assistant/ca.crt", "--timeout", "8s")
	if with.key != "" {
		all = append(all, "--key-file", "/"+with.key+"/api-key")
	}
	if with.certificate != "" {
		all = append(all, "--cert", "/"+with.certificate+"/tls.crt", "--key", "/"+with.certificate+"/tls.key")
	}
	return append(all, arguments...)
}

// allowed is a call that the policy grants to assistant.
var allowed = []string{"--tool", "pods_list_in_namespace", "--args", `{"namespace":"tools"}`}

func clusterChecks(ctx context.Context, c *cluster) ([]check, error) {
	// The newest: an older one may be about to end.
	server, err := c.kubectl(ctx, nil, "get", "pods", "--namespace", "tools", "--selector", "bartizan.dev/server=kubernetes",
		"--field-selector", "status.phase=Running", "--sort-by", ".metadata.creationTimestamp", "--output", "jsonpath={.items[-1:].status.podIP}")
	if err != nil {
		return nil, err
	}
	assistant := credentials{"assistant", "assistant"}
	dial := func(pod string, port int) []string {
		return c.kubectlCommand("exec", "--namespace", "assistants", pod, "--", "/mcpclient", "dial", "--timeout", "5s",
			"--address", string(server)+":"+strconv.Itoa(port))
	}
	refused := []result.Outcome{result.Unauthorized}
	return []check{{
		name:  "an allowed client lists pods",
		tried: "the pod of assistant, with its key and certificate, calls pods_list_in_namespace for the namespace tools",
		want:  []result.Outcome{result.OK}, contains: "kubernetes-",
		command: c.client("assistant", assistant, "call", allowed...),
	}, {
		name:  "it sees only what it may use",
		tried: "the same client asks which tools there are",
		want:  []result.Outcome{result.OK}, contains: "pods_get pods_list_in_namespace",
		command: c.client("assistant", assistant, "list"),
	}, {
		name:    "a tool without a grant is refused",
		tried:   "the same client calls pods_log",
		want:    []result.Outcome{result.Forbidden},
		command: c.client("assistant", assistant, "call", "--tool", "pods_log", "--args", `{"namespace":"tools","name":"any"}`),
	}, {
		name:    "without a key: 401",
		tried:   "the allowed call, with the certificate alone",
		want:    refused,
		command: c.client("assistant", credentials{certificate: "assistant"}, "call", allowed...),
	}, {
		name:    "without a certificate: refused",
		tried:   "the allowed call, with the key alone",
		want:    refused,
		command: c.client("assistant", credentials{key: "assistant"}, "call", allowed...),
	}, {
		name:    "another client's certificate: refused",
		tried:   "the allowed call, with assistant's key and reporter's certificate",
		want:    refused,
		command: c.client("assistant", credentials{"assistant", "reporter"}, "call", allowed...),
	}, {
		name:    "another client's key: refused",
		tried:   "the allowed call, with reporter's key and assistant's certificate",
		want:    refused,
		command: c.client("assistant", credentials{"reporter", "assistant"}, "call", allowed...),
	}, {
		name:    "another client's identity has that client's grants, not these",
		tried:   "the allowed call, with reporter's key and certificate",
		want:    []result.Outcome{result.Forbidden},
		command: c.client("assistant", credentials{"reporter", "reporter"}, "call", allowed...),
	}, {
		name:    "from a pod that is not allowed: no connection",
		tried:   "the pod stranger, with assistant's key and certificate, makes the allowed call",
		want:    []result.Outcome{result.NoConnection},
		command: c.client("stranger", assistant, "call", allowed...),
	}, {
		name:    "the gate is where connections end …",
		tried:   fmt.Sprintf("the pod of assistant opens a TCP connection to the gate's port, %s:%d", server, gateconfig.GatePort),
		want:    []result.Outcome{result.OK},
		command: dial("assistant", gateconfig.GatePort),
	}, {
		name:    "… and straight to the server's port: no connection",
		tried:   fmt.Sprintf("the same pod opens one to the server's own port, %s:8080", server),
		want:    []result.Outcome{result.NoConnection},
		command: dial("assistant", 8080),
	}}, nil
}

func (c *cluster) showStatus(ctx context.Context, s *screen) error {
	for _, command := range [][]string{
		{"get", "mcpserver", "--namespace", "tools"},
		{"get", "mcpserver", "kubernetes", "--namespace", "tools", "--output",
			`jsonpath={range .status.conditions[*]}{.type}={.status} ({.reason}): {.message}{"\n"}{end}`},
		{"get", "mcpclient,mcpaccesspolicy", "--all-namespaces"},
		{"get", "deployment,service,networkpolicy,certificate,externalsecret,role,serviceaccount,poddisruptionbudget", "--namespace", "tools",
			"--selector", "bartizan.dev/server=kubernetes", "--output", "name"},
	} {
		printed, err := c.kubectl(ctx, nil, command...)
		if err != nil {
			return err
		}
		s.printf("%s\n", printed)
	}
	return nil
}

// down removes the testbed. The compiled programs stay in the cache.
func down(ctx context.Context, s *screen, c *cluster) error {
	if !c.isTestbed() {
		return errors.New("BARTIZAN_CONTEXT is set: the demo does not take down a cluster that it did not bring up")
	}
	if _, err := os.Stat(c.testbed()); err != nil {
		if err := c.tools(ctx); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(c.environment()); err != nil {
		return err
	}
	command := c.testbedCommand("down")
	return s.stage("take the testbed down", func() error { return follow(ctx, os.Stderr, command[0], command[1:]...) })
}
