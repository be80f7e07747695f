package mcpclient_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/mcpclient"
	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// TestIntegrationStaleCache: an operator whose cache lags behind changes no key.
func TestIntegrationStaleCache(t *testing.T) {
	w := newWorld(t, controlplane.Start(t))
	tools := controlplane.Namespace(t, w.config, "tools")
	w.server(tools, "github", authorityPEM(t, "one"))
	w.grant(tools)
	w.agent(tools + "/github")
	empty := &v1alpha1.MCPClient{}
	w.get(w.apps, "agent", empty)
	o := w.run()
	key := w.key(tools)
	for name, hidden := range map[string]string{
		"sees neither Secret nor status": mcpclient.SecretName("agent", tools),
		"sees the Secret but no status":  "",
	} {
		t.Run(name, func(t *testing.T) {
			stale := w.operator(0)
			stale.Client = &lagging{Client: stale.Client, hidden: hidden, old: empty}
			mcpclient.Prepare(stale.Reconciler)
			if _, err := stale.reconcile(w); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(w.key(tools), key) || w.keyStates(tools) != "Current" {
				t.Errorf("the key was changed: %s", w.keyStates(tools))
			}
		})
	}
	if e := drain(o); strings.Count(e, "KeyCurrent") != 1 {
		t.Errorf("events: %s", e)
	}
}

// lagging is a cache that shows the client as it was, and hides a Secret.
type lagging struct {
	client.Client
	hidden string
	old    *v1alpha1.MCPClient
}

func (l *lagging) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	switch object := object.(type) {
	case *v1alpha1.MCPClient:
		l.old.DeepCopyInto(object)
		return nil
	case *corev1.Secret:
		if key.Name == l.hidden {
			key.Name = "absent"
		}
	}
	return l.Client.Get(ctx, key, object, options...)
}

// TestIntegrationNoKeyElsewhere: the key is in its Secret and nowhere else.
func TestIntegrationNoKeyElsewhere(t *testing.T) {
	w := newWorld(t, controlplane.Start(t))
	tools := controlplane.Namespace(t, w.config, "tools")
	w.server(tools, "github", authorityPEM(t, "one"))
	w.grant(tools)
	w.agent(tools + "/github")
	var logs bytes.Buffer
	log := funcr.New(func(prefix, args string) { fmt.Fprintln(&logs, prefix, args) }, funcr.Options{Verbosity: 10})
	var seen []string
	var plain [][]byte
	remember := func(o *operator) {
		if key := w.key(tools); key != nil {
			plain = append(plain, key)
		}
		seen = append(seen, drain(o))
	}
	reconcile := func() {
		o := w.operator(0)
		if _, err := o.Reconcile(ctrl.LoggerInto(t.Context(), log), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: w.apps, Name: "agent"}}); err != nil {
			seen = append(seen, err.Error())
		}
		remember(o)
	}
	reconcile()
	w.gates(tools, "github")
	w.age(84 * 24 * time.Hour)
	reconcile()
	w.gates(tools, "github")
	reconcile()
	w.must(w.client.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.apps, Name: mcpclient.SecretName("agent", tools)}}))
	reconcile()
	w.gates(tools, "github")
	reconcile()
	w.gates(tools, "github")

	seen = append(seen, logs.String())
	for _, list := range []client.ObjectList{
		&v1alpha1.MCPClientList{}, &v1alpha1.MCPServerList{}, &v1alpha1.MCPAccessPolicyList{}, &corev1.SecretList{}, &corev1.ConfigMapList{},
		&corev1.EventList{}, &certmanager.CertificateList{},
	} {
		w.must(w.client.List(t.Context(), list))
		if secrets, ok := list.(*corev1.SecretList); ok {
			for i := range secrets.Items {
				if s := &secrets.Items[i]; s.Namespace == w.apps && s.Name == mcpclient.SecretName("agent", tools) {
					s.Data = nil
				}
			}
		}
		document, err := json.Marshal(list)
		w.must(err)
		seen = append(seen, string(document))
	}
	for _, key := range plain {
		secretPart := string(key[len(key)-keys.SecretLength:])
		for _, text := range seen {
			for _, form := range []string{secretPart, base64.StdEncoding.EncodeToString(key), base64.StdEncoding.EncodeToString([]byte(secretPart))} {
				if strings.Contains(text, form) {
					t.Fatalf("a key is in plain sight in %.200s…", text)
				}
			}
		}
	}
	if len(plain) != 4 || bytes.Equal(plain[0], plain[2]) || bytes.Equal(plain[2], plain[3]) {
		t.Error("the test did not see several keys")
	}
}
