package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

func (p *plugin) connectCommand() *cobra.Command {
	var as string
	var port uint16
	var direct bool
	cmd := &cobra.Command{
		Use:   "connect MCPSERVER --as-client CLIENT",
		Short: "Open a local port that leads to a server with a client's credentials, for any MCP client",
		Long: `Open a port on 127.0.0.1 that leads to a server with the key and the certificate of a client, for MCP clients that know neither.

You need the right to read the client's Secrets, and to forward ports of the server's pods. The gate judges and logs what goes through like any
other request of the client. The address has a random part, which stands for the credentials: who knows it acts as the client for as long as this
program runs. Changed keys and certificates are read again.`,
		Example: "  kubectl mcp connect kubernetes --namespace tools --as-client assistants/assistant",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := p.cluster()
			if err != nil {
				return err
			}
			b, err := c.bridge(cmd.Context(), names[0], as, direct)
			if err != nil {
				return err
			}
			return p.serve(cmd.Context(), b, port)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&as, "as-client", "", "the MCPClient, as namespace/name (required)")
	flags.Uint16Var(&port, "port", 0, "the local port (default: any that is free)")
	flags.BoolVar(&direct, "direct", false, "dial the server's URL from here, instead of forwarding a port of a pod")
	_ = cmd.MarkFlagRequired("as-client")
	return cmd
}

// bridge finds the server's address and checks that the client may use it.
func (c *cluster) bridge(ctx context.Context, server, as string, direct bool) (*bridge, error) {
	who, err := key(as, "")
	if err != nil {
		return nil, fmt.Errorf("--as-client: %w", err)
	}
	s := &v1alpha1.MCPServer{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: server}, s); err != nil {
		return nil, explain(err, "mcpserver", c.namespace, server)
	}
	target, err := url.Parse(s.Status.URL)
	if err != nil || target.Scheme != "https" || target.Host == "" {
		return nil, fmt.Errorf("MCPServer %s/%s has no URL yet: kubectl describe mcpserver %s --namespace %s says what it waits for", c.namespace, server, server, c.namespace)
	}
	b := &bridge{target: target, credentials: &credentials{Client: c.Client, who: who, servers: c.namespace, now: time.Now}}
	if !direct {
		f := &forwarder{cluster: c, server: server}
		b.dial = f.dial
	}
	_, err = b.credentials.get(ctx)
	return b, err
}

// serve listens on loopback until the context ends.
func (p *plugin) serve(ctx context.Context, b *bridge, port uint16) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fmt.Errorf("--port: %w", err)
	}
	b.secret = rand.Text()
	b.host = listener.Addr().String()
	address := (&url.URL{Scheme: "http", Host: b.host, Path: "/" + b.secret + b.target.Path}).String()
	configuration, err := json.MarshalIndent(map[string]any{"mcpServers": map[string]any{"bartizan": map[string]any{"type": "http", "url": address}}}, "", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "%s\n", address)
	fmt.Fprintf(p.err, "as %s; until this program ends. For clients that read a file:\n%s\n", b.credentials.who, configuration)
	server := &http.Server{Handler: b.handler(), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	done := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer done()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
