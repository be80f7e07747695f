package admission_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/profile"
	"github.com/bartizan-dev/bartizan/internal/profile/profiletest"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// TestIntegrationAdmissionAgreesWithTheOperator: what is refused at admission is what the operator stalls, in the same words.
func TestIntegrationAdmissionAgreesWithTheOperator(t *testing.T) {
	w := newWorld(t)
	for _, test := range profiletest.Servers() {
		t.Run(test.Name, func(t *testing.T) {
			w := w.in(t)
			server := w.server("weather")
			test.Server(&server.Spec)
			complete(&server.Spec)
			if test.Unstorable {
				if err := w.Create(t.Context(), server, client.DryRunAll); err == nil || denied(err) != "" {
					t.Errorf("it can be stored: %v", err)
				}
				return
			}
			p := w.profile(test.Floor)
			err := w.try(server, test.Field != "")
			found := profile.Only(p).Server(server)
			switch {
			case (len(found) > 0) != (test.Field != ""):
				t.Errorf("the operator finds %v", found)
			case test.Field == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.Field != "" && !strings.Contains(denied(err), "denied request: "+found[0].Message):
				t.Errorf("admission says %v, the operator %s", err, found[0].Message)
			}
		})
	}
}

// complete adds what the API server asks for and no case is about.
func complete(s *v1alpha1.MCPServerSpec) {
	for i := range s.Secrets {
		s.Secrets[i].Data = []v1alpha1.SecretData{{RemoteRef: v1alpha1.RemoteRef{Key: "k"}, File: "f"}}
	}
	if s.Authentication == nil {
		return
	}
	for i := range s.Authentication.Tokens {
		token := &s.Authentication.Tokens[i]
		if token.OIDC != nil {
			token.OIDC.Audiences = []string{"a"}
		} else {
			token.Kubernetes = &v1alpha1.KubernetesTokens{Audiences: []string{"a"}}
		}
	}
}

// TestIntegrationAdmissionOfClients: keys that may get too old, and stores that are not listed.
func TestIntegrationAdmissionOfClients(t *testing.T) {
	w := newWorld(t)
	p := w.profile(func(s *v1alpha1.MCPSecurityProfileSpec) {
		s.ClusterScoped = &v1alpha1.ProfileClusterScoped{Stores: []string{"listed"}}
	})
	for _, test := range []struct {
		name, age, store string
		below            bool
	}{
		{"the default age", "", "", true},
		{"too old", "721h", "", true},
		{"as old", "720h", "", false},
		{"younger, in other units", "43199m", "", false},
		{"a store that is listed", "1h", "listed", false},
		{"a store that is not listed", "1h", "other", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &v1alpha1.MCPClient{Spec: v1alpha1.MCPClientSpec{Servers: []v1alpha1.ServerRef{{Namespace: w.namespace, Name: "a"}}, Rotation: &v1alpha1.KeyRotation{Overlap: "1m", MaximumAge: test.age}}}
			c.Namespace, c.Name = w.namespace, "agent"
			if test.store != "" {
				c.Spec.APIKey.Stores = []v1alpha1.ClientKeyStore{{
					Namespace: w.namespace, Type: v1alpha1.KeyStorePush, Push: &v1alpha1.ClientKeyPush{RemoteKey: "k"},
					StoreRef: v1alpha1.SecretStoreRef{Kind: v1alpha1.SecretStoreCluster, Name: test.store},
				}}
			}
			err := w.in(t).try(c, test.below)
			found := profile.Only(p).Client(c)
			switch {
			case (len(found) > 0) != test.below:
				t.Errorf("the operator finds %v", found)
			case !test.below && err != nil:
				t.Errorf("refused: %v", err)
			case test.below && !strings.Contains(denied(err), "denied request: "+found[0].Message):
				t.Errorf("admission says %v, the operator %s", err, found[0].Message)
			}
		})
	}
}

// TestIntegrationAdmissionSelects: profiles select namespaces at admission as they do for the operator, every profile must be met,
// and a dry run refuses nothing.
func TestIntegrationAdmissionSelects(t *testing.T) {
	labels := map[string]string{"team": "a", "empty": ""}
	w := newWorld(t, "team", "a", "empty", "")
	p := w.profile(func(*v1alpha1.MCPSecurityProfileSpec) {})
	refused := func(t *testing.T, want bool) {
		t.Helper()
		controlplane.Eventually(t, soon, func(ctx context.Context) error {
			if says := w.canary(ctx); (says != "") != want {
				return fmt.Errorf("refused: %q", says)
			}
			return nil
		})
	}
	change := func(t *testing.T, change func(*v1alpha1.MCPSecurityProfileSpec)) {
		t.Helper()
		change(&p.Spec)
		if err := w.Update(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	requirement := func(key string, operator v1alpha1.NamespaceOperator, values ...string) *v1alpha1.NamespaceSelector {
		return &v1alpha1.NamespaceSelector{MatchExpressions: []v1alpha1.NamespaceRequirement{{Key: key, Operator: operator, Values: values}}}
	}
	for name, selector := range map[string]*v1alpha1.NamespaceSelector{
		"all": {}, "label": {MatchLabels: map[string]string{"team": "a"}}, "other value": {MatchLabels: map[string]string{"team": "b"}},
		"empty value of no label": {MatchLabels: map[string]string{"none": ""}}, "two labels": {MatchLabels: map[string]string{"team": "a", "empty": ""}},
		"In": requirement("team", "In", "b", "a"), "not In": requirement("team", "In", "b"), "In without the label": requirement("none", "In", "a"),
		"NotIn": requirement("team", "NotIn", "b"), "not NotIn": requirement("team", "NotIn", "a"), "NotIn without the label": requirement("none", "NotIn", "a"),
		"Exists": requirement("empty", "Exists"), "not Exists": requirement("none", "Exists"),
		"DoesNotExist": requirement("none", "DoesNotExist"), "not DoesNotExist": requirement("empty", "DoesNotExist"),
	} {
		t.Run(name, func(t *testing.T) {
			want := profile.Selects(&v1alpha1.MCPSecurityProfile{Spec: v1alpha1.MCPSecurityProfileSpec{NamespaceSelector: selector}}, labels)
			// From the opposite, so that the answer is about this selector.
			change(t, func(s *v1alpha1.MCPSecurityProfileSpec) {
				s.NamespaceSelector = &v1alpha1.NamespaceSelector{}
				if want {
					s.NamespaceSelector = requirement("none", "Exists")
				}
			})
			refused(t, !want)
			change(t, func(s *v1alpha1.MCPSecurityProfileSpec) { s.NamespaceSelector = selector })
			refused(t, want)
		})
	}
	change(t, func(s *v1alpha1.MCPSecurityProfileSpec) {
		s.NamespaceSelector, s.Enforcement = &v1alpha1.NamespaceSelector{}, v1alpha1.ProfileDryRun
	})
	refused(t, false)
	change(t, func(s *v1alpha1.MCPSecurityProfileSpec) {
		s.Enforcement, s.Authentication.MaximumKeyAge = v1alpha1.ProfileEnforce, "8760h"
	})
	refused(t, false)
	w.profile(func(*v1alpha1.MCPSecurityProfileSpec) {}) // which is stricter
}

// TestIntegrationAdmissionLetsPass: what a server that is below a new profile can still do, and what it cannot.
func TestIntegrationAdmissionLetsPass(t *testing.T) {
	w := newWorld(t)
	server := w.server("weather")
	server.Finalizers = []string{"example.com/a", "example.com/b"}
	server.Spec.KubernetesAccess = &v1alpha1.KubernetesAccess{Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}}}
	server.Spec.Authentication = &v1alpha1.Authentication{ClientCertificates: v1alpha1.ClientCertificates{Mode: v1alpha1.ClientCertificatesOptional}}
	if err := w.Create(t.Context(), server); err != nil {
		t.Fatal(err)
	}
	w.profile(func(s *v1alpha1.MCPSecurityProfileSpec) {
		s.Authentication = &v1alpha1.ProfileAuthentication{ClientCertificates: v1alpha1.ClientCertificatesRequired}
		s.KubernetesAccess = &v1alpha1.ProfileKubernetesAccess{Forbidden: []v1alpha1.ForbiddenRights{{APIGroups: []string{"*"}, Resources: []string{"secrets"}, Verbs: []string{"*"}}}}
		s.Images = &v1alpha1.ProfileImages{Registries: []string{"registry.example"}}
	})
	update := func(t *testing.T, change func(*v1alpha1.MCPServer)) error {
		t.Helper()
		if err := w.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "weather"}, server); err != nil {
			t.Fatal(err)
		}
		change(server)
		return w.Update(t.Context(), server)
	}
	passes := map[string]func(*v1alpha1.MCPServer){
		"an annotation": func(s *v1alpha1.MCPServer) {
			s.Annotations = map[string]string{v1alpha1.AnnotationVerificationRequestedAt: "now"}
		},
		"a finalizer goes": func(s *v1alpha1.MCPServer) { s.Finalizers = []string{"example.com/b"} },
		"it is suspended":  func(s *v1alpha1.MCPServer) { yes := true; s.Spec.Suspend = &yes },
		"another field":    func(s *v1alpha1.MCPServer) { s.Spec.Args = []string{"--help"} },
	}
	for _, name := range slices.Sorted(maps.Keys(passes)) {
		t.Run(name, func(t *testing.T) {
			if err := update(t, passes[name]); err != nil {
				t.Error(err)
			}
		})
	}
	for name, change := range map[string]func(*v1alpha1.MCPServer){
		"an image from elsewhere": func(s *v1alpha1.MCPServer) {
			s.Spec.Image = "evil.test/a" + strings.TrimPrefix(s.Spec.Image, "registry.example/mcp/weather")
		},
		"a field below, changed and still below": func(s *v1alpha1.MCPServer) {
			s.Spec.Authentication.ClientCertificates.Mode = v1alpha1.ClientCertificatesDisabled
		},
		"more rights": func(s *v1alpha1.MCPServer) {
			s.Spec.KubernetesAccess.Rules[0].Verbs = []string{"get", "list"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := update(t, change); denied(err) == "" {
				t.Errorf("it passes: %v", err)
			}
		})
	}
	t.Run("status", func(t *testing.T) {
		if err := w.Get(t.Context(), client.ObjectKeyFromObject(server), server); err != nil {
			t.Fatal(err)
		}
		server.Status.ObservedGeneration = server.Generation
		if err := w.Status().Update(t.Context(), server); err != nil {
			t.Error(err)
		}
	})
	t.Run("scale", func(t *testing.T) {
		err := w.SubResource("scale").Patch(t.Context(), w.server("weather"), client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"replicas":0}}`)))
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("deletion", func(t *testing.T) {
		if err := w.Delete(t.Context(), w.server("weather")); err != nil {
			t.Fatal(err)
		}
		// Even what is below may be written by who finishes it.
		if err := update(t, func(s *v1alpha1.MCPServer) { s.Finalizers, s.Spec.Image = nil, "evil.test/a:1" }); err != nil {
			t.Error(err)
		}
		if err := w.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "weather"}, server); client.IgnoreNotFound(err) != nil || err == nil {
			t.Errorf("it is still there: %v", err)
		}
	})
}
