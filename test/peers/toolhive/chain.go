package main

import (
	"context"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/stacklok/toolhive/pkg/audit"
	"github.com/stacklok/toolhive/pkg/auth"
	"github.com/stacklok/toolhive/pkg/authz"
	"github.com/stacklok/toolhive/pkg/authz/authorizers"
	"github.com/stacklok/toolhive/pkg/authz/authorizers/cedar"
	"github.com/stacklok/toolhive/pkg/mcp"
	"github.com/stacklok/toolhive/pkg/transport/proxy/transparent"
	"github.com/stacklok/toolhive/pkg/transport/types"
)

// authorize reads a file of Cedar policies, one after an empty line.
func authorize(file string) (authorizers.Authorizer, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return cedar.NewCedarAuthorizer(cedar.ConfigOptions{Policies: strings.Split(strings.TrimSpace(string(text)), "\n\n"), EntitiesJSON: "[]"}, "peer")
}

// serve is the chain in the order of ToolHive's runner.
func serve(authorizer authorizers.Authorizer, user string, port int, upstream string) error {
	auditor, err := audit.NewAuditorWithTransport(&audit.Config{Enabled: true, Component: "peer"}, types.TransportTypeStreamableHTTP.String())
	if err != nil {
		return err
	}
	chain := []types.NamedMiddleware{
		{Name: "auth", Function: auth.LocalUserMiddleware(user)},
		{Name: "mcp-parser", Function: mcp.ParsingMiddleware},
		{Name: "audit", Function: auditor.Middleware},
		{Name: "authorization", Function: func(next http.Handler) http.Handler { return authz.Middleware(authorizer, next, nil) }},
	}
	proxy := transparent.NewTransparentProxy("127.0.0.1", port, upstream, nil, nil, nil, false, false,
		types.TransportTypeStreamableHTTP.String(), nil, nil, "", false, chain...)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := proxy.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
