package access_test

import (
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// TestMissing: of every pair of modes it is known whether any request of the client can succeed, and if not, both sides are
// named.
func TestMissing(t *testing.T) {
	const enabled, disabled = v1alpha1.CredentialEnabled, v1alpha1.CredentialDisabled
	for _, test := range []struct {
		keys         v1alpha1.APIKeyMode
		certificates v1alpha1.ClientCertificateMode
		// what is missing for a client with a key alone, and for one with a certificate alone; empty: nothing
		key, certificate string
	}{
		{"", "", "a client certificate", "an API key beside the certificate"},
		{v1alpha1.APIKeysEnabled, v1alpha1.ClientCertificatesRequired, "a client certificate", "an API key beside the certificate"},
		{v1alpha1.APIKeysEnabled, v1alpha1.ClientCertificatesOptional, "", ""},
		{v1alpha1.APIKeysEnabled, v1alpha1.ClientCertificatesDisabled, "", "an API key"},
		{v1alpha1.APIKeysDisabled, v1alpha1.ClientCertificatesRequired, "a client certificate", ""},
		{v1alpha1.APIKeysDisabled, v1alpha1.ClientCertificatesOptional, "a client certificate", ""},
	} {
		s := server("tools", "github")
		s.Spec.Authentication = &v1alpha1.Authentication{
			APIKeys: v1alpha1.APIKeys{Mode: test.keys}, ClientCertificates: v1alpha1.ClientCertificates{Mode: test.certificates},
		}
		for _, has := range []struct {
			name              string
			keys, certificate v1alpha1.CredentialMode
			want              string
		}{
			{"both", "", "", ""}, {"both", enabled, enabled, ""},
			{"a key alone", enabled, disabled, test.key}, {"a certificate alone", disabled, enabled, test.certificate},
		} {
			c := client("apps", "agent", "tools/github")
			c.Spec.APIKey.Mode, c.Spec.Certificate.Mode = has.keys, has.certificate
			got := access.Missing(&c, s)
			if (got == "") != (has.want == "") || !strings.Contains(got, "MCPServer tools/github demands "+has.want) && has.want != "" {
				t.Errorf("keys %s, certificates %s, client with %s: %q, want %q", test.keys, test.certificates, has.name, got, has.want)
			}
			if got != "" && !strings.Contains(got, "MCPClient apps/agent") {
				t.Errorf("the client is not named: %s", got)
			}
		}
	}
}

// TestWithoutCredential: what a client shall not have is in no gate's configuration, whatever the status still says.
func TestWithoutCredential(t *testing.T) {
	both := withKey(client("apps", "agent", "tools/github"), "tools", "a", v1alpha1.KeyCurrent, at(0), at(1))
	both.Status.Credentials[0].Keys[0].NotAfter = *at(1 << 40)
	for _, test := range []struct {
		name         string
		change       func(*v1alpha1.MCPClientSpec)
		keys         int
		certificates gateconfig.Mode
	}{
		{"both", func(*v1alpha1.MCPClientSpec) {}, 1, ""},
		{"no key", func(s *v1alpha1.MCPClientSpec) { s.APIKey.Mode = v1alpha1.CredentialDisabled }, 0, ""},
		{"no certificate", func(s *v1alpha1.MCPClientSpec) { s.Certificate.Mode = v1alpha1.CredentialDisabled }, 1, gateconfig.Disabled},
	} {
		c := *both.DeepCopy()
		test.change(&c.Spec)
		r := access.Build(access.Input{
			Server: server("tools", "github"), Policies: []v1alpha1.MCPAccessPolicy{forServers("tools", "readers", []string{"github"}, rule("apps/agent"))},
			Clients: []v1alpha1.MCPClient{c}, Authorities: map[string]string{"apps": gatetest.NewAuthority(t, "apps").PEM}, Now: now,
		})
		if len(r.Clients) != 1 || len(r.Clients[0].Keys) != test.keys || r.Clients[0].Certificates != test.certificates ||
			(len(r.Authorities) == 1) != (test.certificates == "") {
			t.Errorf("%s: %+v, authorities of %d namespaces, problems %v", test.name, r.Clients, len(r.Authorities), r.Problems)
		}
	}
}
