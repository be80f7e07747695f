package controllers_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1 "k8s.io/api/apps/v1"
	policyv1 "k8s.io/api/policy/v1"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// children are the objects of a server, as "Kind name".
func (w *world) children(server string) map[string]client.Object {
	w.t.Helper()
	all := map[string]client.Object{}
	for _, list := range []client.ObjectList{
		&networkingv1.NetworkPolicyList{}, &corev1.ServiceAccountList{}, &rbacv1.RoleList{}, &rbacv1.RoleBindingList{},
		&externalsecrets.ExternalSecretList{}, &certmanager.CertificateList{}, &corev1.ConfigMapList{}, &corev1.SecretList{},
		&appsv1.DeploymentList{}, &corev1.ServiceList{}, &policyv1.PodDisruptionBudgetList{},
	} {
		err := w.List(w.t.Context(), list, client.InNamespace(w.namespace), client.MatchingLabels{"bartizan.dev/server": server})
		if meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			w.t.Fatal(err)
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, item := range items {
			object := item.(client.Object)
			gvk, err := w.GroupVersionKindFor(object)
			if err != nil {
				w.t.Fatal(err)
			}
			all[gvk.Kind+" "+object.GetName()] = object
		}
	}
	return all
}

func ptr[T any](value T) *T { return &value }

// Specs that the API server lets pass and that cannot work: nothing is made of them, the condition says why, and a mended
// spec goes on by itself.
func TestIntegrationRefusedSpecs(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.create(w.store("vault"), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "default"}})
	w.run()
	secret := v1alpha1.SecretGroup{Name: "github", StoreRef: v1alpha1.SecretStoreRef{Name: "vault"}, Data: []v1alpha1.SecretData{{RemoteRef: v1alpha1.RemoteRef{Key: "a"}, File: "token"}}}
	for i, test := range []struct {
		reason string
		spoil  func(*v1alpha1.MCPServerSpec)
		says   string
	}{
		{"ImageNotPinned", func(s *v1alpha1.MCPServerSpec) { s.Image = "registry.example/mcp/everything:latest" }, "spec.image"},
		{"PortConflict", func(s *v1alpha1.MCPServerSpec) { s.Transport.Port = 15443 }, "spec.transport.port"},
		{"ClusterScopedIssuer", func(s *v1alpha1.MCPServerSpec) {
			s.TLS = &v1alpha1.TLS{IssuerRef: &v1alpha1.IssuerRef{Kind: "ClusterIssuer", Name: "x"}}
		}, "spec.tls.issuerRef.kind"},
		{"ClusterScopedStore", func(s *v1alpha1.MCPServerSpec) {
			group := secret
			group.StoreRef.Kind = v1alpha1.SecretStoreCluster
			s.Secrets = []v1alpha1.SecretGroup{group}
		}, "spec.secrets[github].storeRef.kind"},
		{"NameReserved", func(s *v1alpha1.MCPServerSpec) {
			group := secret
			group.Name = "tls"
			s.Secrets = []v1alpha1.SecretGroup{group}
		}, "spec.secrets[tls]"},
		{"DuplicateSecretTarget", func(s *v1alpha1.MCPServerSpec) {
			group := secret
			group.Data = append(group.Data, group.Data[0])
			s.Secrets = []v1alpha1.SecretGroup{group}
		}, "token"},
		{"RightsNotGrantable", func(s *v1alpha1.MCPServerSpec) {
			s.KubernetesAccess = &v1alpha1.KubernetesAccess{Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}}}
		}, "spec.kubernetesAccess.serviceAccountName"},
		{"ServiceAccountNotFound", func(s *v1alpha1.MCPServerSpec) {
			s.KubernetesAccess = &v1alpha1.KubernetesAccess{ServiceAccountName: "nobody"}
		}, "nobody"},
		{"ServiceAccountNotConsenting", func(s *v1alpha1.MCPServerSpec) {
			s.KubernetesAccess = &v1alpha1.KubernetesAccess{ServiceAccountName: "default"}
		}, "bartizan.dev/mcpserver"},
		{"VolumeMountWithoutVolume", func(s *v1alpha1.MCPServerSpec) {
			s.Pod = &v1alpha1.PodSettings{VolumeMounts: []v1alpha1.VolumeMount{{Name: "none", MountPath: "/data"}}}
		}, "none"},
		// Only the API server sees this one: it refuses the Deployment.
		{"ChildRefused", func(s *v1alpha1.MCPServerSpec) {
			s.Pod = &v1alpha1.PodSettings{Tolerations: []corev1.Toleration{{Key: "a", Operator: "Sometimes"}}}
		}, "tolerations"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			w := w.in(t)
			name := fmt.Sprintf("refused-%d", i)
			server := w.server(name)
			test.spoil(&server.Spec)
			w.create(server)
			c := w.condition(name, v1alpha1.ConditionStalled, metav1.ConditionTrue, test.reason)
			if !strings.Contains(c.Message, test.says) {
				t.Errorf("the message does not say %q: %s", test.says, c.Message)
			}
			w.condition(name, v1alpha1.ConditionReady, metav1.ConditionFalse, test.reason)
			if test.reason != "ChildRefused" {
				if children := w.children(name); len(children) > 0 {
					t.Errorf("it has children: %v", children)
				}
			} else if w.children(name)["Deployment "+name] != nil || w.children(name)["Service "+name] != nil {
				t.Error("it has a workload")
			}
			update(w, server, func(s *v1alpha1.MCPServer) {
				s.Spec = w.server(name).Spec
			})
			w.ready(name)
			s := &v1alpha1.MCPServer{}
			if err := w.get(name, s); err != nil {
				t.Fatal(err)
			}
			if meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionStalled) != nil {
				t.Error("Stalled is still there")
			}
		})
	}
	t.Run("NameTooLong", func(t *testing.T) {
		name := strings.Repeat("a", 64)
		w.create(w.server(name))
		w.condition(name, v1alpha1.ConditionStalled, metav1.ConditionTrue, "NameTooLong")
	})
}

// What a running server has stays when its spec is spoiled, and it starts nothing new.
func TestIntegrationSpoiledSpecKeepsWhatRuns(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.run()
	server := w.server("weather")
	server.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}}
	w.create(server)
	w.ready("weather")
	before := w.children("weather")
	update(w, server, func(s *v1alpha1.MCPServer) {
		s.Spec.Image = "registry.example/mcp/everything:latest"
		s.Spec.Network = &v1alpha1.Network{Internet: v1alpha1.InternetAllowed}
	})
	w.condition("weather", v1alpha1.ConditionStalled, metav1.ConditionTrue, "ImageNotPinned")
	w.condition("weather", v1alpha1.ConditionWorkloadReady, metav1.ConditionTrue, "Available")
	for name, object := range w.children("weather") {
		if object.GetGeneration() != before[name].GetGeneration() {
			t.Errorf("%s changed", name)
		}
	}
	update(w, server, func(s *v1alpha1.MCPServer) { s.Spec.Suspend = ptr(true) })
	controlplane.Eventually(t, soon, func(context.Context) error {
		d := &appsv1.Deployment{}
		if err := w.get("weather", d); err != nil {
			return err
		}
		if *d.Spec.Replicas != 0 {
			return fmt.Errorf("%d replicas although it is suspended", *d.Spec.Replicas)
		}
		return nil
	})
	update(w, server, func(s *v1alpha1.MCPServer) { s.Spec.Image, s.Spec.Suspend = image, nil })
	w.ready("weather")
}

// Objects of the user that a server needs and that are not there, or do not work.
func TestIntegrationWaitsForWhatUsersBring(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.run()
	t.Run("store", func(t *testing.T) {
		w := w.in(t)
		server := w.server("a")
		server.Spec.Secrets = []v1alpha1.SecretGroup{{Name: "github", StoreRef: v1alpha1.SecretStoreRef{Name: "vault"}, Data: []v1alpha1.SecretData{
			{RemoteRef: v1alpha1.RemoteRef{Key: "a"}, File: "token"}, {RemoteRef: v1alpha1.RemoteRef{Key: "b"}, Env: "B"},
		}}}
		w.create(server)
		w.condition("a", v1alpha1.ConditionSecretsReady, metav1.ConditionFalse, "StoreNotFound")
		if w.children("a")["Deployment a"] != nil {
			t.Error("there is a Deployment without its secrets")
		}
		w.create(w.store("vault"))
		w.ready("a")
	})
	t.Run("issuer", func(t *testing.T) {
		w := w.in(t)
		server := w.server("b")
		server.Spec.TLS = &v1alpha1.TLS{IssuerRef: &v1alpha1.IssuerRef{Name: "corp"}}
		w.create(server)
		w.condition("b", v1alpha1.ConditionCertificatesReady, metav1.ConditionFalse, "IssuerNotFound")
		issuer := &certmanager.Issuer{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "corp"}}
		issuer.Spec.CA = &certmanager.CAIssuer{SecretName: "nothing"}
		w.create(issuer)
		issuer.Status.Conditions = []certmanager.IssuerCondition{{Type: "Ready", Status: "False", Reason: "ErrGetKeyPair", Message: `secret "nothing" not found`}}
		if err := w.Status().Update(t.Context(), issuer); err != nil {
			t.Fatal(err)
		}
		c := w.condition("b", v1alpha1.ConditionCertificatesReady, metav1.ConditionFalse, "IssuerNotReady")
		if !strings.Contains(c.Message, "nothing") || !strings.Contains(c.Message, "corp") {
			t.Errorf("message %q", c.Message)
		}
		if w.children("b")["Deployment b"] != nil {
			t.Error("there is a Deployment without its certificate")
		}
		update(w, issuer, func(i *certmanager.Issuer) { i.Spec.CA, i.Spec.SelfSigned = nil, &certmanager.SelfSignedIssuer{} })
		w.ready("b")
	})
	t.Run("service account", func(t *testing.T) {
		w := w.in(t)
		server := w.server("c")
		server.Spec.KubernetesAccess = &v1alpha1.KubernetesAccess{ServiceAccountName: "reader"}
		w.create(server)
		w.condition("c", v1alpha1.ConditionStalled, metav1.ConditionTrue, "ServiceAccountNotFound")
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "reader"}}
		w.create(account)
		w.condition("c", v1alpha1.ConditionStalled, metav1.ConditionTrue, "ServiceAccountNotConsenting")
		update(w, account, func(a *corev1.ServiceAccount) { a.Annotations = map[string]string{"bartizan.dev/mcpserver": "c"} })
		w.ready("c")
		if w.children("c")["ServiceAccount c"] != nil {
			t.Error("there is a ServiceAccount beside the user's")
		}
	})
}

// Objects of somebody else that have the name of a child are not touched, and the server goes on when they are gone.
func TestIntegrationForeignObjectsAreNotTouched(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.create(w.store("vault"))
	w.run()
	object := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: w.namespace, Name: name, Labels: map[string]string{"mine": "yes"}}
	}
	labels := map[string]string{"x": "y"}
	for i, foreign := range []func(server string) client.Object{
		func(s string) client.Object {
			return &corev1.Secret{ObjectMeta: object(s + "-tls"), Data: map[string][]byte{"tls.key": []byte("mine")}}
		},
		func(s string) client.Object {
			return &corev1.Secret{ObjectMeta: object(s + "-gate"), Data: map[string][]byte{"config.json": []byte("mine")}}
		},
		func(s string) client.Object {
			return &corev1.Secret{ObjectMeta: object(s + "-github"), Data: map[string][]byte{"token": []byte("mine")}}
		},
		func(s string) client.Object {
			return &corev1.ConfigMap{ObjectMeta: object(s + "-ca"), Data: map[string]string{"ca.crt": "mine"}}
		},
		func(s string) client.Object { return &corev1.ServiceAccount{ObjectMeta: object(s)} },
		func(s string) client.Object {
			return &corev1.Service{ObjectMeta: object(s), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}, Selector: labels}}
		},
		func(s string) client.Object {
			return &networkingv1.NetworkPolicy{ObjectMeta: object(s), Spec: networkingv1.NetworkPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: labels}}}
		},
		func(s string) client.Object {
			return &appsv1.Deployment{ObjectMeta: object(s), Spec: appsv1.DeploymentSpec{
				Replicas: ptr(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "b"}}}},
			}}
		},
		func(s string) client.Object { return &rbacv1.Role{ObjectMeta: object(s)} },
		func(s string) client.Object {
			return &certmanager.Certificate{ObjectMeta: object(s + "-tls"), Spec: certmanager.CertificateSpec{SecretName: "elsewhere", DNSNames: []string{"a"}}}
		},
	} {
		name := fmt.Sprintf("server-%d", i)
		theirs := foreign(name)
		t.Run(fmt.Sprintf("%T", theirs), func(t *testing.T) {
			w := w.in(t)
			w.create(theirs)
			version := theirs.GetResourceVersion()
			server := w.server(name)
			server.Spec.Secrets = []v1alpha1.SecretGroup{{Name: "github", StoreRef: v1alpha1.SecretStoreRef{Name: "vault"}, Data: []v1alpha1.SecretData{{RemoteRef: v1alpha1.RemoteRef{Key: "a"}, File: "token"}}}}
			server.Spec.KubernetesAccess = &v1alpha1.KubernetesAccess{Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}}}}
			w.create(server)
			c := w.condition(name, v1alpha1.ConditionStalled, metav1.ConditionTrue, "ChildConflict")
			if !strings.Contains(c.Message, theirs.GetName()) {
				t.Errorf("the message does not name it: %s", c.Message)
			}
			if err := w.get(theirs.GetName(), theirs); err != nil {
				t.Fatal(err)
			}
			if _, isDeployment := theirs.(*appsv1.Deployment); theirs.GetResourceVersion() != version && !isDeployment {
				t.Errorf("it was written to: %v", theirs)
			}
			if theirs.GetLabels()["mine"] != "yes" || len(theirs.GetOwnerReferences()) > 0 {
				t.Errorf("it was changed: %v", theirs)
			}
			if err := w.Delete(t.Context(), theirs); err != nil {
				t.Fatal(err)
			}
			w.ready(name)
		})
	}
}
