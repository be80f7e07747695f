package mcpclient

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/authority"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/keys"
)

var update = flag.Bool("update", false, "write the golden files")

var agent = &v1alpha1.MCPClient{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "agent", UID: "1234", Generation: 3}}

func golden(t *testing.T, name string, value any) {
	t.Helper()
	got, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestCertificate(t *testing.T) {
	golden(t, "certificate.yaml", certificate(agent, "tools", authority.Issuing{Issuer: "bartizan-ca-1"}))
}

func TestCertificateOfOwnDuration(t *testing.T) {
	c := agent.DeepCopy()
	c.Spec.Certificate = v1alpha1.ClientCertificate{Duration: "1h", RenewBefore: "50m"}
	if spec := certificate(c, "tools", authority.Issuing{Issuer: "bartizan-ca-1"}).Spec; spec.Duration.Duration != time.Hour || spec.RenewBefore.Duration < 50*time.Minute || spec.RenewBefore.Duration > 51*time.Minute {
		t.Errorf("for %s, renewed %s before the end", spec.Duration.Duration, spec.RenewBefore.Duration)
	}
}

func TestCertificateDoesNotOutliveItsAuthority(t *testing.T) {
	spec := certificate(agent, "tools", authority.Issuing{Issuer: "bartizan-ca-2", Longest: 4 * time.Hour}).Spec
	if spec.Duration.Duration != 4*time.Hour || spec.RenewBefore.Duration >= 4*time.Hour || *spec.IssuerRef.Name != "bartizan-ca-2" {
		t.Errorf("for %s, renewed %s before the end, from %s", spec.Duration.Duration, spec.RenewBefore.Duration, *spec.IssuerRef.Name)
	}
}

func TestSecret(t *testing.T) {
	granted := []server{{Name: "github", URL: "https://github.tools.svc/mcp?a=1&b=<2>"}, {Name: "jira", URL: "https://jira.tools.svc/mcp"}}
	data := content("tools", []byte("mcpk_id_secret"), granted, nil)
	text := map[string]string{}
	for k, v := range data {
		text[k] = string(v)
	}
	secret := keySecret(agent, "tools", SecretName("agent", "tools"), nil)
	secret.StringData = text
	golden(t, "secret.yaml", secret)
}

// TestNames: no two credentials, of whatever clients and namespaces, have one name.
func TestNames(t *testing.T) {
	seen := map[string]string{}
	labels := []string{"a", "b", "a-b", "tls", "next", "a-tls"}
	for _, c := range labels {
		for _, servers := range labels {
			for kind, name := range map[string]string{
				"key": SecretName(c, servers), "certificate": CertificateSecretName(c, servers), "waiting": WaitingSecretName(c, servers),
			} {
				what := kind + " of " + c + " for " + servers
				if other, taken := seen[name]; taken {
					t.Errorf("%s and %s are both %s", what, other, name)
				}
				seen[name] = what
			}
		}
	}
	long := strings.Repeat("a", 63)
	if n := len(CertificateSecretName(long, long)); n > 253 {
		t.Errorf("a name of %d characters", n)
	}
}

func TestMergeBundles(t *testing.T) {
	block := func(s string) string { // base64 of any bytes will do
		return "-----BEGIN CERTIFICATE-----\n" + s + "\n-----END CERTIFICATE-----\n"
	}
	one, two := block("YWFh"), block("YmJi")
	for _, test := range []struct {
		name    string
		bundles []string
		want    string
	}{
		{"nothing", nil, ""},
		{"each once, in one order", []string{two + one, one}, one + two},
		{"nothing but certificates", []string{"text\n" + one + "-----BEGIN PRIVATE KEY-----\nYmJi\n-----END PRIVATE KEY-----\n", "garbage"}, one},
		{"no headers", []string{"-----BEGIN CERTIFICATE-----\nA: b\n\nYWFh\n-----END CERTIFICATE-----\n"}, one},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, manifests.MergeBundles(test.bundles...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestContentKeepsKnownBundle: while one server's bundle is unknown, nothing that was trusted is lost.
func TestContentKeepsKnownBundle(t *testing.T) {
	one := "-----BEGIN CERTIFICATE-----\nYWFh\n-----END CERTIFICATE-----\n"
	two := "-----BEGIN CERTIFICATE-----\nYmJi\n-----END CERTIFICATE-----\n"
	incomplete := content("tools", nil, []server{{Name: "a", CABundle: two}, {Name: "b"}}, []byte(one))
	if got := string(incomplete[DataCABundle]); got != one+two {
		t.Errorf("while a bundle is missing: %s", got)
	}
	complete := content("tools", nil, []server{{Name: "a", CABundle: two}}, []byte(one))
	if got := string(complete[DataCABundle]); got != two {
		t.Errorf("with all bundles: %s", got)
	}
}

func TestConditions(t *testing.T) {
	bundle := "bundle"
	grant := func(state v1alpha1.ClientServerState) access.Grant {
		return access.Grant{ServerRef: v1alpha1.ServerRef{Namespace: "tools", Name: "github"}, State: state, Server: &v1alpha1.MCPServer{}}
	}
	current := keys.Step{Records: []keys.Record{{ID: "a", State: keys.Current}}}
	granted := map[string][]server{"tools": {{Name: "github", CABundle: bundle}}}
	made, err := keys.New(bytes.NewReader(make([]byte, 64)))
	if err != nil {
		t.Fatal(err)
	}
	secret := keySecret(agent, "tools", "x", map[string][]byte{DataAPIKey: []byte(made.Text)})
	for _, test := range []struct {
		name string
		in   input
		all  []*credential
		want string
	}{
		{
			"no such server", input{grants: []access.Grant{grant(v1alpha1.ServerNotFound)}}, nil,
			"CredentialsIssued=False/NoGrant Ready=False/ServersNotGranted Reconciling=True/ServersNotGranted",
		},
		{
			"not granted", input{grants: []access.Grant{grant(v1alpha1.ServerNotGranted)}}, nil,
			"CredentialsIssued=False/NoGrant Ready=False/ServersNotGranted Reconciling=True/ServersNotGranted",
		},
		{
			"ready", input{grants: []access.Grant{grant(v1alpha1.ServerGranted)}, granted: granted},
			[]*credential{{servers: "tools", secret: secret, step: current, certificate: certificateIssued}},
			"CredentialsIssued=True/Issued RotationSucceeded=True/UpToDate Ready=True/Ready",
		},
		{
			"no key yet", input{grants: []access.Grant{grant(v1alpha1.ServerGranted)}, granted: granted},
			[]*credential{{servers: "tools", certificate: certificateIssued}},
			"CredentialsIssued=False/Issuing RotationSucceeded=True/UpToDate Ready=False/Issuing Reconciling=True/Issuing",
		},
		{
			"no bundle yet", input{grants: []access.Grant{grant(v1alpha1.ServerGranted)}, granted: map[string][]server{"tools": {{Name: "github"}}}},
			[]*credential{{servers: "tools", secret: secret, step: current, certificate: certificateIssued}},
			"CredentialsIssued=False/ServerCABundleMissing RotationSucceeded=True/UpToDate Ready=False/ServerCABundleMissing Reconciling=True/ServerCABundleMissing",
		},
		{
			"no cert-manager", input{grants: []access.Grant{grant(v1alpha1.ServerGranted)}, granted: granted},
			[]*credential{{servers: "tools", secret: secret, step: current, certificate: certificateNoAPI}},
			"CredentialsIssued=False/CertManagerMissing RotationSucceeded=True/UpToDate Ready=False/CertManagerMissing Stalled=True/CertManagerMissing",
		},
		{
			"its certificate is from an authority that nobody knows", input{grants: []access.Grant{grant(v1alpha1.ServerGranted)}, granted: granted},
			[]*credential{{servers: "tools", secret: secret, step: current, certificate: certificateDistrusted}},
			"CredentialsIssued=False/CertificateNotTrusted RotationSucceeded=True/UpToDate Ready=False/CertificateNotTrusted Reconciling=True/CertificateNotTrusted",
		},
		{
			"the Secret is gone", input{grants: []access.Grant{grant(v1alpha1.ServerGranted)}, granted: granted},
			[]*credential{{servers: "tools", step: current, certificate: certificateIssued}},
			"CredentialsIssued=False/Issuing RotationSucceeded=True/UpToDate Ready=False/Issuing Reconciling=True/Issuing",
		},
		{
			"the Secret loses its key again and again", input{grants: []access.Grant{grant(v1alpha1.ServerGranted)}, granted: granted},
			[]*credential{{servers: "tools", step: keys.Step{Records: current.Records, Paced: time.Unix(60, 0)}, certificate: certificateIssued}},
			"CredentialsIssued=False/Issuing RotationSucceeded=False/SecretRewritten Ready=False/Issuing Reconciling=True/Issuing",
		},
		{
			"conflict, and another server is not granted",
			input{grants: []access.Grant{grant(v1alpha1.ServerGranted), {State: v1alpha1.ServerNotGranted}}, granted: granted},
			[]*credential{{servers: "tools", secret: secret, step: current, conflict: "Secret apps/agent.tools"}},
			"CredentialsIssued=False/ChildConflict RotationSucceeded=True/UpToDate Ready=False/ChildConflict Stalled=True/ChildConflict",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.in.client, test.in.now = agent, time.Unix(0, 0)
			var got []string
			for _, c := range status(&test.in, test.all).Conditions {
				got = append(got, c.Type+"="+string(c.Status)+"/"+c.Reason)
				if c.ObservedGeneration != 3 || c.Message == "" {
					t.Errorf("%s: generation %d, message %q", c.Type, c.ObservedGeneration, c.Message)
				}
			}
			if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
	broken := agent.DeepCopy()
	broken.Spec.PodSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Bad"}}}
	s := status(&input{client: broken, grants: []access.Grant{grant(v1alpha1.ServerGranted)}, granted: granted},
		[]*credential{{servers: "tools", secret: secret, step: current, certificate: certificateIssued}})
	if last := s.Conditions[len(s.Conditions)-1]; last.Reason != reasonSelectorInvalid || last.Type != v1alpha1.ConditionStalled {
		t.Errorf("a selector that is none: %+v", s.Conditions)
	}
}

// TestHeldNeverKeepsTheKey: what travels through the state machine is a hash.
func TestHeldNeverKeepsTheKey(t *testing.T) {
	key, err := keys.New(bytes.NewReader(make([]byte, 64)))
	if err != nil {
		t.Fatal(err)
	}
	secret := keySecret(agent, "tools", "x", map[string][]byte{DataAPIKey: []byte(key.Text)})
	if h := held(secret); h == nil || h.ID != key.ID || h.SHA256 != keys.Hash(key.Text) {
		t.Errorf("got %+v", h)
	}
	for _, text := range []string{"", key.Text + "\n", " " + key.Text, strings.ToUpper(key.Text), key.Text[:40]} {
		secret.Data[DataAPIKey] = []byte(text)
		if held(secret) != nil {
			t.Errorf("%q is taken for a key", text)
		}
	}
}
