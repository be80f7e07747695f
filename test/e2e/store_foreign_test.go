package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// TestE2EForeignStoreObjects: Secrets, an ExternalSecret and a PushSecret of somebody else have the names of ours. external-secrets
// would adopt and overwrite such a Secret: nothing of it is changed, the status names each, and all goes on when they are gone.
func TestE2EForeignStoreObjects(t *testing.T) {
	t.Parallel()
	c := start(t)
	tools, callers := c.namespace(t, "tools"), c.namespace(t, "callers")
	const key = "Zmlyc3Qta2V5LW9mLTI1Ni1yYW5kb20tYml0cy1vci1zbw"
	stores := map[string]*corev1.Secret{
		tools: c.store(t, tools, map[string]string{"token": "from the store"}), callers: c.store(t, callers, map[string]string{"token": key}),
	}
	for _, stored := range stores {
		change(t, c, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: stored.Namespace, Name: "reader"}}, func(r *rbacv1.Role) {
			r.Rules[0].Verbs = []string{"get", "list", "watch", "create", "update", "patch", "delete"}
		})
	}
	foreign := func(namespace, name string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, StringData: map[string]string{"mine": "mine"}}
	}
	group, sourced := foreign(tools, "talker-upstream"), foreign(callers, "sourced."+tools+".source")
	reading := &externalsecrets.ExternalSecret{ObjectMeta: metav1.ObjectMeta{Namespace: callers, Name: "read." + tools + ".source"}}
	reading.Spec.SecretStoreRef = externalsecrets.SecretStoreRef{Kind: "SecretStore", Name: "store"}
	reading.Spec.Target.Name = "mine"
	reading.Spec.Data = []externalsecrets.ExternalSecretData{{SecretKey: "mine", RemoteRef: externalsecrets.ExternalSecretDataRemoteRef{Key: "values", Property: "token"}}}
	pushing := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"namespace": callers, "name": "pushed." + tools},
		"spec": map[string]any{
			"secretStoreRefs": []any{map[string]any{"kind": "SecretStore", "name": "store"}},
			"selector":        map[string]any{"secret": map[string]any{"name": sourced.Name}},
			"data":            []any{map[string]any{"match": map[string]any{"secretKey": "mine", "remoteRef": map[string]any{"remoteKey": "elsewhere", "property": "mine"}}}},
		},
	}}
	pushing.SetGroupVersionKind(schema.GroupVersionKind{Group: "external-secrets.io", Version: "v1alpha1", Kind: "PushSecret"})
	c.create(t, group, sourced, reading, pushing)

	server := c.server(tools, "talker")
	suspend := true // what runs does not matter here
	server.Spec.Suspend = &suspend
	store := v1alpha1.SecretStoreRef{Kind: v1alpha1.SecretStoreNamespaced, Name: "store"}
	server.Spec.Secrets = []v1alpha1.SecretGroup{{
		Name: "upstream", StoreRef: store, RefreshInterval: "5s",
		Data: []v1alpha1.SecretData{{RemoteRef: v1alpha1.RemoteRef{Key: "values", Property: "token"}, File: "token"}},
	}}
	c.create(t, server)
	use := func(name string, use v1alpha1.ClientKeyStore) *v1alpha1.MCPClient {
		made := mcpClient(callers, name, server)
		use.Namespace, use.StoreRef = tools, store
		made.Spec.APIKey = v1alpha1.ClientAPIKey{Mode: v1alpha1.CredentialEnabled, Stores: []v1alpha1.ClientKeyStore{use}}
		c.create(t, made, accessPolicy(server, made, "echo"))
		return made
	}
	source := &v1alpha1.ClientKeySource{RefreshInterval: "5s", RemoteRef: v1alpha1.RemoteRef{Key: "values", Property: "token"}}
	clients := map[string]*v1alpha1.MCPClient{
		"Secret " + callers + "/" + sourced.Name:         use("sourced", v1alpha1.ClientKeyStore{Type: v1alpha1.KeyStoreSource, Source: source}),
		"ExternalSecret " + callers + "/" + reading.Name: use("read", v1alpha1.ClientKeyStore{Type: v1alpha1.KeyStoreSource, Source: source}),
		"PushSecret " + callers + "/" + pushing.GetName(): use("pushed", v1alpha1.ClientKeyStore{
			Type: v1alpha1.KeyStorePush, Push: &v1alpha1.ClientKeyPush{RemoteKey: "mcp-pushed", Property: "token", DeletionPolicy: v1alpha1.PushRetain},
		}),
	}
	becomes(t, c, server, ofServer, v1alpha1.ConditionStalled, metav1.ConditionTrue, "Secret "+tools+"/"+group.Name)
	for what, made := range clients {
		eventually(t, "a condition names "+what, 3*time.Minute, func(ctx context.Context) error {
			if err := c.Get(ctx, client.ObjectKeyFromObject(made), made); err != nil {
				return err
			}
			for _, condition := range made.Status.Conditions {
				if condition.Reason == "ChildConflict" && strings.Contains(condition.Message, what+" exists and does not belong to this client") {
					return nil
				}
			}
			return errors.New(conditions(made.Status.Conditions))
		})
	}
	for _, secret := range []*corev1.Secret{group, sourced} {
		left := &corev1.Secret{}
		must(t, c.Get(t.Context(), client.ObjectKeyFromObject(secret), left))
		if len(left.Data) != 1 || string(left.Data["mine"]) != "mine" || len(left.OwnerReferences) > 0 || len(left.Labels) > 0 {
			t.Errorf("Secret %s of somebody else was changed: %d values, labels %v, owners %v", left.Name, len(left.Data), left.Labels, left.OwnerReferences)
		}
	}
	left := &externalsecrets.ExternalSecret{}
	must(t, c.Get(t.Context(), client.ObjectKeyFromObject(reading), left))
	if left.Spec.Target.Name != "mine" || len(left.OwnerReferences) > 0 {
		t.Errorf("ExternalSecret %s of somebody else was changed: %+v", left.Name, left.Spec.Target)
	}

	for _, object := range []client.Object{group, sourced, reading, pushing} {
		must(t, c.Delete(t.Context(), object))
	}
	// Nothing tells of objects that are not ours: they are looked at again within half a minute.
	becomes(t, c, server, ofServer, v1alpha1.ConditionSecretsReady, metav1.ConditionTrue, "")
	for _, made := range clients {
		becomes(t, c, made, ofClient, v1alpha1.ConditionCredentialsIssued, metav1.ConditionTrue, "")
	}
	for _, name := range []string{"sourced", "read"} {
		secret := &corev1.Secret{}
		must(t, c.Get(t.Context(), client.ObjectKey{Namespace: callers, Name: name + "." + tools}, secret))
		if string(secret.Data["api-key"]) != key {
			t.Errorf("client %s does not have the store's key", name)
		}
	}
	eventually(t, "the store has the pushed key", 3*time.Minute, func(ctx context.Context) error {
		stored, own := &corev1.Secret{}, &corev1.Secret{}
		err := errors.Join(
			c.Get(ctx, client.ObjectKey{Namespace: stores[callers].Namespace, Name: "mcp-pushed"}, stored),
			c.Get(ctx, client.ObjectKey{Namespace: callers, Name: "pushed." + tools}, own))
		if err == nil && (len(own.Data["api-key"]) == 0 || string(stored.Data["token"]) != string(own.Data["api-key"])) {
			err = fmt.Errorf("it has %d characters", len(stored.Data["token"]))
		}
		return err
	})

	// The Secret of a group stays until the server goes, and goes with it; so do those of clients. What was pushed stays.
	must(t, c.Delete(t.Context(), server))
	for _, made := range clients {
		must(t, c.Delete(t.Context(), made))
	}
	eventually(t, "the Secrets that external-secrets made are gone", 3*time.Minute, func(ctx context.Context) error {
		for _, name := range []client.ObjectKey{
			client.ObjectKeyFromObject(group), client.ObjectKeyFromObject(sourced), {Namespace: callers, Name: "read." + tools}, {Namespace: callers, Name: "pushed." + tools},
		} {
			if err := c.Get(ctx, name, &corev1.Secret{}); !apierrors.IsNotFound(err) {
				return errors.Join(err, fmt.Errorf("Secret %s is there", name))
			}
		}
		return nil
	})
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: stores[callers].Namespace, Name: "mcp-pushed"}, &corev1.Secret{}); err != nil {
		t.Errorf("what was pushed, to be retained: %v", err)
	}
}
