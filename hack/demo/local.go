package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/internal/policy"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// The actors of the local demo. They are only names here; on a cluster they are objects.
const (
	localNamespace = "tools"
	localServer    = "kubernetes"
	allowedTool    = "pods_list_in_namespace"
	otherTool      = "configuration_view"
)

var localClient = clientid.Client{Namespace: "assistants", Name: "assistant", Servers: localNamespace}

// local shows the gate alone before the real MCP server, as processes of this machine.
func local(ctx context.Context, s *screen, cache string) error {
	s.title("The gate alone, before the real MCP server, as processes on this machine")
	folder, err := os.MkdirTemp("", "bartizan-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)

	// Ends what is started below, and waits for it.
	ctx, stop := context.WithCancel(ctx)
	var running []*process
	defer func() {
		stop()
		for _, p := range running {
			<-p.done
		}
	}()

	var server string
	fetched := make(chan error, 1)
	go func() {
		var err error
		server, err = realServer(ctx, cache)
		fetched <- err
	}()
	if err := s.stage("compile the gate and the MCP client (MCP Go SDK)", func() error {
		return goBuild(ctx, folder, "./cmd/authproxy", "./test/mcpclient")
	}); err != nil {
		return err
	}
	if err := s.stage("the real MCP server from npm: "+serverPackage, func() error { return <-fetched }); err != nil {
		return err
	}

	var upstream int
	if err := s.stage("start the server, on the loopback address only, before a stand-in for the Kubernetes API", func() error {
		api, err := startStandIn(ctx)
		if err != nil {
			return err
		}
		if upstream, err = freePort(); err != nil {
			return err
		}
		kubeconfig := filepath.Join(folder, "kubeconfig")
		if err := os.WriteFile(kubeconfig, []byte(fmt.Sprintf(localKubeconfig, api)), 0o600); err != nil {
			return err
		}
		p, err := start(ctx, folder, "server", []string{"HOME=" + folder}, server, "--port", strconv.Itoa(upstream),
			"--bind-address", "127.0.0.1", "--stateless", "--read-only", "--disable-multi-cluster", "--kubeconfig", kubeconfig)
		if err != nil {
			return err
		}
		running = append(running, p)
		return p.listens(ctx, net.JoinHostPort("127.0.0.1", strconv.Itoa(upstream)))
	}); err != nil {
		return err
	}

	if err := s.stage("write the gate's configuration, as the operator does, and start the gate", func() error {
		if err := configure(folder, upstream); err != nil {
			return err
		}
		p, err := start(ctx, folder, "gate", nil, filepath.Join(folder, "authproxy"), gateArguments(folder)...)
		if err != nil {
			return err
		}
		running = append(running, p)
		return p.listens(ctx, localAddress)
	}); err != nil {
		return err
	}

	for _, c := range localChecks(folder) {
		c.show(ctx, s)
	}
	return nil
}

const localKubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: stand-in, cluster: {server: "http://%s"}}]
users: [{name: demo, user: {}}]
contexts: [{name: demo, context: {cluster: stand-in, user: demo}}]
current-context: demo
`

// localAddress is what callers use; the other two ports are beside it.
var localAddress = net.JoinHostPort("localhost", strconv.Itoa(gateconfig.GatePort))

func gateArguments(folder string) []string {
	at := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
	return []string{"serve", "--server", localNamespace + "/" + localServer, "--config-dir", filepath.Join(folder, "gate"), "--drain-socket", "",
		"--gate-address", at(gateconfig.GatePort), "--status-address", at(gateconfig.StatusPort), "--probe-address", at(gateconfig.ProbePort)}
}

// startStandIn serves the stand-in for the Kubernetes API until ctx ends.
func startStandIn(ctx context.Context) (address string, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: standIn(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	return listener.Addr().String(), nil
}

// configure writes what a gate reads, and the credentials of one client: the demo's authority does what cert-manager does on
// a cluster, and gateconfig.Seal makes the document that the operator would write.
func configure(folder string, upstream int) error {
	ca, err := newAuthority("Bartizan demo CA")
	if err != nil {
		return err
	}
	servingCertificate, servingKey, err := ca.serving("localhost")
	if err != nil {
		return err
	}
	clientCertificate, clientKey, err := ca.client(localClient)
	if err != nil {
		return err
	}
	key, err := keys.New(rand.Reader)
	if err != nil {
		return err
	}
	document, _, err := gateconfig.Seal(localConfig(ca, key, upstream))
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"gate/" + gateconfig.ConfigFile:      document,
		"gate/" + gateconfig.CertificateFile: servingCertificate,
		"gate/" + gateconfig.PrivateKeyFile:  servingKey,
		"client/ca.crt":                      ca.pem(),
		"client/tls.crt":                     clientCertificate,
		"client/tls.key":                     clientKey,
		"client/api-key":                     []byte(key.Text),
	}
	for name, content := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// localConfig lets one client use one tool.
func localConfig(ca *authority, key keys.Key, upstream int) gateconfig.Config {
	client := gateconfig.Object{Namespace: localClient.Namespace, Name: localClient.Name}
	return gateconfig.Config{
		Server:   gateconfig.Object{Namespace: localNamespace, Name: localServer},
		Endpoint: gateconfig.Endpoint{URL: "https://" + localAddress + "/mcp", Path: "/mcp", Hosts: []string{localAddress}},
		Upstream: gateconfig.Upstream{
			Port: int32(upstream), Path: "/mcp", Sessions: gateconfig.Stateless, MinRevision: gateconfig.Revision20250618,
		},
		Limits:         gateconfig.Limits{RequestBytes: 4 << 20, Depth: 64},
		Authentication: gateconfig.Authentication{APIKeys: gateconfig.Enabled, ClientCertificates: gateconfig.Required},
		Authorities:    map[string]string{client.Namespace: string(ca.pem())},
		Clients: []gateconfig.Client{{
			Object: client,
			Keys:   []gateconfig.Key{{ID: key.ID, SHA256: keys.Hash(key.Text), NotAfter: time.Now().Add(time.Hour).UTC().Truncate(time.Second)}},
		}},
		Policy: policy.Policy{Rules: []policy.Rule{{
			ID: "readers/0", Clients: []string{client.Namespace + "/" + client.Name}, Tools: []string{allowedTool},
		}}},
	}
}

func localChecks(folder string) []check {
	client := func(key bool, command string, arguments ...string) []string {
		in := func(name string) string { return filepath.Join(folder, "client", name) }
		all := []string{filepath.Join(folder, "mcpclient"), command, "--url", "https://" + localAddress + "/mcp",
			"--ca", in("ca.crt"), "--cert", in("tls.crt"), "--key", in("tls.key")}
		if key {
			all = append(all, "--key-file", in("api-key"))
		}
		return append(all, arguments...)
	}
	return []check{{
		name:  "an allowed call",
		tried: "the client assistant calls the tool " + allowedTool + ", which a rule grants to it, with its key and certificate",
		want:  []result.Outcome{result.OK}, contains: "checkout-7d9f",
		command: client(true, "call", "--tool", allowedTool, "--args", `{"namespace":"shop"}`),
	}, {
		name:  "the list of tools",
		tried: "the same client asks which tools there are; the server has fourteen",
		want:  []result.Outcome{result.OK}, contains: allowedTool,
		command: client(true, "list"),
	}, {
		name:    "no grant",
		tried:   "the same client calls " + otherTool + ", which no rule names",
		want:    []result.Outcome{result.Forbidden},
		command: client(true, "call", "--tool", otherTool),
	}, {
		name:    "no key",
		tried:   "the same call as at first, with the certificate, without the key",
		want:    []result.Outcome{result.Unauthorized},
		command: client(false, "call", "--tool", allowedTool, "--args", `{"namespace":"shop"}`),
	}}
}
