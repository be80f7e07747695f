package mcpclient_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	pushsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1alpha1"
	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/mcpclient"
)

// TestIntegrationCrashWithStores ends the operator after its k-th write of a client's first key and of a rotation, with keys
// that go to a store and with keys that come from one. What the client has is accepted at every moment, and the end is right.
func TestIntegrationCrashWithStores(t *testing.T) {
	for name, change := range map[string]func(tools string) func(*v1alpha1.MCPClientSpec){"push": pushing, "source": sourcing} {
		t.Run(name, func(t *testing.T) {
			most := 0
			for k := 1; ; k++ {
				v, tools := withStore(t, change)
				v.values[remote] = foreignKey(0)
				o, crashed := v.operator(k), false
				// turns lets everybody have their say; a crashed operator is replaced by another.
				turns := func(n int) {
					t.Helper()
					for range n {
						had := v.key(tools)
						if _, err := o.reconcile(v.world); err != nil {
							crashed, o = true, v.operator(0)
						}
						key := v.key(tools)
						if had != nil && !v.accepts(tools, "github", had) || had != nil && key == nil || key != nil && len(had) > 0 && !v.accepts(tools, "github", key) {
							t.Fatalf("after write %d: the client's key is refused, or gone: %s", k, v.keyStates(tools))
						}
						v.gates(tools, "github")
						v.sync()
					}
				}
				turns(5)
				first := v.key(tools)
				if first == nil || v.keyStates(tools) != "Current" || v.values[remote] != string(first) {
					t.Fatalf("after write %d: the first key: %s, in the store %t", k, v.keyStates(tools), v.values[remote] == string(first))
				}
				if name == "push" {
					v.rotate()
				} else {
					v.values[remote] = foreignKey(1)
					v.sync()
				}
				turns(8)
				at := fmt.Sprintf("after write %d", k)
				second := v.key(tools)
				if v.keyStates(tools) != "Current Draining" || bytes.Equal(first, second) || v.values[remote] != string(second) || !v.accepts(tools, "github", first) {
					t.Fatalf("%s: %s, in the store %t", at, v.keyStates(tools), v.values[remote] == string(second))
				}
				if v.get(v.apps, mcpclient.WaitingSecretName("agent", tools), &corev1.Secret{}) || v.versions() > 1 {
					t.Fatalf("%s: a waiting Secret or a pushed version is left", at)
				}
				before := o.writes.Load()
				if turns(1); o.writes.Load() != before {
					t.Errorf("%s: never comes to rest", at)
				}
				if !crashed {
					break
				}
				most = k
			}
			if most < 6 {
				t.Errorf("only %d writes", most)
			}
		})
	}
}

// TestIntegrationNoStoredKeyElsewhere: a key that goes to a store or comes from one is in Secrets that need it and nowhere else.
func TestIntegrationNoStoredKeyElsewhere(t *testing.T) {
	for name, change := range map[string]func(tools string) func(*v1alpha1.MCPClientSpec){"push": pushing, "source": sourcing} {
		v, tools := withStore(t, change)
		v.values[remote] = foreignKey(0)
		var logs bytes.Buffer
		log := funcr.New(func(prefix, args string) { fmt.Fprintln(&logs, prefix, args) }, funcr.Options{Verbosity: 10})
		var seen []string
		plain := map[string]bool{}
		turns := func(n int) {
			for range n {
				o := v.operator(0)
				request := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: v.apps, Name: "agent"}}
				if _, err := o.Reconcile(ctrl.LoggerInto(t.Context(), log), request); err != nil {
					seen = append(seen, err.Error())
				}
				seen = append(seen, drain(o))
				if key := v.key(tools); key != nil {
					plain[string(key)] = true
				}
				v.gates(tools, "github")
				v.sync()
			}
		}
		turns(4)
		v.rotate()
		v.values[remote] = foreignKey(1)
		v.sync()
		turns(5)
		v.down = true
		v.sync()
		turns(2)
		seen = append(seen, logs.String())
		for _, list := range []client.ObjectList{
			&v1alpha1.MCPClientList{}, &v1alpha1.MCPServerList{}, &corev1.SecretList{}, &corev1.ConfigMapList{}, &corev1.EventList{},
			&externalsecrets.ExternalSecretList{}, &pushsecrets.PushSecretList{},
		} {
			v.must(v.client.List(t.Context(), list))
			if secrets, ok := list.(*corev1.SecretList); ok {
				for i := range secrets.Items {
					// The client's, the pushed version, and what external-secrets made are where it belongs; other tests have keys, too.
					if s := &secrets.Items[i]; s.Namespace != tools && (s.Namespace != v.apps || strings.HasPrefix(s.Name, mcpclient.SecretName("agent", tools))) {
						s.Data = nil
					}
				}
			}
			document, err := json.Marshal(list)
			v.must(err)
			seen = append(seen, string(document))
		}
		if len(plain) != 2 {
			t.Errorf("%s: the test saw %d keys", name, len(plain))
		}
		for key := range plain {
			secret := key[len(key)-40:]
			for _, text := range seen {
				for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(key))} {
					if strings.Contains(text, form) {
						t.Fatalf("%s: a key is in plain sight in %.200s…", name, text)
					}
				}
			}
		}
	}
}

// TestIntegrationStoreDeletion: what a client's stores needed goes with its grant.
func TestIntegrationStoreDeletion(t *testing.T) {
	for name, change := range map[string]func(tools string) func(*v1alpha1.MCPClientSpec){"push": pushing, "source": sourcing} {
		v, tools := withStore(t, change)
		v.values[remote] = foreignKey(0)
		v.run()
		v.turn(tools)
		v.turn(tools)
		v.must(v.client.Delete(t.Context(), &v1alpha1.MCPAccessPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: tools, Name: "readers"}}))
		v.run()
		left := func() bool {
			return v.get(v.apps, mcpclient.SourceName("agent", tools), &externalsecrets.ExternalSecret{}) ||
				v.get(v.apps, mcpclient.SecretName("agent", tools), &pushsecrets.PushSecret{})
		}
		if !left() {
			t.Errorf("%s: gone at once", name)
		}
		v.now = v.now.Add(lingered)
		v.run()
		v.run()
		if left() || v.versions() != 0 || v.key(tools) != nil {
			t.Errorf("%s: left behind: store objects %t, %d versions, a key %t", name, left(), v.versions(), v.key(tools) != nil)
		}
	}
}

// lingered is longer than credentials outlive their grant.
const lingered = 11 * time.Minute
