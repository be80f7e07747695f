package controllers_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// TestIntegrationDiscovery: a pod and an object of ToolHive's that no gate guards are found on a real API server, are named in the
// posture of the servers beside them, and are forgotten when they are gone.
func TestIntegrationDiscovery(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	controlplane.Install(t, w.config, controlplane.ToolHive)
	w.run(w.watchesItself, func(o *Options, _ *Config) { o.DiscoveryInterval = time.Second })
	server := w.server("weather")
	server.Spec.Classification = &v1alpha1.Classification{Level: "Internal", Owner: "team-a", Categories: []string{"Weather"}}
	w.create(server)
	w.ready("weather")
	w.failing("weather")

	wild := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "wild"}, Spec: corev1.PodSpec{
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{
			Name: "main", Image: "node:20", Command: []string{"npx", "-y", "@modelcontextprotocol/server-filesystem", "/data"},
			SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
		}},
	}}
	theirs := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(`{apiVersion: toolhive.stacklok.dev/v1beta1, kind: MCPServer, metadata: {name: osv, namespace: `+w.namespace+
		`}, spec: {image: ghcr.io/stackloklabs/osv-mcp/server, transport: streamable-http, mcpPort: 8080, proxyPort: 8080}}`), theirs); err != nil {
		t.Fatal(err)
	}
	w.create(wild, theirs)
	w.says("weather", "INV-3", "Pod "+w.namespace+"/wild", "MCPServer.toolhive.stacklok.dev "+w.namespace+"/osv")
	w.event("weather", "ControlFailed", "INV-3 (high): without a gate: ")

	// The status of a pod that nobody runs ends at once.
	for _, err := range []error{w.Delete(t.Context(), wild), w.Delete(t.Context(), theirs)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w.failing("weather")
}

// says waits until a control fails with these words.
func (w *world) says(name, control string, words ...string) {
	w.t.Helper()
	controlplane.Eventually(w.t, soon, func(context.Context) error {
		s := &v1alpha1.MCPServer{}
		if err := w.get(name, s); err != nil {
			return err
		}
		if s.Status.Posture == nil {
			return fmt.Errorf("no posture yet")
		}
		for _, f := range s.Status.Posture.Failing {
			if f.Control != control {
				continue
			}
			for _, word := range words {
				if !strings.Contains(f.Reason, word) {
					return fmt.Errorf("%s says %q, and not %q", control, f.Reason, word)
				}
			}
			return nil
		}
		return fmt.Errorf("%s does not fail: %+v", control, s.Status.Posture.Failing)
	})
}
