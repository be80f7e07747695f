package mcpclient_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/mcpclient"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

const (
	ready   = v1alpha1.ConditionReady
	issued  = v1alpha1.ConditionCredentialsIssued
	stalled = v1alpha1.ConditionStalled
)

// TestIntegrationCredentials: both sides agree, and the client gets all that it needs, once.
func TestIntegrationCredentials(t *testing.T) {
	w := newWorld(t, controlplane.Start(t))
	tools := controlplane.Namespace(t, w.config, "tools")
	one, two := authorityPEM(t, "one"), authorityPEM(t, "two")
	w.server(tools, "github", one+"not a certificate")
	w.server(tools, "jira", one+two)
	w.server(tools, "closed", two)
	w.agent(tools+"/github", tools+"/jira", tools+"/closed", tools+"/absent")
	policy := w.grant(tools)
	policy.Spec.Servers = v1alpha1.ServerSelection{Names: []string{"github", "jira"}}
	w.must(w.client.Update(t.Context(), policy))

	w.run()
	key := w.key(tools)
	id, err := keys.Parse(string(key))
	w.must(err)
	if got := w.condition(issued); got != "False Issuing" {
		t.Errorf("before the certificate is there: %s", got)
	}
	certificate := certmanager.Certificate{}
	if !w.get(w.apps, mcpclient.CertificateName("agent", tools), &certificate) {
		t.Fatal("no Certificate")
	}
	wantURI := clientid.Client{Namespace: w.apps, Name: "agent", Servers: tools}.URI()
	if s := certificate.Spec; len(s.URIs) != 1 || s.URIs[0] != wantURI || len(s.DNSNames) > 0 || s.IsCA || s.IssuerRef.Name != "bartizan-ca-1" ||
		cmp.Diff([]certmanager.KeyUsage{certmanager.UsageDigitalSignature, certmanager.UsageClientAuth}, s.Usages) != "" {
		t.Errorf("the certificate: %+v", s)
	}
	w.certManager()
	w.run()
	w.run()

	status := w.status()
	if len(status.Credentials) != 1 || len(status.Credentials[0].Keys) != 1 {
		t.Fatalf("credentials: %+v", status.Credentials)
	}
	recorded := status.Credentials[0].Keys[0]
	if recorded.ID != id || recorded.SHA256 != keys.Hash(string(key)) || recorded.State != v1alpha1.KeyCurrent ||
		recorded.NotAfter.Sub(recorded.IssuedAt.Time) != 90*24*time.Hour {
		t.Errorf("recorded: %+v", recorded)
	}
	var states []string
	for _, s := range status.Servers {
		states = append(states, fmt.Sprintf("%s %s %s", s.Name, s.State, strings.ReplaceAll(s.URL, tools, "NS")))
	}
	want := []string{"absent NotFound ", "closed NotGranted ", "github Granted https://github.NS.svc/mcp", "jira Granted https://jira.NS.svc/mcp"}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Error(diff)
	}
	if got := w.condition(issued); got != "True Issued" {
		t.Errorf("issued: %s", got)
	}
	if got := w.condition(ready); got != "False ServersNotGranted" {
		t.Errorf("ready while two servers are not there: %s", got)
	}
	secret := corev1.Secret{}
	w.get(w.apps, mcpclient.SecretName("agent", tools), &secret)
	if got := bytes.Count(secret.Data["ca.crt"], []byte("BEGIN CERTIFICATE")); got != 2 || bytes.Contains(secret.Data["ca.crt"], []byte("not a")) {
		t.Errorf("the bundle has %d certificates:\n%s", got, secret.Data["ca.crt"])
	}
	wantConfiguration := fmt.Sprintf(`{"mcpServers":{
		"github":{"type":"http","url":"https://github.%[1]s.svc/mcp","headers":{"Authorization":"Bearer %[2]s"}},
		"jira":{"type":"http","url":"https://jira.%[1]s.svc/mcp","headers":{"Authorization":"Bearer %[2]s"}}}}`, tools, key)
	if diff := cmp.Diff(parsed(t, []byte(wantConfiguration)), parsed(t, secret.Data["mcp.json"])); diff != "" {
		t.Error(diff)
	}
	if string(secret.Data["namespace"]) != tools || len(secret.Data) != 4 {
		t.Errorf("keys of the Secret: %v", len(secret.Data))
	}
	tls := corev1.Secret{}
	w.get(w.apps, mcpclient.CertificateSecretName("agent", tools), &tls)
	if len(tls.OwnerReferences) != 1 || tls.OwnerReferences[0].Kind != "MCPClient" {
		t.Errorf("the certificate's Secret would outlive the client: %+v", tls.OwnerReferences)
	}
	if !w.accepts(tools, "github", key) || w.accepts(tools, "closed", key) {
		t.Error("the gates do not have what the client has")
	}

	// The rest of the spec goes, and the client is ready.
	agent := &v1alpha1.MCPClient{}
	w.get(w.apps, "agent", agent)
	agent.Spec.Servers = agent.Spec.Servers[:2]
	w.must(w.client.Update(t.Context(), agent))
	w.run()
	if got := w.condition(ready); got != "True Ready" {
		t.Errorf("ready: %s", got)
	}
	// At rest nothing is written.
	o := w.run()
	if n := o.writes.Load(); n != 0 || len(o.events.Events) != 0 {
		t.Errorf("at rest %d writes, %d events", n, len(o.events.Events))
	}
	if !bytes.Equal(w.key(tools), key) {
		t.Error("the key changed")
	}
}

func parsed(t *testing.T, document []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(document, &v); err != nil {
		t.Fatalf("%v in %s", err, document)
	}
	return v
}

// TestIntegrationConsent: with either side alone there is nothing, and taking either side away takes everything away.
func TestIntegrationConsent(t *testing.T) {
	w := newWorld(t, controlplane.Start(t))
	tools, data := controlplane.Namespace(t, w.config, "tools"), controlplane.Namespace(t, w.config, "data")
	w.server(tools, "github", authorityPEM(t, "one"))
	w.server(data, "db", authorityPEM(t, "two"))
	w.agent(tools+"/github", data+"/db")
	w.run()
	if got := w.condition(issued); got != "False NoGrant" || w.key(tools) != nil {
		t.Fatalf("without any policy: %s", got)
	}
	toolsPolicy := w.grant(tools)
	w.grant(data)
	w.run()
	w.certManager()
	w.run()
	if a, b := w.key(tools), w.key(data); len(a) == 0 || len(b) == 0 || bytes.Equal(a, b) {
		t.Fatal("two namespaces of servers must have two keys")
	}
	if w.accepts(tools, "github", w.key(data)) || w.accepts(data, "db", w.key(tools)) {
		t.Error("a key is accepted in the other namespace")
	}
	dataKey := w.key(data)

	gone := func(servers string) {
		t.Helper()
		if w.get(w.apps, mcpclient.SecretName("agent", servers), &corev1.Secret{}) ||
			w.get(w.apps, mcpclient.CertificateSecretName("agent", servers), &corev1.Secret{}) ||
			w.get(w.apps, mcpclient.CertificateName("agent", servers), &certmanager.Certificate{}) {
			t.Errorf("credentials for %s are still there", servers)
		}
		for _, c := range w.status().Credentials {
			if c.Namespace == servers {
				t.Errorf("the status still has %s", servers)
			}
		}
	}
	w.must(w.client.Delete(t.Context(), toolsPolicy))
	w.run()
	w.now = w.now.Add(11 * time.Minute)
	o := w.run()
	gone(tools)
	if e := drain(o); !strings.Contains(e, "CredentialsRemoved") {
		t.Errorf("events: %s", e)
	}
	if !bytes.Equal(w.key(data), dataKey) {
		t.Error("the other namespace's key was touched")
	}
	// cert-manager was about to write the Secret: it comes late, and goes.
	late := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.apps, Name: mcpclient.CertificateSecretName("agent", tools),
			Labels: map[string]string{
				"app.kubernetes.io/managed-by": "bartizan", "app.kubernetes.io/name": "mcpclient", "app.kubernetes.io/instance": "agent",
				mcpclient.ServersLabel: tools,
			},
			Annotations: map[string]string{certmanager.CertificateNameKey: mcpclient.CertificateName("agent", tools)},
		},
	}
	w.create(late)
	w.run()
	gone(tools)

	// The client's side.
	agent := &v1alpha1.MCPClient{}
	w.get(w.apps, "agent", agent)
	agent.Spec.Servers = agent.Spec.Servers[:1]
	w.must(w.client.Update(t.Context(), agent))
	w.run()
	gone(data)

	// Agreed again: a new key.
	w.get(w.apps, "agent", agent)
	agent.Spec.Servers = append(agent.Spec.Servers, v1alpha1.ServerRef{Namespace: data, Name: "db"})
	w.must(w.client.Update(t.Context(), agent))
	w.run()
	if key := w.key(data); len(key) == 0 || bytes.Equal(key, dataKey) || !w.accepts(data, "db", key) || w.accepts(data, "db", dataKey) {
		t.Error("after the consent was renewed")
	}
}

func drain(o *operator) string {
	var out []string
	for {
		select {
		case e := <-o.events.Events:
			out = append(out, e)
		default:
			return strings.Join(out, "\n")
		}
	}
}

// TestIntegrationTampered: whatever somebody does to the Secret, a working key comes back and the old one is refused.
func TestIntegrationTampered(t *testing.T) {
	config := controlplane.Start(t)
	foreign, err := keys.New(zeros{})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(*world, *corev1.Secret)
	}{
		{"key removed", func(w *world, s *corev1.Secret) {
			delete(s.Data, "api-key")
			w.must(w.client.Update(t.Context(), s))
		}},
		{"key garbled", func(w *world, s *corev1.Secret) {
			s.Data["api-key"] = append(s.Data["api-key"], '\n')
			w.must(w.client.Update(t.Context(), s))
		}},
		{"key replaced", func(w *world, s *corev1.Secret) {
			s.Data["api-key"] = []byte(foreign.Text)
			w.must(w.client.Update(t.Context(), s))
		}},
		{"everything removed and immutable", func(w *world, s *corev1.Secret) {
			yes := true
			s.Data, s.Immutable = nil, &yes
			w.must(w.client.Update(t.Context(), s))
		}},
		{"deleted", func(w *world, s *corev1.Secret) { w.must(w.client.Delete(t.Context(), s)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, config)
			tools := controlplane.Namespace(t, config, "tools")
			w.server(tools, "github", authorityPEM(t, "one"))
			w.grant(tools)
			w.agent(tools + "/github")
			w.run()
			old, secret := w.key(tools), &corev1.Secret{}
			w.get(w.apps, mcpclient.SecretName("agent", tools), secret)
			test.change(w, secret)
			o := w.run()
			if w.key(tools) == nil {
				// What mounted it works with the old key: the new one waits for the gates.
				if w.condition(ready) != "False Issuing" || !w.accepts(tools, "github", old) {
					t.Errorf("while the Secret is gone: %s", w.condition(ready))
				}
				w.gates(tools, "github")
				o = w.run()
			}
			key := w.key(tools)
			if _, err := keys.Parse(string(key)); err != nil || bytes.Equal(key, old) || string(key) == foreign.Text {
				t.Fatalf("no new key: %v", err)
			}
			if !w.accepts(tools, "github", key) || !w.accepts(tools, "github", old) || w.accepts(tools, "github", []byte(foreign.Text)) {
				t.Error("the gates accept the wrong key")
			}
			if got := w.keyStates(tools); got != "Current Draining" {
				t.Errorf("states: %s", got)
			}
			if e := drain(o); !strings.Contains(e, "Warning KeyLost") {
				t.Errorf("events: %s", e)
			}
			if o := w.run(); o.writes.Load() != 0 {
				t.Errorf("%d writes at rest", o.writes.Load())
			}
			w.now = w.now.Add(25 * time.Hour)
			w.gates(tools, "github")
			w.run()
			if w.accepts(tools, "github", old) || !w.accepts(tools, "github", key) {
				t.Errorf("after the overlap: %s", w.keyStates(tools))
			}
		})
	}
	t.Run("everything but the key", func(t *testing.T) {
		w := newWorld(t, config)
		tools := controlplane.Namespace(t, config, "tools")
		w.server(tools, "github", authorityPEM(t, "one"))
		w.grant(tools)
		w.agent(tools + "/github")
		w.run()
		before, secret := &corev1.Secret{}, &corev1.Secret{}
		w.get(w.apps, mcpclient.SecretName("agent", tools), before)
		before.DeepCopyInto(secret)
		secret.Data["ca.crt"], secret.Data["mcp.json"], secret.Data["more"] = []byte("mine"), []byte("{}"), []byte("x")
		secret.Labels = nil
		w.must(w.client.Update(t.Context(), secret))
		w.run()
		w.get(w.apps, mcpclient.SecretName("agent", tools), secret)
		if diff := cmp.Diff(before.Data, secret.Data); diff != "" || cmp.Diff(before.Labels, secret.Labels) != "" {
			t.Error(diff)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestIntegrationForeignObjects: what somebody else made is never touched, and named.
func TestIntegrationForeignObjects(t *testing.T) {
	config := controlplane.Start(t)
	for _, test := range []struct {
		name   string
		object func(apps, tools string) client.Object
	}{
		{"the Secret of the key", func(apps, tools string) client.Object {
			return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: apps, Name: mcpclient.SecretName("agent", tools)}, Data: map[string][]byte{"api-key": []byte("mine")}}
		}},
		{"the Secret of a waiting key", func(apps, tools string) client.Object {
			return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: apps, Name: mcpclient.WaitingSecretName("agent", tools)}, Data: map[string][]byte{"api-key": []byte("mine")}}
		}},
		{"the Secret of the certificate", func(apps, tools string) client.Object {
			return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: apps, Name: mcpclient.CertificateSecretName("agent", tools)}, Data: map[string][]byte{"tls.crt": []byte("mine")}}
		}},
		{"the Certificate", func(apps, tools string) client.Object {
			c := &certmanager.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: apps, Name: mcpclient.CertificateName("agent", tools)}}
			c.Spec.SecretName, c.Spec.DNSNames, c.Spec.IssuerRef.Name = "mine", []string{"mine.example"}, "mine"
			return c
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, config)
			tools := controlplane.Namespace(t, config, "tools")
			object := test.object(w.apps, tools)
			w.create(object)
			version := object.GetResourceVersion()
			w.server(tools, "github", authorityPEM(t, "one"))
			w.grant(tools)
			w.agent(tools + "/github")
			o := w.operator(0)
			result, err := o.reconcile(w)
			w.must(err)
			if got := w.condition(stalled); got != "True ChildConflict" || w.condition(ready) != "False ChildConflict" {
				t.Errorf("stalled: %q", got)
			}
			if result.RequeueAfter == 0 {
				t.Error("nothing looks again")
			}
			message := ""
			for _, c := range w.status().Conditions {
				if c.Type == stalled {
					message = c.Message
				}
			}
			if !strings.Contains(message, object.GetName()) {
				t.Errorf("the message names nothing: %s", message)
			}
			w.get(w.apps, object.GetName(), object)
			if object.GetResourceVersion() != version {
				t.Error("it was touched")
			}
			if o := w.run(); o.writes.Load() != 0 {
				t.Errorf("%d writes while nothing changes", o.writes.Load())
			}
			w.must(w.client.Delete(t.Context(), object))
			w.run()
			w.certManager()
			w.run()
			if got := w.condition(ready); got != "True Ready" || w.condition(stalled) != "" {
				t.Errorf("after it went: %s", got)
			}
		})
	}
}

// TestIntegrationRotation: a key that is due is replaced without a moment in which the client's key is refused.
func TestIntegrationRotation(t *testing.T) {
	w := newWorld(t, controlplane.Start(t))
	tools := controlplane.Namespace(t, w.config, "tools")
	w.server(tools, "github", authorityPEM(t, "one"))
	w.grant(tools)
	w.agent(tools + "/github")
	w.run()
	w.gates(tools, "github")
	old := w.key(tools)

	w.age(84 * 24 * time.Hour)
	w.run()
	if got := w.keyStates(tools); got != "Current Pending" || !bytes.Equal(w.key(tools), old) {
		t.Fatalf("before the gates know the new key: %s", got)
	}
	w.run() // no gate has it
	if !bytes.Equal(w.key(tools), old) {
		t.Fatal("the key was replaced before the gates had the new one")
	}
	w.gates(tools, "github")
	w.run()
	key := w.key(tools)
	if bytes.Equal(key, old) || w.keyStates(tools) != "Current Draining" {
		t.Fatalf("after the gates have it: %s", w.keyStates(tools))
	}
	if !w.accepts(tools, "github", key) || !w.accepts(tools, "github", old) {
		t.Error("both keys must be accepted for a while")
	}
	if w.get(w.apps, mcpclient.WaitingSecretName("agent", tools), &corev1.Secret{}) {
		t.Error("the waiting Secret stays")
	}
	w.age(7 * 24 * time.Hour)
	w.run()
	if w.accepts(tools, "github", old) {
		t.Error("the old key outlives its maximum age")
	}
}
