package mcpclient_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	pushsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/mcpclient"
	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// vault plays external-secrets and the store behind it.
type vault struct {
	*world
	// values are what the store holds, by "key#property@version".
	values map[string]string
	down   bool
}

// said is what external-secrets says of a failure; no status of ours may repeat it.
const said = "could not get the value s3cr3t of the store"

// sync does what external-secrets does about everything in the client's namespace, once.
func (v *vault) sync() {
	v.Helper()
	ctx := context.Background()
	sources, pushes := externalsecrets.ExternalSecretList{}, pushsecrets.PushSecretList{}
	v.must(v.client.List(ctx, &sources, client.InNamespace(v.apps)))
	v.must(v.client.List(ctx, &pushes, client.InNamespace(v.apps)))
	for i := range sources.Items {
		es := &sources.Items[i]
		ref := es.Spec.Data[0].RemoteRef
		value, found := v.values[ref.Key+"#"+ref.Property+"@"+ref.Version]
		if v.down || !found {
			es.Status.Conditions = []externalsecrets.ExternalSecretStatusCondition{{
				Type: externalsecrets.ExternalSecretReady, Status: corev1.ConditionFalse, Reason: externalsecrets.ConditionReasonSecretSyncedError, Message: said,
			}}
			v.must(v.client.Status().Update(ctx, es))
			continue
		}
		yes := true
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: v.apps, Name: es.Spec.Target.Name, Labels: es.Spec.Target.Template.Metadata.Labels,
				OwnerReferences: []metav1.OwnerReference{{
					APIVersion: externalsecrets.SchemeGroupVersion.String(), Kind: externalsecrets.ExtSecretKind, Name: es.Name, UID: es.UID, Controller: &yes,
				}},
			},
			Data: map[string][]byte{es.Spec.Data[0].SecretKey: []byte(value)},
		}
		if err := v.client.Create(ctx, secret); apierrors.IsAlreadyExists(err) {
			v.must(v.client.Update(ctx, secret))
		} else {
			v.must(err)
		}
		es.Status.SyncedResourceVersion = fmt.Sprintf("%d-hash", es.Generation)
		es.Status.Conditions = []externalsecrets.ExternalSecretStatusCondition{{
			Type: externalsecrets.ExternalSecretReady, Status: corev1.ConditionTrue, Reason: externalsecrets.ConditionReasonSecretSynced,
		}}
		v.must(v.client.Status().Update(ctx, es))
	}
	for i := range pushes.Items {
		ps, secret := &pushes.Items[i], &corev1.Secret{}
		if v.down || !v.get(v.apps, ps.Spec.Selector.Secret.Name, secret) {
			ps.Status.Conditions = []pushsecrets.PushSecretStatusCondition{{
				Type: pushsecrets.PushSecretReady, Status: corev1.ConditionFalse, Reason: pushsecrets.ReasonErrored, Message: said,
			}}
			v.must(v.client.Status().Update(ctx, ps))
			continue
		}
		match := ps.Spec.Data[0].Match
		v.values[match.RemoteRef.RemoteKey+"#"+match.RemoteRef.Property+"@"] = string(secret.Data[match.SecretKey])
		ps.Status.SyncedResourceVersion = fmt.Sprintf("%d-hash", ps.Generation)
		ps.Status.Conditions = []pushsecrets.PushSecretStatusCondition{{Type: pushsecrets.PushSecretReady, Status: corev1.ConditionTrue, Reason: pushsecrets.ReasonSynced}}
		v.must(v.client.Status().Update(ctx, ps))
	}
}

const remote = "mcp/agent#token@"

func pushing(tools string) func(*v1alpha1.MCPClientSpec) {
	return func(s *v1alpha1.MCPClientSpec) {
		s.APIKey.Stores = []v1alpha1.ClientKeyStore{{
			Namespace: tools, Type: v1alpha1.KeyStorePush, StoreRef: v1alpha1.SecretStoreRef{Name: "vault"},
			Push: &v1alpha1.ClientKeyPush{RemoteKey: "mcp/agent", Property: "token"},
		}}
	}
}

func sourcing(tools string) func(*v1alpha1.MCPClientSpec) {
	return func(s *v1alpha1.MCPClientSpec) {
		s.APIKey.Stores = []v1alpha1.ClientKeyStore{{
			Namespace: tools, Type: v1alpha1.KeyStoreSource, StoreRef: v1alpha1.SecretStoreRef{Name: "vault"},
			Source: &v1alpha1.ClientKeySource{RefreshInterval: "1m", RemoteRef: v1alpha1.RemoteRef{Key: "mcp/agent", Property: "token"}},
		}}
	}
}

// withStore is a world with a client that has no key yet, after a change of its spec.
func withStore(t *testing.T, change func(tools string) func(*v1alpha1.MCPClientSpec)) (v *vault, tools string) {
	t.Helper()
	w := newWorld(t, controlplane.Start(t))
	tools = controlplane.Namespace(t, w.config, "tools")
	w.server(tools, "github", authorityPEM(t, "one"))
	w.grant(tools)
	w.agent(tools + "/github")
	w.spec(change(tools))
	return &vault{world: w, values: map[string]string{}}, tools
}

// turn lets the gates, external-secrets and the operator each have their say.
func (v *vault) turn(tools string) *operator {
	v.Helper()
	v.gates(tools, "github")
	v.sync()
	return v.run()
}

func (v *vault) versions() int {
	v.Helper()
	secrets, n := corev1.SecretList{}, 0
	v.must(v.client.List(context.Background(), &secrets, client.InNamespace(v.apps)))
	for _, s := range secrets.Items {
		if strings.Contains(s.Name, ".push-") {
			n++
		}
	}
	return n
}

// TestIntegrationPushedKey: the store has a new key before the client gets it, by a version of its own; while the store is
// down, the client keeps what works.
func TestIntegrationPushedKey(t *testing.T) {
	v, tools := withStore(t, pushing)
	v.certManager()
	v.run()
	v.certManager()
	v.turn(tools)
	first := v.key(tools)
	if v.values[remote] != string(first) || v.condition("RotationSucceeded") != "True UpToDate" || v.condition(ready) != "True Ready" {
		t.Fatalf("the first key: in the store %t, %s: %s", v.values[remote] == string(first), v.condition("RotationSucceeded"), v.message("RotationSucceeded"))
	}
	if o := v.turn(tools); o.writes.Load() != 0 {
		t.Errorf("%d writes at rest", o.writes.Load())
	}

	v.down = true
	v.rotate()
	v.run()
	v.turn(tools)
	v.turn(tools)
	if !bytes.Equal(v.key(tools), first) || v.keyStates(tools) != "Current Distributed" || v.condition("RotationSucceeded") != "False WaitingForStore" {
		t.Fatalf("while the store is down: %s, %s", v.keyStates(tools), v.condition("RotationSucceeded"))
	}
	if v.condition(ready) != "True Ready" || !v.accepts(tools, "github", first) || strings.Contains(v.message("RotationSucceeded"), "s3cr3t") {
		t.Errorf("while the store is down: %s, %s", v.condition(ready), v.message("RotationSucceeded"))
	}
	if o := v.turn(tools); o.writes.Load() != 0 {
		t.Errorf("%d writes while the store is down", o.writes.Load())
	}
	// Ready of the generation before is not enough.
	ps := &pushsecrets.PushSecret{}
	v.get(v.apps, mcpclient.SecretName("agent", tools), ps)
	ps.Status.Conditions[0].Status = corev1.ConditionTrue
	v.must(v.client.Status().Update(t.Context(), ps))
	v.run()
	if !bytes.Equal(v.key(tools), first) {
		t.Fatal("Ready of an older generation was taken for this one's")
	}
	v.down = false
	v.turn(tools)
	second := v.key(tools)
	if bytes.Equal(second, first) || v.values[remote] != string(second) || v.keyStates(tools) != "Current Draining" || v.condition("RotationSucceeded") != "True UpToDate" {
		t.Errorf("when the store is back: %s, %s", v.keyStates(tools), v.condition("RotationSucceeded"))
	}
	v.turn(tools)
	if n := v.versions(); n != 1 {
		t.Errorf("%d versions are left", n)
	}

	// At its maximum age a key ends, store or not; the client gets the next one at once.
	v.down = true
	v.rotate()
	v.run()
	v.gates(tools, "github")
	v.run()
	v.age(91 * 24 * time.Hour)
	v.run()
	if third := v.key(tools); bytes.Equal(third, second) {
		t.Errorf("the client is left with a key that no gate accepts: %s", v.keyStates(tools))
	}
	v.down = false
	v.turn(tools)
	v.turn(tools)
	if v.values[remote] != string(v.key(tools)) {
		t.Error("the store does not have the client's key")
	}

	v.spec(func(s *v1alpha1.MCPClientSpec) { s.APIKey.Stores = nil })
	v.run()
	if v.get(v.apps, mcpclient.SecretName("agent", tools), &pushsecrets.PushSecret{}) || v.versions() != 0 || v.condition("RotationSucceeded") != "True UpToDate" {
		t.Errorf("without a push: %d versions left, %s", v.versions(), v.condition("RotationSucceeded"))
	}
}

// foreignKey is a key that was made elsewhere.
func foreignKey(i int) string {
	return fmt.Sprintf("%02d-", i) + "Qm9keSBvZiByYW5kb20gY2hhcmFjdGVycyAwMTIzNDU2Nzg5_x"
}

// TestIntegrationSourcedKey: a new value in the store is a rotation; whatever else the store does costs nothing.
func TestIntegrationSourcedKey(t *testing.T) {
	v, tools := withStore(t, sourcing)
	v.run()
	v.certManager()
	if v.turn(tools); v.key(tools) != nil || v.condition("CredentialsIssued") != "False SourceNotReady" {
		t.Fatalf("with an empty store: %s", v.condition("CredentialsIssued"))
	}
	v.values[remote] = foreignKey(1) + "\n"
	v.turn(tools)
	first := v.key(tools)
	if string(first) != foreignKey(1) || !v.accepts(tools, "github", first) || v.keyStates(tools) != "Current" || v.condition(ready) != "True Ready" {
		t.Fatalf("the first key: %q, %s, %s: %s", first, v.keyStates(tools), v.condition(ready), v.message(ready))
	}
	secret := &corev1.Secret{}
	v.get(v.apps, mcpclient.SecretName("agent", tools), secret)
	if c := string(secret.Data[mcpclient.DataConfiguration]); !strings.Contains(c, `"X-API-Key": "`+foreignKey(1)+`"`) || strings.Contains(c, "Bearer") {
		t.Error("the configuration sends the key as if it were a token")
	}
	if o := v.turn(tools); o.writes.Load() != 0 {
		t.Errorf("%d writes at rest", o.writes.Load())
	}
	for _, bad := range []struct {
		name, condition string
		happens         func()
	}{
		{"the store is down", "False SourceNotReady", func() { v.down = true }},
		{"the property is not there", "False SourceNotReady", func() { v.down = false; delete(v.values, remote) }},
		{"empty", "False SourceKeyUnusable", func() { v.values[remote] = "" }},
		{"garbage", "False SourceKeyUnusable", func() { v.values[remote] = `{"token": "s3cr3t"}` }},
		{"too short", "False SourceKeyUnusable", func() { v.values[remote] = "s3cr3t" }},
		{"no entropy", "False SourceKeyUnusable", func() { v.values[remote] = strings.Repeat("s3cr3t", 10) }},
		{"half of a key of ours", "False SourceKeyUnusable", func() { v.values[remote] = keys.Prefix + strings.Repeat("s3cr3t", 10) }},
	} {
		bad.happens()
		v.turn(tools)
		if !bytes.Equal(v.key(tools), first) || !v.accepts(tools, "github", first) || v.condition("RotationSucceeded") != bad.condition || v.condition(ready) != "True Ready" {
			t.Errorf("%s: %s, %s: %s", bad.name, v.keyStates(tools), v.condition("RotationSucceeded"), v.message("RotationSucceeded"))
		}
		if strings.Contains(v.message("RotationSucceeded"), "s3cr3t") {
			t.Errorf("%s: the status has what the store gave", bad.name)
		}
		if o := v.turn(tools); o.writes.Load() != 0 {
			t.Errorf("%s: %d writes at rest", bad.name, o.writes.Load())
		}
	}

	// A new value: the gates first. Another one meanwhile does not take the place of the one that waits.
	v.values[remote] = foreignKey(2)
	v.sync()
	v.run()
	if !bytes.Equal(v.key(tools), first) || v.keyStates(tools) != "Current Pending" {
		t.Fatalf("before the gates have it: %s", v.keyStates(tools))
	}
	v.values[remote] = foreignKey(3)
	v.sync()
	v.run()
	v.gates(tools, "github")
	v.run()
	if key := v.key(tools); string(key) != foreignKey(2) && string(key) != foreignKey(3) || !v.accepts(tools, "github", first) {
		t.Fatalf("when the gates have it: %s", v.keyStates(tools))
	}
	v.turn(tools)
	v.turn(tools)
	if string(v.key(tools)) != foreignKey(3) || v.condition("RotationSucceeded") != "True UpToDate" {
		t.Errorf("the newest: %s, %s: %s", v.keyStates(tools), v.condition("RotationSucceeded"), v.message("RotationSucceeded"))
	}

	// A lost Secret gets the same key again.
	v.must(v.client.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: v.apps, Name: mcpclient.SecretName("agent", tools)}}))
	v.run()
	if string(v.key(tools)) != foreignKey(3) {
		t.Errorf("a lost Secret: %s", v.keyStates(tools))
	}
	// The way back is closed: that key's time is over.
	v.values[remote] = foreignKey(2)
	v.turn(tools)
	v.turn(tools)
	if string(v.key(tools)) != foreignKey(3) || v.condition("RotationSucceeded") != "False SourceKeyNotNew" {
		t.Errorf("an old key: %s, %s", v.keyStates(tools), v.condition("RotationSucceeded"))
	}
	// Pinned by version, in the form that keys have here.
	made, err := keys.New(bytes.NewReader(bytes.Repeat([]byte{7}, 64)))
	v.must(err)
	v.values["mcp/agent#token@7"] = made.Text
	v.spec(func(s *v1alpha1.MCPClientSpec) { s.APIKey.Stores[0].Source.RemoteRef.Version = "7" })
	v.run()
	v.turn(tools)
	v.turn(tools)
	v.turn(tools)
	if string(v.key(tools)) != made.Text || v.condition("RotationSucceeded") != "True UpToDate" {
		t.Errorf("pinned: %s, %s: %s", v.keyStates(tools), v.condition("RotationSucceeded"), v.message("RotationSucceeded"))
	}
	// Too old, and nothing new there.
	v.age(89 * 24 * time.Hour)
	v.run()
	if v.condition("RotationSucceeded") != "False SourceKeyNotNew" || !v.accepts(tools, "github", v.key(tools)) {
		t.Errorf("an old key in use: %s", v.condition("RotationSucceeded"))
	}
	// Made here from now on: with an overlap, too.
	v.spec(func(s *v1alpha1.MCPClientSpec) { s.APIKey.Stores = nil })
	v.run()
	v.turn(tools)
	if _, err := keys.Parse(string(v.key(tools))); err != nil || string(v.key(tools)) == made.Text || !v.accepts(tools, "github", []byte(made.Text)) ||
		v.get(v.apps, mcpclient.SourceName("agent", tools), &externalsecrets.ExternalSecret{}) {
		t.Errorf("made here: %s", v.keyStates(tools))
	}
}

// TestIntegrationStoreRefused: what the spec asks for and cannot be had is said; keys that are there go on.
func TestIntegrationStoreRefused(t *testing.T) {
	for name, change := range map[string]func(tools string) func(*v1alpha1.MCPClientSpec){"push": pushing, "source": sourcing} {
		v, tools := withStore(t, func(string) func(*v1alpha1.MCPClientSpec) { return func(*v1alpha1.MCPClientSpec) {} })
		v.run()
		key := v.key(tools)
		v.spec(change(tools))
		v.spec(func(s *v1alpha1.MCPClientSpec) {
			s.APIKey.Stores[0].StoreRef.Kind = v1alpha1.SecretStoreCluster
		})
		v.run()
		if v.condition("RotationSucceeded") != "False ClusterScopedStore" || !strings.Contains(v.message("RotationSucceeded"), "namespace "+v.apps) {
			t.Errorf("%s: %s: %s", name, v.condition("RotationSucceeded"), v.message("RotationSucceeded"))
		}
		if v.get(v.apps, mcpclient.SourceName("agent", tools), &externalsecrets.ExternalSecret{}) || v.get(v.apps, mcpclient.SecretName("agent", tools), &pushsecrets.PushSecret{}) {
			t.Errorf("%s: a cluster-scoped store is used", name)
		}
		if !bytes.Equal(v.key(tools), key) || !v.accepts(tools, "github", key) {
			t.Errorf("%s: the key is gone", name)
		}
		// The cluster has no external-secrets: a condition, and it goes on when it is there.
		v.spec(func(s *v1alpha1.MCPClientSpec) { s.APIKey.Stores = nil })
		v.spec(change(tools))
		bare := v.bare()
		if _, err := bare.reconcile(v.world); err != nil {
			t.Fatal(err)
		}
		if v.condition("RotationSucceeded") != "False ExternalSecretsMissing" || !bytes.Equal(v.key(tools), key) {
			t.Errorf("%s: without external-secrets: %s", name, v.condition("RotationSucceeded"))
		}
		v.values[remote] = foreignKey(1)
		v.run()
		for range 4 {
			v.turn(tools)
		}
		if v.condition("RotationSucceeded") != "True UpToDate" || v.values[remote] != string(v.key(tools)) {
			t.Errorf("%s: with external-secrets: %s: %s", name, v.condition("RotationSucceeded"), v.message("RotationSucceeded"))
		}
	}
}

// TestIntegrationRewrittenSourced: a tool that takes a key from a store out of the client's Secret again and again does not keep
// the operator busy.
func TestIntegrationRewrittenSourced(t *testing.T) {
	v, tools := withStore(t, sourcing)
	v.values[remote] = foreignKey(1)
	v.run()
	v.turn(tools)
	v.gates(tools, "github")
	o, back := v.operator(0), 0
	meddle := func() {
		s := &corev1.Secret{}
		if v.get(v.apps, mcpclient.SecretName("agent", tools), s) && string(s.Data["api-key"]) == foreignKey(1) {
			back++
			s.Data["api-key"] = []byte("mine")
			v.must(v.client.Update(t.Context(), s, client.FieldOwner("meddler")))
		}
		if _, err := o.reconcile(v.world); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		meddle()
	}
	if back != 4 || v.condition("RotationSucceeded") != "False SecretRewritten" || !v.accepts(tools, "github", []byte(foreignKey(1))) {
		t.Errorf("given back %d times, %s", back-1, v.condition("RotationSucceeded"))
	}
	v.now = v.now.Add(3 * time.Minute)
	if _, err := o.reconcile(v.world); err != nil {
		t.Fatal(err)
	}
	if string(v.key(tools)) != foreignKey(1) || v.keyStates(tools) != "Current" {
		t.Errorf("when it has stopped: %s", v.keyStates(tools))
	}
}

// TestIntegrationSourceConflict: a Secret of somebody else is not given to external-secrets to overwrite.
func TestIntegrationSourceConflict(t *testing.T) {
	v, tools := withStore(t, sourcing)
	mine := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: v.apps, Name: mcpclient.SourceName("agent", tools)}, StringData: map[string]string{"mine": "x"}}
	v.create(mine)
	v.run()
	if v.get(v.apps, mine.Name, &externalsecrets.ExternalSecret{}) {
		t.Error("an ExternalSecret would overwrite it")
	}
	if v.condition(stalled) != "True ChildConflict" || !strings.Contains(v.message(stalled), mine.Name) {
		t.Errorf("%s: %s", v.condition(stalled), v.message(stalled))
	}
	v.must(v.client.Delete(t.Context(), mine))
	v.values[remote] = foreignKey(1)
	v.run()
	v.turn(tools)
	if string(v.key(tools)) != foreignKey(1) {
		t.Errorf("after it went: %s", v.message(ready))
	}
}

// TestIntegrationPushConflict: a PushSecret of somebody else stays as it is. The client keeps a key that works, and says what is
// in the way.
func TestIntegrationPushConflict(t *testing.T) {
	v, tools := withStore(t, pushing)
	mine := &pushsecrets.PushSecret{ObjectMeta: metav1.ObjectMeta{Namespace: v.apps, Name: mcpclient.SecretName("agent", tools)}}
	mine.Spec.SecretStoreRefs = []pushsecrets.PushSecretStoreRef{{Kind: "SecretStore", Name: "mine"}}
	mine.Spec.Selector.Secret = &pushsecrets.PushSecretSecret{Name: "mine"}
	v.create(mine)
	o := v.run()
	if v.condition("RotationSucceeded") != "False ChildConflict" || !strings.Contains(v.message("RotationSucceeded"), "PushSecret "+v.apps+"/"+mine.Name) {
		t.Errorf("%s: %s", v.condition("RotationSucceeded"), v.message("RotationSucceeded"))
	}
	if v.key(tools) == nil || !v.accepts(tools, "github", v.key(tools)) {
		t.Errorf("the client has no key that works: %s", v.keyStates(tools))
	}
	writes := o.writes.Load()
	result, err := o.reconcile(v.world)
	if err != nil || o.writes.Load() != writes || result.RequeueAfter == 0 || result.RequeueAfter > time.Minute {
		t.Errorf("%d writes at rest, looks again after %s: %v", o.writes.Load()-writes, result.RequeueAfter, err)
	}
	left := &pushsecrets.PushSecret{}
	if !v.get(v.apps, mine.Name, left) || left.Spec.Selector.Secret.Name != "mine" || left.ResourceVersion != mine.ResourceVersion {
		t.Errorf("it was changed: %+v", left.Spec)
	}
	v.must(v.client.Delete(t.Context(), mine))
	for range 3 {
		v.run()
		v.turn(tools)
	}
	if v.condition("RotationSucceeded") != "True UpToDate" || v.values[remote] != string(v.key(tools)) {
		t.Errorf("after it went: %s: %s", v.condition("RotationSucceeded"), v.message("RotationSucceeded"))
	}
}
