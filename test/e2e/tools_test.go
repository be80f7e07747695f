package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// TestE2ETools: a tool that becomes another than the one that was approved is in quarantine: nobody sees it or calls it, and it is
// told of, until it is approved.
func TestE2ETools(t *testing.T) {
	t.Parallel()
	c := start(t)
	namespace := c.namespace(t, "pinned")
	server := c.server(namespace, "talker")
	user := mcpClient(namespace, "user", server)
	c.create(t, server, user, accessPolicy(server, user, "echo", "become"))
	c.ready(t, server)
	c.ready(t, user)
	c.pin(t, server)
	pod := c.pod(t, namespace, "user", namespace, "user")
	pod.reaches(t, server, "user")
	call := func(tool, text string) result.Result {
		return pod.mcp(t, server, "user", as("user", "user"), "call", "--tool", tool, "--args", fmt.Sprintf(`{"text":%q}`, text))
	}
	expect(t, "a pinned tool", call("echo", "hello"), result.OK)

	expect(t, "the server changes a tool", call("become", "says the same, and sends it to somebody"), result.OK)
	changed := time.Now()
	list := pod.mcp(t, server, "user", as("user", "user"), "list")
	if !slices.Equal(list.Tools, []string{"become"}) {
		t.Errorf("listed: %v", list.Tools)
	}
	eventually(t, "the changed tool is refused", time.Minute, func(context.Context) error {
		if got := call("echo", "hello"); got.Outcome != result.Forbidden {
			return fmt.Errorf("%s (HTTP %d)", got.Outcome, got.Status)
		}
		return nil
	})
	refused := time.Since(changed)
	c.pinned(t, server, metav1.ConditionFalse)
	told := time.Since(changed)
	found := &v1alpha1.MCPServer{}
	must(t, c.Get(t.Context(), client.ObjectKeyFromObject(server), found))
	if q := found.Status.Tools.Quarantined; len(q) != 1 || q[0].Name != "echo" || q[0].Reason != "Changed" {
		t.Errorf("status.tools: %+v", found.Status.Tools)
	}
	eventually(t, "there is an event", time.Minute, func(ctx context.Context) error {
		events := &eventsv1.EventList{}
		if err := c.List(ctx, events, client.InNamespace(namespace)); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Reason == "DefinitionQuarantined" && strings.Contains(e.Note, "Tool echo (changed)") {
				return nil
			}
		}
		return fmt.Errorf("%d others", len(events.Items))
	})
	t.Logf("refused after %s, told of after %s", refused.Round(100*time.Millisecond), told.Round(100*time.Millisecond))

	c.pin(t, server)
	expect(t, "what was approved", call("echo", "hello"), result.OK)
}
