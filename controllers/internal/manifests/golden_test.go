package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

const (
	testImage     = "registry.example/bartizan/authproxy@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	serversFolder = "testdata/servers"
)

// server reads an MCPServer of testdata/servers.
func server(t testing.TB, name string) *v1alpha1.MCPServer {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(serversFolder, name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s := new(v1alpha1.MCPServer)
	if err := yaml.UnmarshalStrict(content, s); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}

// servers are the names of all MCPServers of testdata/servers.
func servers(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(serversFolder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// params are the server with everything around it that an operator would have gathered.
func params(s *v1alpha1.MCPServer) Params {
	p := Params{
		Server: s,
		Options: Options{GrantableRules: []rbac.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"pods", "services", "events"}, Verbs: []string{"get", "list", "watch"}},
			{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"get", "list", "watch"}},
		}},
		GateImage: testImage,
		Operator: Operator{
			Namespace: "bartizan-system",
			PodLabels: map[string]string{"app.kubernetes.io/name": "bartizan", "app.kubernetes.io/component": "control-plane"},
		},
		Issuer:   "bartizan-ca-1",
		CABundle: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
		Peers: []access.Peer{
			{Namespace: "agents", PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "assistant"}}},
			{Namespace: "team-a"},
		},
		DNS: []netip.AddrPort{netip.MustParseAddrPort("169.254.20.10:53")},
		APIServer: []netip.AddrPort{
			netip.MustParseAddrPort("192.0.2.10:6443"), netip.MustParseAddrPort("10.96.0.1:443"), netip.MustParseAddrPort("192.0.2.9:6443"),
		},
		ClusterRanges: []netip.Prefix{netip.MustParsePrefix("2001:db9::/48")},
		SecretHashes:  map[string]string{},
		Gate:          Sealed{Document: []byte(`{"version":1}`), Generation: "0123456789abcdef0123456789abcdef"},
	}
	for _, group := range s.Spec.Secrets {
		p.SecretHashes[group.Name] = "hash of " + group.Name
	}
	return p
}

func build(t testing.TB, name string) Children {
	t.Helper()
	children, err := Build(params(server(t, name)))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return children
}

// golden compares a child of each named server with testdata/<kind>/<server>.yaml. A child that is not wanted has no file.
func golden(t *testing.T, kind string, names []string, child func(Children) any) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			compare(t, filepath.Join("testdata", kind, name+".yaml"), child(build(t, name)))
		})
	}
}

func compare(t *testing.T, file string, got any) {
	t.Helper()
	content, err := yaml.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if isNothing(content) {
		content = nil
	}
	if *update {
		write(t, file, content)
		return
	}
	want, err := os.ReadFile(file)
	if err != nil && !(errors.Is(err, fs.ErrNotExist) && content == nil) {
		t.Fatalf("%v; if the child is meant to be, run the test with -update", err)
	}
	if diff := cmp.Diff(string(want), string(content)); diff != "" {
		t.Errorf("%s differs; if that is meant, run the test with -update (-want +got):\n%s", file, diff)
	}
}

func isNothing(content []byte) bool {
	content = bytes.TrimSpace(content)
	return bytes.Equal(content, []byte("null")) || bytes.Equal(content, []byte("[]"))
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if content == nil {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// into reads what was built as the API server would: strictly, so that a field that does not exist is found.
func into[T any](t testing.TB, child any) *T {
	t.Helper()
	content, err := json.Marshal(child)
	if err != nil {
		t.Fatal(err)
	}
	to := new(T)
	if strict, err := kjson.UnmarshalStrict(content, to); err != nil || len(strict) > 0 {
		t.Fatal(err, strict)
	}
	return to
}
