package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

func expect(t *testing.T, what string, got result.Result, want result.Outcome) {
	t.Helper()
	if got.Outcome != want {
		t.Errorf("%s: got %s (HTTP %d, %q, %q), want %s", what, got.Outcome, got.Status, got.Message, got.Text, want)
	}
}

// TestE2EAccess is the main job: an allowed client succeeds, everyone else fails, each in the way that is meant.
func TestE2EAccess(t *testing.T) {
	t.Parallel()
	c := start(t)
	tools, callers := c.namespace(t, "tools"), c.namespace(t, "callers")
	// The server listens on every interface: only the network policy keeps others away from its port.
	server := c.server(tools, "talker", fmt.Sprintf("--address=0.0.0.0:%d", serverPort))
	friend, other := mcpClient(callers, "friend", server), mcpClient(callers, "other", server)
	c.create(t, server, friend, other,
		accessPolicy(server, friend, "echo", "headers", "file", "environment", "dial"), accessPolicy(server, other, "boot"))
	t.Logf("ready after %s", c.ready(t, server))
	c.ready(t, friend)
	c.ready(t, other)
	pod := c.pod(t, callers, "friend", tools, "friend", "other")
	stranger := c.pod(t, callers, "stranger", tools, "friend")
	echo := []string{"--tool", "echo", "--args", `{"text":"hello"}`}
	pod.reaches(t, server, "friend")

	for _, revision := range []string{"2026-07-28", "2025-11-25", "2025-06-18"} {
		got := pod.mcp(t, server, "friend", as("friend", "friend"), "call", append(echo, "--revision", revision)...)
		expect(t, "an allowed call, revision "+revision, got, result.OK)
		if got.Text != "hello" || got.Protocol != revision {
			t.Errorf("revision %s: got %q in revision %s", revision, got.Text, got.Protocol)
		}
	}
	list := pod.mcp(t, server, "friend", as("friend", "friend"), "list")
	slices.Sort(list.Tools)
	if want := []string{"dial", "echo", "environment", "file", "headers"}; !slices.Equal(list.Tools, want) {
		t.Errorf("listed tools %v, want those that the policy names: %v", list.Tools, want)
	}
	ungranted := pod.mcp(t, server, "friend", as("friend", "friend"), "call", "--tool", "boot")
	expect(t, "a tool without a grant", ungranted, result.Forbidden)

	refusals := map[string][]string{
		"no credential":                     as("", ""),
		"the certificate alone":             as("", "friend"),
		"the key alone":                     as("friend", ""),
		"another client's certificate":      as("friend", "other"),
		"another client's key":              as("other", "friend"),
		"a key that is none":                append(as("", "friend"), "--header", "Authorization: Bearer mcpk_aaaaaaaaaaaaaaaa_"+strings.Repeat("a", 52)),
		"the key twice":                     append(as("friend", "friend"), "--header", "X-API-Key: x"),
		"a basic credential beside the key": append(as("friend", "friend"), "--header", "Authorization: Basic Zm9vOmJhcg=="),
	}
	for what, credentials := range refusals {
		got := pod.mcp(t, server, "friend", credentials, "call", echo...)
		expect(t, what, got, result.Unauthorized)
		if strings.Contains(got.Message, "mcpk_a") {
			t.Errorf("%s: the refusal repeats what was sent: %q", what, got.Message)
		}
	}
	asOther := pod.mcp(t, server, "friend", as("other", "other"), "call", echo...)
	expect(t, "other's grants", asOther, result.Forbidden)

	expect(t, "a pod that no client selects", stranger.mcp(t, server, "friend", as("friend", "friend"), "call", echo...), result.NoConnection)
	t.Run("Ports", func(t *testing.T) { ports(t, pod, server) })
	t.Run("WhatTheServerSees", func(t *testing.T) { seen(t, pod, server) })
	t.Run("WhatTheServerReaches", func(t *testing.T) { reached(t, pod, server) })
}

// ports: only the gate's own port can be reached, even from a pod that may use it.
func ports(t *testing.T, pod *pod, server *v1alpha1.MCPServer) {
	pods, err := pod.running(t.Context(), server)
	must(t, err)
	if len(pods) != 1 {
		t.Fatalf("%d pods run", len(pods))
	}
	for port, want := range map[int]result.Outcome{
		15443:      result.OK,
		15444:      result.NoConnection,
		15445:      result.NoConnection,
		serverPort: result.NoConnection,
	} {
		expect(t, fmt.Sprintf("port %d", port), pod.dial(t, fmt.Sprintf("%s:%d", pods[0].Status.PodIP, port)), want)
	}
}

// seen: nothing of the caller's credentials reaches the server, and it has no identity at the Kubernetes API.
func seen(t *testing.T, pod *pod, server *v1alpha1.MCPServer) {
	headers := pod.mcp(t, server, "friend", append(as("friend", "friend"), "--header", "X-Forwarded-User: root", "--header", "Cookie: a=b"), "call", "--tool", "headers")
	expect(t, "headers", headers, result.OK)
	for _, forbidden := range []string{"mcpk_", "Authorization", "X-Api-Key", "X-Forwarded-User", "Cookie"} {
		if strings.Contains(headers.Text, forbidden) {
			t.Errorf("%s reached the server: %s", forbidden, headers.Text)
		}
	}
	environment := pod.mcp(t, server, "friend", as("friend", "friend"), "call", "--tool", "environment")
	expect(t, "environment", environment, result.OK)
	if strings.Contains(environment.Text, "mcpk_") {
		t.Error("a key is in the server's environment")
	}
	for _, path := range []string{"/var/run/secrets/kubernetes.io/serviceaccount/token", "/etc/bartizan/gate/tls.key", "/etc/bartizan/gate/config.json"} {
		got := pod.mcp(t, server, "friend", as("friend", "friend"), "call", "--tool", "file", "--args", fmt.Sprintf(`{"path":%q}`, path))
		expect(t, "file "+path, got, result.ToolError)
	}
}

// reached: without egress in its spec, a server reaches nothing, not even DNS or the API server.
func reached(t *testing.T, pod *pod, server *v1alpha1.MCPServer) {
	for _, address := range []string{"10.96.0.1:443", "10.96.0.10:53", "kubernetes.default.svc:443"} {
		got := pod.mcp(t, server, "friend", as("friend", "friend"), "call", "--tool", "dial", "--args", fmt.Sprintf(`{"address":%q}`, address))
		expect(t, "the server dials "+address, got, result.ToolError)
	}
}

// TestE2ETwoTenants: servers of two namespaces cannot reach each other, and a credential for one namespace is of no use in
// the other.
func TestE2ETwoTenants(t *testing.T) {
	t.Parallel()
	c := start(t)
	one, two, callers := c.namespace(t, "one"), c.namespace(t, "two"), c.namespace(t, "callers")
	first, second := c.server(one, "first"), c.server(two, "second")
	both := mcpClient(callers, "both", first, second)
	c.create(t, first, second, both, accessPolicy(first, both, "*"), accessPolicy(second, both, "*"))
	c.ready(t, first)
	c.ready(t, second)
	c.ready(t, both)
	pod := c.pod(t, callers, "both", one, "both")
	pod.reaches(t, first, "both")

	dial := func(address string) result.Result {
		return pod.mcp(t, first, "both", as("both", "both"), "call", "--tool", "dial", "--args", fmt.Sprintf(`{"address":%q}`, address))
	}
	expect(t, "the right credential", dial("127.0.0.1:15443"), result.OK)
	pods, err := c.running(t.Context(), second)
	must(t, err)
	for _, port := range []int{15443, 15444, 15445, serverPort} {
		expect(t, fmt.Sprintf("the first server dials the second's port %d", port), dial(fmt.Sprintf("%s:%d", pods[0].Status.PodIP, port)), result.ToolError)
		expect(t, "the caller, for comparison", pod.dial(t, fmt.Sprintf("%s:%d", pods[0].Status.PodIP, 15443)), result.OK)
	}

	// The serving certificates come from two authorities: trust both, so that only the credential is judged.
	secondCA := c.pod(t, callers, "both", two, "both")
	secondCA.reaches(t, second, "both")
	expect(t, "the second server, with what is meant for it",
		secondCA.mcp(t, second, "both", as("both", "both"), "call", "--tool", "boot"), result.OK)
	firstWithSecond := c.podWithAuthority(t, callers, "both", one, two, "both")
	firstWithSecond.reaches(t, second, "authority")
	expect(t, "the second server, with the key and certificate for the first's namespace",
		firstWithSecond.mcp(t, second, "authority", as("both", "both"), "call", "--tool", "boot"), result.Unauthorized)
}
