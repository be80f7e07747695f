// Package samples runs the samples of real servers, config/samples/<name>, on the cluster that "go run ./hack/demo up" leaves: each is applied as
// it is, with an image that is built here in the place of the reader's, becomes ready, and serves its client what its policy allows, and
// nothing else. "make samples" does both. config/samples/kubernetes-mcp-server is what the demo itself runs.
package samples

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/test/controlplane"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

const (
	root   = "../.."
	digest = "@sha256:0000000000000000000000000000000000000000000000000000000000000000"
)

// sample is a folder of config/samples.
type sample struct {
	name                      string
	namespace, server, client string
	// image is what the sample calls registry.example/<image>, and build makes it.
	image string
	build func(*testing.T, *cluster) string
	// before is a file that is applied beforehand: what a reader has already.
	before string
	// tools are all that the client sees; it calls the first one, with arguments, and is answered with a text that contains some words.
	tools                  []string
	arguments, answer, not string
}

func TestSamples(t *testing.T) {
	c := connect(t)
	for _, s := range []sample{{
		name: "everything", namespace: "playground", server: "everything", client: "visitor", image: "server-everything", build: everything,
		tools: []string{"echo", "get-sum", "trigger-long-running-operation"}, arguments: `{"message":"it works"}`, answer: "it works", not: "get-env",
	}, {
		name: "filesystem", namespace: "files", server: "filesystem", client: "reader", image: "server-filesystem", build: filesystem, before: "testdata/handbook.yaml",
		tools: []string{"read_text_file", "list_directory", "search_files"}, arguments: `{"path":"/data/hours.md"}`, answer: "nine to five", not: "write_file",
	}, {
		name: "mcp-grafana", namespace: "observability", server: "grafana", client: "oncall", image: "mcp-grafana", build: grafana, before: "testdata/grafana-store.yaml",
		// There is no Grafana here: the server's own error, with the address that the sample names, shows that the call reached it.
		tools: []string{"list_datasources", "get_dashboard_summary", "query_prometheus", "search_dashboards"}, arguments: `{}`, answer: "grafana.monitoring.svc", not: "update_dashboard",
	}} {
		t.Run(s.name, func(t *testing.T) { c.try(t, s) })
	}
}

// cluster is where the samples run, with the programs that reach it.
type cluster struct {
	kubeconfig    string
	images        map[string]string
	builder       string
	load, kubectl []string
	cache         string
}

func connect(t *testing.T) *cluster {
	t.Helper()
	cache, err := os.UserCacheDir()
	must(t, err)
	cache = filepath.Join(cache, "bartizan")
	raw, err := os.ReadFile(filepath.Join(cache, "environment.json"))
	if err != nil {
		t.Fatalf("no cluster to try the samples on (%v): go run ./hack/demo up", err)
	}
	var environment struct {
		Kubeconfig string            `json:"kubeconfig"`
		Images     map[string]string `json:"images"`
		Builder    string            `json:"builder"`
		Load       []string          `json:"load"`
	}
	must(t, json.Unmarshal(raw, &environment))
	if len(environment.Load) == 0 {
		t.Fatal("the samples run on the testbed only: unset BARTIZAN_CONTEXT, and go run ./hack/demo up")
	}
	return &cluster{
		kubeconfig: environment.Kubeconfig, images: environment.Images, builder: environment.Builder, load: environment.Load,
		kubectl: controlplane.KubectlCommand(t), cache: cache,
	}
}

// try applies a sample, waits for it, uses it, and removes it.
func (c *cluster) try(t *testing.T, s sample) {
	placeholder := "registry.example/" + s.image + digest
	manifests := string(controlplane.Kubectl(t, "kustomize", filepath.Join(root, "config", "samples", s.name)))
	if !strings.Contains(manifests, placeholder) {
		t.Fatalf("the sample does not name %s", placeholder)
	}
	manifests = strings.ReplaceAll(manifests, placeholder, s.build(t, c))
	t.Cleanup(func() {
		if t.Failed() {
			said, _ := c.run("", "describe", "mcpserver,pod", "--namespace", s.namespace)
			t.Log(said)
		}
		if _, err := c.run("", "delete", "namespace", s.namespace, "--timeout", "3m"); err != nil {
			t.Error(err)
		}
	})
	c.apply(t, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"`+s.namespace+`"}}`)
	if s.before != "" {
		content, err := os.ReadFile(s.before)
		must(t, err)
		c.apply(t, string(content))
	}
	began := time.Now()
	c.apply(t, manifests)
	c.must(t, "", "wait", "mcpserver/"+s.server, "mcpclient/"+s.client, "--namespace", s.namespace, "--for", "condition=Ready", "--timeout", "4m")
	t.Logf("ready after %s", time.Since(began).Round(time.Second))

	pod, err := os.ReadFile("testdata/pod.yaml")
	must(t, err)
	c.apply(t, strings.NewReplacer("CLIENT_IMAGE", c.images["mcpclient"], "NAMESPACE", s.namespace, "CLIENT", s.client).Replace(string(pod)))
	c.must(t, "", "wait", "pod/"+s.client, "--namespace", s.namespace, "--for", "condition=Ready", "--timeout", "2m")
	listed := c.client(t, s, result.OK, "list")
	for _, tool := range s.tools {
		if !slices.Contains(listed.Tools, tool) {
			t.Errorf("the client does not see %s: %q", tool, listed.Tools)
		}
	}
	if slices.Contains(listed.Tools, s.not) {
		t.Errorf("the client sees %s: %q", s.not, listed.Tools)
	}
	if got := c.client(t, s, "", "call", "--tool", s.tools[0], "--args", s.arguments); !strings.Contains(got.Text+got.Message, s.answer) {
		t.Errorf("%s answered %+v, without %q", s.tools[0], got, s.answer)
	}
	c.client(t, s, result.Forbidden, "call", "--tool", s.not, "--args", "{}")
}

// client runs the MCP client in its pod; it waits for the outcome that is wanted, if any is.
func (c *cluster) client(t *testing.T, s sample, want result.Outcome, command string, arguments ...string) (got result.Result) {
	t.Helper()
	all := append([]string{"exec", "--namespace", s.namespace, s.client, "--", "/mcpclient", command, "--timeout", "10s",
		"--url", "https://" + s.server + "." + s.namespace + ".svc/mcp", "--ca", "/client/ca.crt", "--key-file", "/client/api-key",
		"--cert", "/client/tls.crt", "--key", "/client/tls.key"}, arguments...)
	// The network learns of a new pod a moment after it runs.
	for deadline := time.Now().Add(time.Minute); ; {
		printed, err := c.run("", all...)
		if decoded := json.NewDecoder(strings.NewReader(printed)).Decode(&got); decoded == nil && got.Outcome != result.NoConnection && (want == "" || got.Outcome == want) {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s %q: %+v, want %s: %v", command, arguments, got, want, err)
		}
		got = result.Result{}
		<-time.After(time.Second)
	}
}

func (c *cluster) apply(t *testing.T, manifests string) {
	t.Helper()
	c.must(t, manifests, "apply", "--server-side", "--force-conflicts", "--filename", "-")
}

func (c *cluster) must(t *testing.T, stdin string, arguments ...string) {
	t.Helper()
	if _, err := c.run(stdin, arguments...); err != nil {
		t.Fatal(err)
	}
}

// run runs kubectl and returns what it prints.
func (c *cluster) run(stdin string, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, c.kubectl[0], append(slices.Clone(c.kubectl[1:]), arguments...)...)
	var printed, said bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &printed, &said
	command.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig)
	if err := command.Run(); err != nil {
		return printed.String(), fmt.Errorf("kubectl %s: %w: %s%s", strings.Join(arguments, " "), err, printed.String(), said.String())
	}
	return printed.String(), nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
