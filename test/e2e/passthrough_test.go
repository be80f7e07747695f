package e2e

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// TestE2EPassthrough: callers from outside reach a server by its public name, through something that passes TLS on unopened, and only through
// that. docs/exposing.md says how.
func TestE2EPassthrough(t *testing.T) {
	t.Parallel()
	c := start(t)
	tools, wayIn, outside := c.namespace(t, "tools"), c.namespace(t, "way-in"), c.namespace(t, "outside")
	server := c.server(tools, "talker")
	server.Spec.Endpoint = &v1alpha1.Endpoint{URL: "https://mcp.example.com/mcp"}
	server.Spec.Network = &v1alpha1.Network{Ingress: []v1alpha1.NetworkIngress{{From: []networkingv1.NetworkPolicyPeer{{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: wayIn}},
	}}}}}
	// It selects no pod: nobody else is let in.
	caller := mcpClient(outside, "caller", server)
	caller.Spec.PodSelector = nil
	c.create(t, server, caller, accessPolicy(server, caller, "echo"))

	forwarder := c.podSpec(wayIn, "forwarder")
	forwarder.Spec.Containers[0].Image = c.images["e2e-server"]
	forwarder.Spec.Containers[0].Command = []string{"/server", "--address=0.0.0.0:8443", "--forward=talker." + tools + ".svc:443"}
	c.run(t, forwarder)
	c.ready(t, server)
	c.ready(t, caller)
	must(t, c.Get(t.Context(), client.ObjectKeyFromObject(forwarder), forwarder))
	through := forwarder.Status.PodIP + ":8443"
	pod := c.pod(t, outside, "anybody", tools, "caller")
	call := func(ctx context.Context, credentials []string, arguments ...string) (result.Result, error) {
		all := append([]string{"call", "--ca", "/caller/ca.crt", "--timeout", "8s", "--tool", "echo", "--args", `{"text":"hello"}`}, credentials...)
		return pod.do(ctx, append(all, arguments...)...)
	}
	public := []string{"--url", "https://mcp.example.com/mcp", "--connect", through}
	eventually(t, "a call by the public name is answered", time.Minute, func(ctx context.Context) error {
		got, err := call(ctx, as("caller", "caller"), public...)
		if err == nil && (got.Outcome != result.OK || got.Text != "hello") {
			err = errors.New(got.Message)
		}
		return err
	})
	for what, try := range map[string]struct {
		credentials, arguments []string
		want                   result.Outcome
	}{
		"without a certificate":     {as("caller", ""), public, result.Unauthorized},
		"without a key":             {as("", "caller"), public, result.Unauthorized},
		"by a name that is not its": {as("caller", "caller"), []string{"--url", "https://mcp.example.org/mcp", "--connect", through}, result.TLSRefused},
		"not through the way in":    {as("caller", "caller"), []string{"--url", url(server)}, result.NoConnection},
	} {
		got, err := call(t.Context(), try.credentials, try.arguments...)
		must(t, err)
		expect(t, what, got, try.want)
	}
}
