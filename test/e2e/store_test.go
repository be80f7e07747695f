package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// stocked is a server with a client whose keys have to do with a store, which is another namespace.
type stocked struct {
	*cluster
	server *v1alpha1.MCPServer
	client *v1alpha1.MCPClient
	pod    *pod
	// manager is the namespace that plays the secret manager.
	manager string
}

// stock makes them; use says what the store is for.
func (c *cluster) stock(t *testing.T, values map[string]string, use v1alpha1.ClientKeyStore) *stocked {
	t.Helper()
	tools, callers := c.namespace(t, "tools"), c.namespace(t, "callers")
	s := &stocked{cluster: c, server: c.server(tools, "talker"), manager: c.store(t, callers, values).Namespace}
	change(t, c, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: s.manager, Name: "reader"}}, func(r *rbacv1.Role) {
		r.Rules[0].Verbs = []string{"get", "list", "watch", "create", "update", "patch", "delete"}
	})
	s.client = mcpClient(callers, "friend", s.server)
	use.Namespace, use.StoreRef = tools, v1alpha1.SecretStoreRef{Kind: v1alpha1.SecretStoreNamespaced, Name: "store"}
	s.client.Spec.APIKey = v1alpha1.ClientAPIKey{Mode: v1alpha1.CredentialEnabled, Stores: []v1alpha1.ClientKeyStore{use}}
	c.create(t, s.server, s.client, accessPolicy(s.server, s.client, "echo"))
	c.ready(t, s.server)
	t.Logf("the client is ready after %s", c.ready(t, s.client))
	s.pod = c.pod(t, callers, "friend", tools, "friend")
	s.pod.reaches(t, s.server, "friend")
	return s
}

// held is a value of a Secret; empty without one.
func (s *stocked) held(ctx context.Context, namespace, name, key string) (string, error) {
	secret := &corev1.Secret{}
	err := s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, secret)
	return string(secret.Data[key]), client.IgnoreNotFound(err)
}

// key is what the client's Secret holds.
func (s *stocked) key(t *testing.T) string {
	t.Helper()
	key, err := s.held(t.Context(), s.client.Namespace, "friend."+s.server.Namespace, "api-key")
	must(t, err)
	return key
}

// serves says that the gate accepts a key.
func (s *stocked) serves(t *testing.T, what, key string) {
	t.Helper()
	got := s.pod.mcp(t, s.server, "friend", append(as("", "friend"), "--header", "X-API-Key: "+key), "call", "--tool", "echo", "--args", `{"text":"a"}`)
	if got.Outcome != result.OK {
		t.Errorf("%s: HTTP %d %s", what, got.Status, got.Message)
	}
}

// TestE2EPushedKey: the store has each key before the client does, and what read the one before is served.
func TestE2EPushedKey(t *testing.T) {
	t.Parallel()
	s := start(t).stock(t, map[string]string{"other": "x"}, v1alpha1.ClientKeyStore{
		Type: v1alpha1.KeyStorePush, Push: &v1alpha1.ClientKeyPush{RemoteKey: "mcp-friend", Property: "token", DeletionPolicy: v1alpha1.PushRetain},
	})
	stored := func(ctx context.Context) (string, error) { return s.held(ctx, s.manager, "mcp-friend", "token") }
	first := s.key(t)
	eventually(t, "the store has the first key", 3*time.Minute, func(ctx context.Context) error {
		if got, err := stored(ctx); err != nil || got != first {
			return fmt.Errorf("it has %d characters: %w", len(got), err)
		}
		return nil
	})
	s.serves(t, "the first key", first)

	change(t, s.cluster, s.client, func(c *v1alpha1.MCPClient) {
		c.Spec.Rotation.RotateAfter = &metav1.Time{Time: time.Now()}
	})
	var second string
	took := eventually(t, "the client has a new key", 3*time.Minute, func(ctx context.Context) error {
		if second = s.key(t); second == first {
			return errors.New("it has the old one")
		}
		got, err := stored(ctx)
		if err == nil && got != second {
			t.Error("the client had the new key before the store")
		}
		return err
	})
	t.Logf("a rotation with the store took %s", took)
	s.serves(t, "the new key", second)
	s.serves(t, "the old key", first)
	eventually(t, "only the newest version is left to push", 3*time.Minute, func(ctx context.Context) error {
		var secrets corev1.SecretList
		if err := s.List(ctx, &secrets, client.InNamespace(s.client.Namespace)); err != nil {
			return err
		}
		n := 0
		for _, secret := range secrets.Items {
			if strings.Contains(secret.Name, ".push-") {
				n++
			}
		}
		if n != 1 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
	s.withdrawn(t, second, stored)
}

// withdrawn takes the store out of the client's spec, once with each deletion policy: the key in the store stays there or goes,
// and the client keeps it.
func (s *stocked) withdrawn(t *testing.T, key string, stored func(context.Context) (string, error)) {
	t.Helper()
	stores := s.client.Spec.APIKey.Stores
	for _, test := range []struct {
		policy v1alpha1.PushDeletionPolicy
		left   string
	}{{v1alpha1.PushRetain, key}, {v1alpha1.PushDelete, ""}} {
		change(t, s.cluster, s.client, func(c *v1alpha1.MCPClient) {
			c.Spec.APIKey.Stores = []v1alpha1.ClientKeyStore{*stores[0].DeepCopy()}
			c.Spec.APIKey.Stores[0].Push.DeletionPolicy = test.policy
		})
		pushed := &unstructured.Unstructured{}
		pushed.SetGroupVersionKind(schema.GroupVersionKind{Group: "external-secrets.io", Version: "v1alpha1", Kind: "PushSecret"})
		name := client.ObjectKey{Namespace: s.client.Namespace, Name: "friend." + s.server.Namespace}
		eventually(t, fmt.Sprintf("external-secrets is to push, and to %s", test.policy), 3*time.Minute, func(ctx context.Context) error {
			if err := s.Get(ctx, name, pushed); err != nil {
				return err
			}
			policy, _, _ := unstructured.NestedString(pushed.Object, "spec", "deletionPolicy")
			if (policy == "Delete") != (test.policy == v1alpha1.PushDelete) {
				return fmt.Errorf("its deletionPolicy is %q", policy)
			}
			if got, err := stored(ctx); err != nil || got != key {
				return fmt.Errorf("the store has %d characters: %w", len(got), err)
			}
			return nil
		})
		change(t, s.cluster, s.client, func(c *v1alpha1.MCPClient) { c.Spec.APIKey.Stores = nil })
		eventually(t, fmt.Sprintf("nothing is pushed any more, %s", test.policy), 3*time.Minute, func(ctx context.Context) error {
			if err := s.Get(ctx, name, pushed); !apierrors.IsNotFound(err) {
				return errors.Join(err, fmt.Errorf("the PushSecret is there, with the finalizers %v", pushed.GetFinalizers()))
			}
			got, err := stored(ctx)
			if err == nil && got != test.left {
				err = fmt.Errorf("the store has %d characters, want %d", len(got), len(test.left))
			}
			return err
		})
		if s.key(t) != key {
			t.Error("the client lost its key with the store")
		}
		s.serves(t, fmt.Sprintf("the key without a store, %s", test.policy), key)
	}
}

// TestE2ESourcedKey: a new value in the store becomes the client's key with an overlap, and garbage there costs nothing.
func TestE2ESourcedKey(t *testing.T) {
	t.Parallel()
	const first, second = "Zmlyc3Qta2V5LW9mLTI1Ni1yYW5kb20tYml0cy1vci1zbw", "c2Vjb25kLWtleS1vZi0yNTYtcmFuZG9tLWJpdHMtb3Itc28"
	s := start(t).stock(t, map[string]string{"token": first}, v1alpha1.ClientKeyStore{
		Type: v1alpha1.KeyStoreSource, Source: &v1alpha1.ClientKeySource{RefreshInterval: "5s", RemoteRef: v1alpha1.RemoteRef{Key: "values", Property: "token"}},
	})
	if got := s.key(t); got != first {
		t.Fatalf("the client's Secret holds %d characters that are not the store's", len(got))
	}
	s.serves(t, "the first key", first)
	put := func(value string) {
		change(t, s.cluster, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.manager, Name: "values"}}, func(secret *corev1.Secret) {
			secret.Data = map[string][]byte{"token": []byte(value)}
		})
	}
	put(second + "\n")
	t.Logf("a new value took %s", eventually(t, "the client has the new key", 3*time.Minute, func(context.Context) error {
		if s.key(t) != second {
			return errors.New("it has the old one")
		}
		return nil
	}))
	s.serves(t, "the new key", second)
	s.serves(t, "the old key", first)

	put("changeme")
	eventually(t, "the status says that it is no key", 3*time.Minute, func(ctx context.Context) error {
		if err := s.Get(ctx, client.ObjectKeyFromObject(s.client), s.client); err != nil {
			return err
		}
		c := meta.FindStatusCondition(s.client.Status.Conditions, v1alpha1.ConditionRotationSucceeded)
		if c == nil || c.Reason != "SourceKeyUnusable" || strings.Contains(c.Message, "changeme") {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	if s.key(t) != second {
		t.Error("the last good key was not kept")
	}
	s.serves(t, "the last good key", second)
}
