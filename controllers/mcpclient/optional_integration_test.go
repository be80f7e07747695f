package mcpclient_test

import (
	"bytes"
	"strings"
	"testing"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/mcpclient"
)

// TestIntegrationOptionalCredentials takes a client's key away, gives it back, and does the same with its certificate: each
// time only what it shall have is there, and a server that demands the other is named.
func TestIntegrationOptionalCredentials(t *testing.T) {
	w, tools := rotating(t, nil)
	w.certManager()
	w.run()
	first := w.key(tools)
	configuration := func() string {
		s := &corev1.Secret{}
		w.get(w.apps, mcpclient.SecretName("agent", tools), s)
		return string(s.Data[mcpclient.DataConfiguration])
	}
	certificate := func() bool {
		return w.get(w.apps, mcpclient.CertificateName("agent", tools), &certmanager.Certificate{}) ||
			w.get(w.apps, mcpclient.CertificateSecretName("agent", tools), &corev1.Secret{})
	}
	if w.condition(ready) != "True Ready" || !certificate() || !strings.Contains(configuration(), "Bearer "+string(first)) {
		t.Fatalf("with both: %s %s", w.condition(ready), w.message(ready))
	}

	w.spec(func(s *v1alpha1.MCPClientSpec) { s.APIKey.Mode = v1alpha1.CredentialDisabled })
	if w.accepts(tools, "github", first) {
		t.Error("the key is accepted until the status says otherwise")
	}
	events := drain(w.run())
	if w.key(tools) != nil || w.keyStates(tools) != "Retired" || !strings.Contains(events, "KeyReplaced") || !certificate() {
		t.Errorf("without a key: %q, %s, certificate %t", w.keyStates(tools), events, certificate())
	}
	if c := configuration(); strings.Contains(c, "Authorization") || !strings.Contains(c, "https://github."+tools+".svc/mcp") {
		t.Errorf("without a key: %s", c)
	}
	if got := w.message(stalled); w.condition(ready) != "False CredentialsInsufficient" || !strings.Contains(got, "MCPServer "+tools+"/github demands an API key") ||
		!strings.Contains(got, "MCPClient "+w.apps+"/agent") || w.condition("CredentialsIssued") != "True Issued" || w.condition("RotationSucceeded") != "" {
		t.Errorf("without a key: %s, %s", w.condition(ready), got)
	}
	s := &v1alpha1.MCPServer{}
	w.get(tools, "github", s)
	s.Spec.Authentication = &v1alpha1.Authentication{ClientCertificates: v1alpha1.ClientCertificates{Mode: v1alpha1.ClientCertificatesOptional}}
	w.must(w.client.Update(t.Context(), s))
	w.run()
	if w.condition(ready) != "True Ready" {
		t.Errorf("a server that takes a certificate alone: %s %s", w.condition(ready), w.message(ready))
	}
	if o := w.run(); o.writes.Load() != 0 {
		t.Errorf("%d writes at rest without a key", o.writes.Load())
	}

	w.spec(func(s *v1alpha1.MCPClientSpec) {
		s.APIKey.Mode, s.Certificate.Mode = v1alpha1.CredentialEnabled, v1alpha1.CredentialDisabled
	})
	w.run()
	second := w.key(tools)
	if len(second) == 0 || bytes.Equal(first, second) || !w.accepts(tools, "github", second) || w.accepts(tools, "github", first) {
		t.Errorf("with a key again: %s", w.keyStates(tools))
	}
	if certificate() || w.status().Credentials[0].CertificateSecretName != "" || w.condition(ready) != "True Ready" {
		t.Errorf("without a certificate: %s %s", w.condition(ready), w.message(ready))
	}
	if o := w.run(); o.writes.Load() != 0 {
		t.Errorf("%d writes at rest without a certificate", o.writes.Load())
	}
}
