package api_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestIntegrationSamplesAreAccepted(t *testing.T) {
	c := client(t)
	kinds := map[string]bool{}
	for _, object := range readAll(t) {
		t.Run(object.GetKind()+"/"+object.GetName(), func(t *testing.T) {
			if _, causes := try(t.Context(), t, c, object); causes != nil {
				t.Errorf("refused: %q", causes)
			}
		})
		kinds[object.GetKind()] = true
	}
	for kind := range resources {
		if !kinds[kind] {
			t.Errorf("there is no sample of %s", kind)
		}
	}
}

// TestIntegrationDefaults shows what the API server adds to the least that can be written.
func TestIntegrationDefaults(t *testing.T) {
	const server = `{"image": "a@sha256:b", "transport": {"type": "StreamableHTTP", "port": 8080`
	c := client(t)
	for _, test := range []struct {
		name, kind, spec, want string
	}{
		{
			"server", "MCPServer",
			server + `}}`,
			server + `, "sessions": "Stateful", "minRevision": "2025-06-18"},
				"authentication": {"apiKeys": {"mode": "Enabled"}, "clientCertificates": {"mode": "Required"}},
				"tls": {"duration": "24h", "renewBefore": "8h"},
				"limits": {"requestBytes": "4Mi", "depth": 64, "answerWithin": "1h"}, "replicas": 1}`,
		},
		{
			"server with empty parts", "MCPServer",
			server + `}, "authentication": {"apiKeys": {"mode": "Disabled"}}, "tls": {"issuerRef": {"name": "mine"}}, "limits": {"depth": 8}, "network": {},
				"pod": {"volumes": [{"name": "a", "configMap": {"name": "a"}}], "volumeMounts": [{"name": "a", "mountPath": "/a"}]},
				"secrets": [{"name": "s", "storeRef": {"name": "v"}, "data": [{"remoteRef": {"key": "k"}, "file": "f"}]}]}`,
			server + `, "sessions": "Stateful", "minRevision": "2025-06-18"},
				"authentication": {"apiKeys": {"mode": "Disabled"}, "clientCertificates": {"mode": "Required"}},
				"tls": {"duration": "24h", "renewBefore": "8h", "issuerRef": {"group": "cert-manager.io", "kind": "Issuer", "name": "mine"}},
				"limits": {"requestBytes": "4Mi", "depth": 8, "answerWithin": "1h"}, "replicas": 1,
				"network": {"internet": "Denied"},
				"pod": {"volumes": [{"name": "a", "configMap": {"name": "a"}}], "volumeMounts": [{"name": "a", "mountPath": "/a", "mode": "ReadOnly"}]},
				"secrets": [{"name": "s", "storeRef": {"kind": "SecretStore", "name": "v"}, "refreshInterval": "1h", "data": [{"remoteRef": {"key": "k"}, "file": "f"}]}]}`,
		},
		{
			"server that is a child process", "MCPServer",
			`{"image": "a@sha256:b", "command": ["/server"], "transport": {"type": "Stdio", "stdio": {}}}`,
			`{"image": "a@sha256:b", "command": ["/server"], "transport": {"type": "Stdio", "sessions": "Stateful", "minRevision": "2025-06-18",
				"stdio": {"children": "PerPrincipal", "maxChildren": 16, "idleTimeout": "10m"}},
				"authentication": {"apiKeys": {"mode": "Enabled"}, "clientCertificates": {"mode": "Required"}},
				"tls": {"duration": "24h", "renewBefore": "8h"},
				"limits": {"requestBytes": "4Mi", "depth": 64, "answerWithin": "1h"}, "replicas": 1}`,
		},
		{
			"client", "MCPClient",
			`{"servers": [{"namespace": "a", "name": "b"}]}`,
			`{"servers": [{"namespace": "a", "name": "b"}], "rotation": {"overlap": "24h", "maximumAge": "2160h"},
				"apiKey": {"mode": "Enabled"}, "certificate": {"mode": "Enabled", "duration": "24h", "renewBefore": "8h"}}`,
		},
		{
			"policy", "MCPAccessPolicy",
			`{"servers": {"selector": {}}, "rules": [{"subjects": [{"type": "MCPClient", "mcpClient": {"namespace": "a", "name": "b"}}], "tools": ["a"]}]}`,
			`{"servers": {"selector": {}}, "rules": [{"subjects": [{"type": "MCPClient", "mcpClient": {"namespace": "a", "name": "b"}}], "tools": ["a"]}]}`,
		},
		{
			"profile", clusterScoped,
			`{"namespaceSelector": {}, "clusterScoped": {"issuers": [{"name": "corp"}]}}`,
			`{"namespaceSelector": {}, "enforcement": "Enforce", "clusterScoped": {"issuers": [{"group": "cert-manager.io", "kind": "ClusterIssuer", "name": "corp"}]}}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			object := &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "bartizan.dev/v1alpha1", "kind": test.kind,
				"metadata": map[string]any{"name": "least"},
				"spec":     object(t, test.spec),
			}}
			stored, causes := try(t.Context(), t, c, object)
			if causes != nil {
				t.Fatalf("refused: %q", causes)
			}
			if diff := cmp.Diff(objectOf(t, test.want), objectOf(t, marshal(t, stored.Object["spec"]))); diff != "" {
				t.Errorf("the stored spec (-want +got):\n%s", diff)
			}
		})
	}
}

// object parses JSON as Kubernetes does, with whole numbers.
func object(t testing.TB, text string) map[string]any {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(`{"apiVersion": "v1", "kind": "Any", "content": ` + text + `}`)); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return u.Object["content"].(map[string]any)
}

func objectOf(t testing.TB, text string) map[string]any {
	t.Helper()
	var content map[string]any
	if err := json.Unmarshal([]byte(text), &content); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return content
}

func marshal(t testing.TB, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
