package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// profiled makes a profile for the servers' namespace.
func (w *world) profiled(change func(*v1alpha1.MCPSecurityProfileSpec)) *v1alpha1.MCPSecurityProfile {
	w.t.Helper()
	p := &v1alpha1.MCPSecurityProfile{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}, Spec: v1alpha1.MCPSecurityProfileSpec{
		NamespaceSelector: &v1alpha1.NamespaceSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": w.namespace}},
	}}
	change(&p.Spec)
	w.create(p)
	w.t.Cleanup(func() {
		if err := w.Delete(context.Background(), p); client.IgnoreNotFound(err) != nil {
			w.t.Error(err)
		}
	})
	return p
}

// gateConfig waits until the gates' configuration is as it should be.
func (w *world) gateConfig(server string, check func(gateconfig.Config) error) {
	w.t.Helper()
	controlplane.Eventually(w.t, soon, func(context.Context) error {
		secret := &corev1.Secret{}
		if err := w.get(server+"-gate", secret); err != nil {
			return err
		}
		config, err := gateconfig.Parse(secret.Data[gateconfig.ConfigFile])
		return errors.Join(err, check(config))
	})
}

// A server that a new profile finds below it is told so and stays as it is; it may be mended or suspended, its clients revoked, its
// certificate renewed. With the profile gone everything goes on.
func TestIntegrationProfileStallsWhatIsBelow(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.run()
	server := w.server("weather")
	server.Spec.Replicas = ptr(int32(3))
	server.Spec.Authentication = &v1alpha1.Authentication{ClientCertificates: v1alpha1.ClientCertificates{Mode: v1alpha1.ClientCertificatesOptional}}
	agent := &v1alpha1.MCPClient{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "agent"}, Spec: v1alpha1.MCPClientSpec{
		Servers: []v1alpha1.ServerRef{{Namespace: w.namespace, Name: "weather"}},
	}}
	policy := &v1alpha1.MCPAccessPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "agents"}, Spec: v1alpha1.MCPAccessPolicySpec{
		Servers: v1alpha1.ServerSelection{Names: []string{"weather"}},
		Rules: []v1alpha1.AccessRule{{Tools: []string{"forecast"}, Subjects: []v1alpha1.Subject{{
			Type: v1alpha1.SubjectMCPClient, MCPClient: &v1alpha1.MCPClientSubject{Namespace: w.namespace, Name: "agent"},
		}}}},
	}}
	w.create(server, agent, policy)
	w.ready("weather")
	w.gateConfig("weather", func(c gateconfig.Config) error {
		if len(c.Clients) != 1 {
			return fmt.Errorf("%d clients", len(c.Clients))
		}
		return nil
	})
	before := w.children("weather")
	p := w.profiled(func(s *v1alpha1.MCPSecurityProfileSpec) {
		s.Authentication = &v1alpha1.ProfileAuthentication{ClientCertificates: v1alpha1.ClientCertificatesRequired}
		s.Tools = &v1alpha1.ProfileTools{Forbidden: []string{"*exec*"}}
	})
	c := w.condition("weather", v1alpha1.ConditionStalled, metav1.ConditionTrue, "BelowSecurityProfile")
	if want := "MCPServer " + w.namespace + "/weather: spec.authentication.clientCertificates.mode: MCPSecurityProfile " + p.Name + " asks for Required at least"; !strings.HasPrefix(c.Message, want) {
		t.Errorf("it says %q, not %q", c.Message, want)
	}
	w.condition("weather", v1alpha1.ConditionWorkloadReady, metav1.ConditionTrue, "Available")
	for name, object := range w.children("weather") {
		if _, secret := object.(*corev1.Secret); !secret && object.GetGeneration() != before[name].GetGeneration() {
			t.Errorf("%s changed", name)
		}
	}
	d := &appsv1.Deployment{}
	if err := w.get("weather", d); err != nil {
		t.Fatal(err)
	}
	if *d.Spec.Replicas != 3 {
		t.Errorf("it has %d replicas, not 3", *d.Spec.Replicas)
	}
	// Tightening goes on: what the profile forbids, and what a policy takes away.
	w.gateConfig("weather", func(c gateconfig.Config) error {
		if !slices.Contains(c.Policy.Forbidden, "*exec*") {
			return fmt.Errorf("forbidden are %v", c.Policy.Forbidden)
		}
		return nil
	})
	update(w, policy, func(p *v1alpha1.MCPAccessPolicy) { p.Spec.Rules[0].Tools = []string{"forecast", "alerts"} })
	update(w, agent, func(c *v1alpha1.MCPClient) { c.Spec.Rotation = &v1alpha1.KeyRotation{Overlap: "1h", MaximumAge: "48h"} })
	update(w, policy, func(p *v1alpha1.MCPAccessPolicy) { p.Spec.Rules[0].Subjects[0].MCPClient.Name = "nobody" })
	w.gateConfig("weather", func(c gateconfig.Config) error {
		if len(c.Clients) != 0 {
			return fmt.Errorf("%d clients after their grant is gone", len(c.Clients))
		}
		return nil
	})
	// Its certificate is asked for anew, as long as it is there.
	certificate := &certmanager.Certificate{}
	if err := w.get("weather-tls", certificate); err != nil {
		t.Fatal(err)
	}
	update(w, certificate, func(c *certmanager.Certificate) { c.Spec.IssuerRef.Name = "somebody-elses" })
	controlplane.Eventually(t, soon, func(context.Context) error {
		if err := w.get("weather-tls", certificate); err != nil {
			return err
		}
		if certificate.Spec.IssuerRef.Name == "somebody-elses" {
			return errors.New("the certificate of a server below the floor is left to somebody else's issuer")
		}
		return nil
	})
	// Nothing new starts.
	second := w.server("second")
	second.Spec.Authentication = server.Spec.Authentication.DeepCopy()
	w.create(second)
	w.condition("second", v1alpha1.ConditionStalled, metav1.ConditionTrue, "BelowSecurityProfile")
	if children := w.children("second"); len(children) > 0 {
		t.Errorf("it has children: %v", children)
	}
	update(w, server, func(s *v1alpha1.MCPServer) {
		s.Spec.Authentication.ClientCertificates.Mode = v1alpha1.ClientCertificatesRequired
	})
	w.ready("weather")
	if err := w.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	w.ready("second")
	w.gateConfig("weather", func(c gateconfig.Config) error {
		if slices.Contains(c.Policy.Forbidden, "*exec*") {
			return errors.New("what a profile forbade that is gone is still forbidden")
		}
		return nil
	})
}

// A namespace comes under a profile by its label, and leaves it so.
func TestIntegrationProfileFollowsLabels(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.run()
	p := w.profiled(func(s *v1alpha1.MCPSecurityProfileSpec) {
		s.NamespaceSelector = &v1alpha1.NamespaceSelector{MatchExpressions: []v1alpha1.NamespaceRequirement{{Key: "strict", Operator: v1alpha1.NamespaceIn, Values: []string{w.namespace}}}}
		s.Images = &v1alpha1.ProfileImages{Registries: []string{"other.example"}}
	})
	w.create(w.server("weather"))
	w.ready("weather")
	label := func(value string) {
		t.Helper()
		namespace := &corev1.Namespace{}
		if err := w.Get(t.Context(), client.ObjectKey{Name: w.namespace}, namespace); err != nil {
			t.Fatal(err)
		}
		update(w, namespace, func(n *corev1.Namespace) { n.Labels["strict"] = value })
	}
	label(w.namespace)
	w.condition("weather", v1alpha1.ConditionStalled, metav1.ConditionTrue, "BelowSecurityProfile")
	label("no")
	w.ready("weather")
	label(w.namespace)
	w.condition("weather", v1alpha1.ConditionStalled, metav1.ConditionTrue, "BelowSecurityProfile")
	update(w, p, func(p *v1alpha1.MCPSecurityProfile) { p.Spec.Enforcement = v1alpha1.ProfileDryRun })
	w.ready("weather")
}

// Cluster-scoped stores and issuers may be named as far as a profile lists them.
func TestIntegrationProfileLists(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.run()
	server := w.server("weather")
	server.Spec.Secrets = []v1alpha1.SecretGroup{{
		Name: "github", StoreRef: v1alpha1.SecretStoreRef{Kind: v1alpha1.SecretStoreCluster, Name: "corp"}, Data: []v1alpha1.SecretData{{RemoteRef: v1alpha1.RemoteRef{Key: "a"}, File: "token"}},
	}}
	w.create(server)
	w.condition("weather", v1alpha1.ConditionStalled, metav1.ConditionTrue, "ClusterScopedStore")
	p := w.profiled(func(*v1alpha1.MCPSecurityProfileSpec) {})
	w.condition("weather", v1alpha1.ConditionStalled, metav1.ConditionTrue, "BelowSecurityProfile")
	update(w, p, func(p *v1alpha1.MCPSecurityProfile) {
		p.Spec.ClusterScoped = &v1alpha1.ProfileClusterScoped{Stores: []string{"corp"}, Issuers: []v1alpha1.ClusterIssuerRef{{Name: "corp"}}}
	})
	controlplane.Eventually(t, soon, func(context.Context) error {
		es := &externalsecrets.ExternalSecret{}
		if err := w.get("weather-github", es); err != nil {
			return err
		}
		if ref := es.Spec.SecretStoreRef; ref.Kind != "ClusterSecretStore" || ref.Name != "corp" {
			return fmt.Errorf("it reads %v", ref)
		}
		return nil
	})
	other := w.server("issued")
	other.Spec.TLS = &v1alpha1.TLS{IssuerRef: &v1alpha1.IssuerRef{Kind: "ClusterIssuer", Name: "corp"}}
	w.create(other)
	controlplane.Eventually(t, soon, func(context.Context) error {
		certificate := &certmanager.Certificate{}
		if err := w.get("issued-tls", certificate); err != nil {
			return err
		}
		if certificate.Spec.IssuerRef.Kind != "ClusterIssuer" {
			return fmt.Errorf("it is issued by %v", certificate.Spec.IssuerRef)
		}
		return nil
	})
}

// A client whose keys may get too old keeps what it has, and gets nothing new.
func TestIntegrationProfileOfClients(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.run()
	w.create(w.server("weather"))
	w.ready("weather")
	granted := func(name string) {
		w.create(&v1alpha1.MCPClient{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Spec: v1alpha1.MCPClientSpec{
			Servers: []v1alpha1.ServerRef{{Namespace: w.namespace, Name: "weather"}},
		}}, &v1alpha1.MCPAccessPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Spec: v1alpha1.MCPAccessPolicySpec{
			Servers: v1alpha1.ServerSelection{Names: []string{"weather"}},
			Rules: []v1alpha1.AccessRule{{Tools: []string{"*"}, Subjects: []v1alpha1.Subject{{
				Type: v1alpha1.SubjectMCPClient, MCPClient: &v1alpha1.MCPClientSubject{Namespace: w.namespace, Name: name},
			}}}},
		}})
	}
	has := func(name, kind string, status metav1.ConditionStatus, reason string) {
		t.Helper()
		controlplane.Eventually(t, soon, func(context.Context) error {
			c := &v1alpha1.MCPClient{}
			if err := w.get(name, c); err != nil {
				return err
			}
			if found := meta.FindStatusCondition(c.Status.Conditions, kind); found == nil || found.Status != status || found.Reason != reason {
				return fmt.Errorf("MCPClient %s: want %s=%s %s, have %v", name, kind, status, reason, c.Status.Conditions)
			}
			return nil
		})
	}
	granted("before")
	has("before", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	p := w.profiled(func(s *v1alpha1.MCPSecurityProfileSpec) {
		s.Authentication = &v1alpha1.ProfileAuthentication{MaximumKeyAge: "24h"}
	})
	has("before", v1alpha1.ConditionStalled, metav1.ConditionTrue, "BelowSecurityProfile")
	has("before", v1alpha1.ConditionCredentialsIssued, metav1.ConditionTrue, "Issued")
	granted("after")
	has("after", v1alpha1.ConditionStalled, metav1.ConditionTrue, "BelowSecurityProfile")
	secrets := &corev1.SecretList{}
	if err := w.List(t.Context(), secrets, client.InNamespace(w.namespace), client.MatchingLabels{"app.kubernetes.io/instance": "after"}); err != nil || len(secrets.Items) > 0 {
		t.Errorf("it has %d Secrets: %v", len(secrets.Items), err)
	}
	if err := w.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	has("after", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	has("before", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
}

// The status of a profile counts and lists what is below it; with a dry run that is all that happens.
func TestIntegrationProfileStatus(t *testing.T) {
	w := newWorld(t, controlplane.WithControllerManager()) // of all namespaces: an API server of its own
	w.everybody()
	w.run(func(o *Options, _ *Config) { o.WatchNamespaces = nil })
	below := w.server("below")
	below.Spec.Authentication = &v1alpha1.Authentication{ClientCertificates: v1alpha1.ClientCertificates{Mode: v1alpha1.ClientCertificatesDisabled}}
	w.create(w.server("above"), below, &v1alpha1.MCPClient{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "agent"}, Spec: v1alpha1.MCPClientSpec{
		Servers: []v1alpha1.ServerRef{{Namespace: w.namespace, Name: "above"}},
	}})
	w.ready("below")
	p := w.profiled(func(s *v1alpha1.MCPSecurityProfileSpec) {
		s.Enforcement = v1alpha1.ProfileDryRun
		s.Authentication = &v1alpha1.ProfileAuthentication{ClientCertificates: v1alpha1.ClientCertificatesRequired, MaximumKeyAge: "24h"}
	})
	status := func(reason string, want ...v1alpha1.ProfileViolation) {
		t.Helper()
		controlplane.Eventually(t, soon, func(ctx context.Context) error {
			if err := w.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
				return err
			}
			s := p.Status
			ready := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
			if ready == nil || ready.Reason != reason || s.ObservedGeneration != p.Generation || len(s.Violations) != len(want) || *s.Below != int32(len(want)) ||
				*s.Namespaces != 1 || *s.Servers != 2 || *s.Clients != 1 {
				return fmt.Errorf("the status is %+v", s)
			}
			for i := range want {
				if got := s.Violations[i]; got.Kind != want[i].Kind || got.Name != want[i].Name || !slices.Equal(got.Fields, want[i].Fields) {
					return fmt.Errorf("violation %d is %v", i, got)
				}
			}
			return nil
		})
	}
	agent := v1alpha1.ProfileViolation{Kind: "MCPClient", Name: "agent", Fields: []string{"spec.rotation.maximumAge"}}
	status("DryRun", agent, v1alpha1.ProfileViolation{Kind: "MCPServer", Name: "below", Fields: []string{"spec.authentication.clientCertificates.mode"}})
	w.ready("below")
	update(w, p, func(p *v1alpha1.MCPSecurityProfile) { p.Spec.Enforcement = v1alpha1.ProfileEnforce })
	w.condition("below", v1alpha1.ConditionStalled, metav1.ConditionTrue, "BelowSecurityProfile")
	update(w, below, func(s *v1alpha1.MCPServer) {
		s.Spec.Authentication.ClientCertificates.Mode = v1alpha1.ClientCertificatesRequired
	})
	status("InForce", agent)
	update(w, p, func(p *v1alpha1.MCPSecurityProfile) { p.Spec.Tools = &v1alpha1.ProfileTools{Forbidden: []string{"[a"}} })
	status("PatternInvalid", agent)
}

// What a profile exempts and attests shows in the posture of its servers, until it ends.
func TestIntegrationProfileInPosture(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.run()
	w.create(w.server("weather"))
	w.ready("weather")
	soonOver := metav1.NewTime(time.Now().Add(time.Hour).Truncate(time.Second))
	over := metav1.NewTime(time.Now().Add(-time.Hour).Truncate(time.Second))
	w.profiled(func(s *v1alpha1.MCPSecurityProfileSpec) {
		s.Exemptions = []v1alpha1.Exemption{{Control: "INV-1", Owner: "platform", Reason: "it is a test", NotAfter: soonOver}}
		s.Attestations = []v1alpha1.Attestation{
			{Control: v1alpha1.AttestedSecrets, Owner: "platform", Evidence: "KMS v2", NotAfter: soonOver},
			{Control: v1alpha1.AttestedVolumes, Owner: "platform", Evidence: "LUKS", NotAfter: over},
		}
	})
	controlplane.Eventually(t, soon, func(context.Context) error {
		s := &v1alpha1.MCPServer{}
		if err := w.get("weather", s); err != nil {
			return err
		}
		p := s.Status.Posture
		if p == nil || !slices.Contains(p.ExemptedControls, "INV-1") || !slices.Contains(p.PassedControls, "ENC-8") || !slices.Contains(p.UnknownControls, "ENC-9") {
			return fmt.Errorf("the posture is %+v", p)
		}
		return nil
	})
}
