package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// TestIntegrationUsersObjectsAreNotWritten: in a day of rotations, renewals and restarts the operator writes no object that a user manages,
// but the status of our own kinds. The API server says so in the objects' managed fields, and so do the operator's requests.
func TestIntegrationUsersObjectsAreNotWritten(t *testing.T) {
	const (
		user  = "a-user"
		steps = 8
		step  = 24 * time.Hour / steps
	)
	w := newWorld(t)
	w.everybody()
	w.gates.tellKeys.Store(true)
	objects := w.usersObjects()
	before := map[string]metav1.ObjectMeta{}
	for _, object := range objects {
		if err := w.Create(t.Context(), object, client.FieldOwner(user)); err != nil {
			t.Fatalf("create %T %s: %v", object, object.GetName(), err)
		}
		before[w.title(object)] = visible(object)
	}

	// The servers' namespace is its administrator's.
	home := &corev1.Namespace{}
	if err := w.Get(t.Context(), client.ObjectKey{Name: w.namespace}, home); err != nil {
		t.Fatal(err)
	}
	version := home.ResourceVersion

	c := &writes{}
	keys := map[string]bool{}
	for range steps {
		stop := w.run(c.use)
		w.ready("weather")
		w.ready("borrower")
		known := len(keys)
		controlplane.Eventually(t, 2*soon, func(ctx context.Context) error {
			agent := &v1alpha1.MCPClient{}
			if err := w.get("agent", agent); err != nil {
				return err
			}
			for _, credential := range agent.Status.Credentials {
				for _, key := range credential.Keys {
					if key.State == v1alpha1.KeyCurrent {
						keys[key.ID] = true
					}
				}
			}
			if len(keys) == known {
				return fmt.Errorf("the client has no new key: %+v", agent.Status)
			}
			return nil
		})
		stop()
		w.age("agent", step)
		// As cert-manager renews it.
		if err := w.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "weather-tls"}}); err != nil {
			t.Fatal(err)
		}
	}

	untouched := map[string]bool{}
	for _, object := range objects {
		title := w.title(object)
		if err := w.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			t.Fatal(err)
		}
		if after := visible(object); fmt.Sprint(after) != fmt.Sprint(before[title]) {
			t.Errorf("%s was\n%+v\nand is\n%+v", title, before[title], after)
		}
		for _, entry := range object.GetManagedFields() {
			ours := entry.Subresource == "status" && strings.HasPrefix(entry.APIVersion, v1alpha1.GroupVersion.Group+"/")
			if entry.Manager != user && !ours {
				t.Errorf("%s was written by %s (%s): %s", title, entry.Manager, entry.Subresource, entry.FieldsV1)
			}
		}
		untouched[title] = true
	}
	if err := w.Get(t.Context(), client.ObjectKeyFromObject(home), home); err != nil || home.ResourceVersion != version {
		t.Errorf("the namespace was written, or cannot be read: %v, %+v", err, home.ManagedFields)
	}
	statuses := 0
	for _, written := range c.kinds() {
		name, status := strings.CutSuffix(written, "/status")
		if untouched[name] && !status {
			t.Errorf("the operator has written %s", written)
		}
		if untouched[name] && status {
			statuses++
		}
	}
	if statuses == 0 || !slices.Contains(c.kinds(), "deployments/weather") {
		t.Errorf("this test sees nothing: the operator's writes were %q", c.kinds())
	}
	t.Logf("%d keys in 24 hours; %d writes, %d of them statuses of %d objects of users", len(keys), len(c.all()), statuses, len(objects))
}

// usersObjects are of every kind that the operator reads and a user writes.
func (w *world) usersObjects() []client.Object {
	named := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: w.namespace, Name: name, Labels: map[string]string{"team": "a"}}
	}
	account := &corev1.ServiceAccount{ObjectMeta: named("mine")}
	account.Annotations = map[string]string{"bartizan.dev/mcpserver": "borrower"}
	store := w.store("vault")
	store.Labels = map[string]string{"team": "a"}
	weather, borrower := w.full("weather"), w.server("borrower")
	weather.Spec.Env = []v1alpha1.EnvVar{{Name: "MODE", ConfigMapKeyRef: &v1alpha1.ConfigMapKeyRef{Name: "settings", Key: "mode"}}}
	borrower.Spec.KubernetesAccess = &v1alpha1.KubernetesAccess{ServiceAccountName: "mine"}
	borrower.Spec.TLS = &v1alpha1.TLS{IssuerRef: &v1alpha1.IssuerRef{Name: "corporate"}}
	profile := &v1alpha1.MCPSecurityProfile{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}, Spec: v1alpha1.MCPSecurityProfileSpec{
		NamespaceSelector: &v1alpha1.NamespaceSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": w.namespace}},
		Tools:             &v1alpha1.ProfileTools{Forbidden: []string{"*exec*"}},
	}}
	w.t.Cleanup(func() {
		if err := w.Delete(context.Background(), profile); client.IgnoreNotFound(err) != nil {
			w.t.Error(err)
		}
	})
	return []client.Object{
		account, store, profile,
		&certmanager.Issuer{ObjectMeta: named("corporate"), Spec: certmanager.IssuerSpec{IssuerConfig: certmanager.IssuerConfig{SelfSigned: &certmanager.SelfSignedIssuer{}}}},
		&corev1.Service{ObjectMeta: named("web"), Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}}},
		&corev1.ConfigMap{ObjectMeta: named("settings"), Data: map[string]string{"mode": "quiet"}},
		&corev1.Secret{ObjectMeta: named("unrelated"), Data: map[string][]byte{"password": []byte("x")}},
		&networkingv1.NetworkPolicy{ObjectMeta: named("web"), Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, Ingress: []networkingv1.NetworkPolicyIngressRule{{}},
		}},
		weather, borrower,
		&v1alpha1.MCPClient{ObjectMeta: named("agent"), Spec: v1alpha1.MCPClientSpec{
			Servers: []v1alpha1.ServerRef{{Namespace: w.namespace, Name: "weather"}},
			Rotation: &v1alpha1.KeyRotation{
				Schedule: &v1alpha1.RotationSchedule{Type: v1alpha1.RotationInterval, Interval: "3h"}, Overlap: "1h", MaximumAge: "6h",
			},
		}},
		&v1alpha1.MCPAccessPolicy{ObjectMeta: named("agents"), Spec: v1alpha1.MCPAccessPolicySpec{
			Servers: v1alpha1.ServerSelection{Names: []string{"weather"}},
			Rules: []v1alpha1.AccessRule{{Tools: []string{"*"}, Subjects: []v1alpha1.Subject{{
				Type: v1alpha1.SubjectMCPClient, MCPClient: &v1alpha1.MCPClientSubject{Namespace: w.namespace, Name: "agent"},
			}}}},
		}},
	}
}

// age makes all recorded keys of a client older, as if that time had passed: the API server's clock cannot be turned.
func (w *world) age(name string, d time.Duration) {
	w.t.Helper()
	c := &v1alpha1.MCPClient{}
	if err := w.get(name, c); err != nil {
		w.t.Fatal(err)
	}
	for i := range c.Status.Credentials {
		for j := range c.Status.Credentials[i].Keys {
			k := &c.Status.Credentials[i].Keys[j]
			for _, t := range []*metav1.Time{&k.IssuedAt, &k.NotAfter, k.ActivatedAt, k.ReplacedAt, k.LastUsed} {
				if t != nil {
					t.Time = t.Add(-d)
				}
			}
		}
	}
	if err := w.Status().Update(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
}

// title names an object as the path of a request does.
func (w *world) title(object client.Object) string {
	w.t.Helper()
	gvk, err := apiutil.GVKForObject(object, w.Scheme())
	if err != nil {
		w.t.Fatal(err)
	}
	mapping, err := w.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		w.t.Fatal(err)
	}
	return mapping.Resource.Resource + "/" + object.GetName()
}

// visible is what a user would see of a change beside the status.
func visible(object client.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		UID: object.GetUID(), Generation: object.GetGeneration(), Labels: object.GetLabels(), Annotations: object.GetAnnotations(),
		Finalizers: object.GetFinalizers(), OwnerReferences: object.GetOwnerReferences(),
	}
}
