package declared_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

var now = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

func server(change func(*v1alpha1.MCPServerSpec)) *v1alpha1.MCPServer {
	s := &v1alpha1.MCPServer{
		ObjectMeta: metav1.ObjectMeta{Namespace: "tools", Name: "github"},
		Spec: v1alpha1.MCPServerSpec{
			Image:          "registry.example/a@sha256:" + strings.Repeat("a", 64),
			Classification: &v1alpha1.Classification{Level: "Internal", Owner: "team-a", Categories: []string{"Code"}},
		},
	}
	change(&s.Spec)
	return s
}

func text(s string) *string { return &s }

func TestSnapshot(t *testing.T) {
	to := func(peers ...networkingv1.NetworkPolicyPeer) func(*v1alpha1.MCPServerSpec) {
		return func(s *v1alpha1.MCPServerSpec) {
			s.Network = &v1alpha1.Network{Egress: []v1alpha1.NetworkEgress{{To: peers}}}
		}
	}
	block := func(cidr string) networkingv1.NetworkPolicyPeer {
		return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr}}
	}
	may := func(group, resource, verb string) func(*v1alpha1.MCPServerSpec) {
		return func(s *v1alpha1.MCPServerSpec) {
			s.KubernetesAccess = &v1alpha1.KubernetesAccess{Rules: []rbacv1.PolicyRule{{APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{verb}}}}
		}
	}
	arguments := func(all ...string) func(*v1alpha1.MCPServerSpec) {
		return func(s *v1alpha1.MCPServerSpec) { s.Args = all }
	}
	for _, test := range []struct {
		name    string
		change  func(*v1alpha1.MCPServerSpec)
		control string
		want    posture.Status
	}{
		{"nothing special", func(*v1alpha1.MCPServerSpec) {}, "", ""},
		{"no classification", func(s *v1alpha1.MCPServerSpec) { s.Classification = nil }, "INV-1", posture.Fail},
		{"no categories", func(s *v1alpha1.MCPServerSpec) { s.Classification.Categories = nil }, "INV-1", posture.Warn},
		{"a tag", func(s *v1alpha1.MCPServerSpec) { s.Image = "registry.example/a:1" }, "UPD-1", posture.Fail},
		{"a password in a variable", func(s *v1alpha1.MCPServerSpec) {
			s.Env = []v1alpha1.EnvVar{{Name: "DB_PASSWORD", Value: text("hunter2")}}
		}, "ENC-6", posture.Fail},
		{"a token as an argument", arguments("--token=abc123def456"), "ENC-6", posture.Fail},
		{"a token after its flag", arguments("--token", "abc123def456"), "ENC-6", posture.Fail},
		{"a file after its flag", arguments("--token-file", "/var/run/token"), "", ""},
		{"a flag after a flag", arguments("--token", "--verbose1"), "", ""},
		{"a secret in an annotation", func(s *v1alpha1.MCPServerSpec) {
			s.Pod = &v1alpha1.PodSettings{Annotations: map[string]string{"example.com/api-key": "abc123def456"}}
		}, "ENC-6", posture.Fail},
		{"the internet", func(s *v1alpha1.MCPServerSpec) { s.Network = &v1alpha1.Network{Internet: v1alpha1.InternetAllowed} }, "LEAST-7", posture.Fail},
		{"all addresses", to(block("0.0.0.0/0")), "LEAST-7", posture.Fail},
		{"half of all addresses", to(block("128.0.0.0/1")), "LEAST-7", posture.Fail},
		{"all of IPv6", to(block("::/0")), "LEAST-7", posture.Fail},
		{"all pods", to(networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{}}), "LEAST-7", posture.Fail},
		{"a network", to(block("10.20.0.0/16")), "", ""},
		{"secrets", may("", "secrets", "get"), "LEAST-4", posture.Fail},
		{"every resource", may("", "*", "get"), "LEAST-4", posture.Fail},
		{"exec", may("", "pods/exec", "create"), "LEAST-4", posture.Fail},
		{"exec into everything", may("", "*/exec", "create"), "LEAST-4", posture.Fail},
		{"roles", may("rbac.authorization.k8s.io", "roles", "patch"), "LEAST-4", posture.Fail},
		{"impersonation", may("", "users", "impersonate"), "LEAST-4", posture.Fail},
		{"pods, which is no proof", may("", "pods", "get"), "LEAST-4", posture.Error},
		{"an account of one's own", func(s *v1alpha1.MCPServerSpec) {
			s.KubernetesAccess = &v1alpha1.KubernetesAccess{ServiceAccountName: "mine"}
		}, "LEAST-4", posture.Error},
		{"an exemption", func(s *v1alpha1.MCPServerSpec) {
			s.Classification = nil
			s.Verification = &v1alpha1.Verification{Exemptions: []v1alpha1.Exemption{{Control: "INV-1", Owner: "me", Reason: "new", NotAfter: metav1.NewTime(now.Add(1))}}}
		}, "INV-1", posture.Skip},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, r := range posture.Evaluate(declared.Snapshot(server(test.change), now)).Results {
				want := posture.Error
				if slices.Contains([]string{"INV-1", "UPD-1", "ENC-6", "LEAST-7", "LEAST-4"}, r.Control) {
					want = posture.Pass
				}
				if r.Control == "AUTH-8" {
					want = posture.Skip
				}
				if r.Control == test.control {
					want = test.want
				}
				if r.Status != want || r.Reason == "" || r.Reason == "nothing shows it" {
					t.Errorf("want %s: %+v", want, r)
				}
				for _, secret := range []string{"hunter2", "abc123"} {
					if strings.Contains(r.Reason, secret) {
						t.Errorf("%s repeats the secret: %s", r.Control, r.Reason)
					}
				}
			}
		})
	}
}

func TestVerificationInterval(t *testing.T) {
	for interval, want := range map[string]time.Duration{"": time.Hour, "10s": 10 * time.Second, "168h": 168 * time.Hour, "1s": time.Hour, "soon": time.Hour} {
		s := server(func(s *v1alpha1.MCPServerSpec) { s.Verification = &v1alpha1.Verification{Interval: interval} })
		if got := declared.VerificationInterval(s); got != want {
			t.Errorf("%q: %s, want %s", interval, got, want)
		}
	}
}
