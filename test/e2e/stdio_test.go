package e2e

import (
	"bufio"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// TestE2EStdio: a server that speaks over pipes runs as a child for each client, and nothing in its pod listens but the gate.
func TestE2EStdio(t *testing.T) {
	t.Parallel()
	c := start(t)
	tools, callers := c.namespace(t, "tools"), c.namespace(t, "callers")
	server := c.server(tools, "pipes")
	server.Spec.Command, server.Spec.Args = []string{"/server"}, []string{"--stdio"}
	server.Spec.Transport = v1alpha1.Transport{Type: v1alpha1.TransportStdio, Sessions: v1alpha1.SessionsStateless}
	friend, other := mcpClient(callers, "friend", server), mcpClient(callers, "other", server)
	c.create(t, server, friend, other, accessPolicy(server, friend, "boot", "echo", "file"), accessPolicy(server, other, "boot"))
	t.Logf("ready after %s", c.ready(t, server))
	c.ready(t, friend)
	c.ready(t, other)
	pod := c.pod(t, callers, "friend", tools, "friend", "other")
	pod.reaches(t, server, "friend")
	call := func(client string, arguments ...string) result.Result {
		t.Helper()
		return pod.mcp(t, server, "friend", as(client, client), "call", arguments...)
	}

	for _, revision := range []string{"2026-07-28", "2025-11-25", "2025-06-18"} {
		got := call("friend", "--tool", "echo", "--args", `{"text":"hello"}`, "--revision", revision)
		if expect(t, "revision "+revision, got, result.OK); got.Text != "hello" || got.Protocol != revision {
			t.Errorf("revision %s: got %q in revision %s", revision, got.Text, got.Protocol)
		}
	}
	mine, again, others := call("friend", "--tool", "boot"), call("friend", "--tool", "boot"), call("other", "--tool", "boot")
	if mine.Text == "" || mine.Text != again.Text || others.Text == "" || others.Text == mine.Text {
		t.Errorf("friend is answered by %q and %q, other by %q", mine.Text, again.Text, others.Text)
	}
	expect(t, "a tool without a grant", call("other", "--tool", "echo", "--args", `{"text":"hello"}`), result.Forbidden)

	read := func(path string) string {
		return call("friend", "--tool", "file", "--args", fmt.Sprintf(`{"path":%q}`, path)).Text
	}
	var ports []string
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		for lines := bufio.NewScanner(strings.NewReader(read(table))); lines.Scan(); {
			if fields := strings.Fields(lines.Text()); len(fields) > 3 && fields[3] == "0A" {
				ports = append(ports, fields[1][strings.LastIndex(fields[1], ":")+1:])
			}
		}
	}
	slices.Sort(ports)
	want := []string{fmt.Sprintf("%04X", gateconfig.GatePort), fmt.Sprintf("%04X", gateconfig.StatusPort), fmt.Sprintf("%04X", gateconfig.ProbePort)}
	if !slices.Equal(slices.Compact(ports), want) {
		t.Errorf("the pod listens on %v, want the gate's %v", ports, want)
	}
	if got := read(gateconfig.Directory + "/" + gateconfig.ConfigFile); strings.Contains(got, "generation") {
		t.Error("a child reads the gate's configuration")
	}
}
