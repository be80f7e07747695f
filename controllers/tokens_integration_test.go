package controllers_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/controllers/issuers"
	"github.com/bartizan-dev/bartizan/internal/authproxy/token"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// provider is a token issuer on loopback that publishes keys with the given ids, or answers with a status.
type provider struct {
	*httptest.Server
	ids    atomic.Pointer[[]string]
	status atomic.Int32
}

func newProvider(t *testing.T, ids ...string) *provider {
	t.Helper()
	p := &provider{}
	p.publish(ids...)
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status := p.status.Load(); status != 0 {
			w.WriteHeader(int(status))
			return
		}
		if r.URL.Path == "/.well-known/openid-configuration" {
			_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, p.URL, p.URL+"/keys")
			return
		}
		var keys []string
		for _, id := range *p.ids.Load() {
			keys = append(keys, fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":%q,"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, id))
		}
		_, _ = fmt.Fprintf(w, `{"keys":[%s]}`, strings.Join(keys, ","))
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) publish(ids ...string) { p.ids.Store(&ids) }

func (p *provider) issuer(name string) v1alpha1.TokenIssuer {
	return v1alpha1.TokenIssuer{Name: name, Type: v1alpha1.TokenIssuerOIDC, OIDC: &v1alpha1.OIDCTokens{
		Issuer: p.URL, Audiences: []string{"mcp"}, CABundle: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})),
	}}
}

// atLoopback lets an operator dial issuers of the test, often.
func atLoopback(o *controllers.Options, _ *rest.Config) {
	o.IssuerNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	o.IssuerTimes = issuers.Times{Interval: time.Second, Retry: 200 * time.Millisecond, Unknown: 200 * time.Millisecond}
}

// tokens are the token issuers in the configuration of a server's gates.
func (w *world) tokens(name string) ([]gateconfig.TokenIssuer, error) {
	secret := &corev1.Secret{}
	if err := w.get(manifests.GateSecretName(name), secret); err != nil {
		return nil, err
	}
	config, err := gateconfig.Parse(secret.Data[gateconfig.ConfigFile])
	return config.Authentication.Tokens, err
}

// keys waits until the gates of a server have the given keys of an issuer.
func (w *world) keys(name, issuer, want string) gateconfig.TokenIssuer {
	w.t.Helper()
	var found gateconfig.TokenIssuer
	controlplane.Eventually(w.t, soon, func(context.Context) error {
		all, err := w.tokens(name)
		if err != nil {
			return err
		}
		for _, i := range all {
			if i.Name != issuer {
				continue
			}
			var ids []string
			for _, key := range i.Keys {
				ids = append(ids, key.ID)
			}
			if got := strings.Join(ids, " "); got != want && want != "any" || len(ids) == 0 && want != "" {
				return fmt.Errorf("the gates have the keys %q of %s, not %q", got, issuer, want)
			}
			found = i
			return nil
		}
		return fmt.Errorf("the gates do not know %s", issuer)
	})
	return found
}

// TestIntegrationTokenIssuers follows an issuer whose keys change, that goes down, and comes up again; and an operator that
// starts while it is down.
func TestIntegrationTokenIssuers(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	c := &writes{}
	stop := w.run(atLoopback, c.use)
	corp, absent := newProvider(t, "one"), newProvider(t)
	absent.status.Store(http.StatusServiceUnavailable)
	s := w.server("weather")
	s.Spec.Authentication = &v1alpha1.Authentication{Tokens: []v1alpha1.TokenIssuer{corp.issuer("corp")}}
	silent := w.server("silent")
	silent.Spec.Authentication = &v1alpha1.Authentication{Tokens: []v1alpha1.TokenIssuer{absent.issuer("absent")}}
	w.create(s, silent)
	w.keys("weather", "corp", "one")
	w.ready("weather")
	w.condition("weather", v1alpha1.ConditionTokensReady, metav1.ConditionTrue, "KeysKnown")
	w.quiet(c, 3*time.Second) // it is asked every second, and nothing is written

	never := w.condition("silent", v1alpha1.ConditionReady, metav1.ConditionFalse, issuers.ReasonAnswer)
	for _, text := range []string{"spec.authentication.tokens[absent].oidc.issuer", absent.URL, "503", "refused"} {
		if !strings.Contains(never.Message, text) {
			t.Errorf("an issuer without keys: %q does not say %q", never.Message, text)
		}
	}
	if err := w.get("silent", &appsv1.Deployment{}); err != nil {
		t.Errorf("a server whose issuer is down does not run: %v", err)
	}
	absent.publish("first")
	absent.status.Store(0)
	w.ready("silent")
	w.keys("silent", "absent", "first")

	corp.publish("one", "two")
	w.keys("weather", "corp", "one two")
	corp.status.Store(http.StatusInternalServerError)
	down := w.condition("weather", v1alpha1.ConditionTokensReady, metav1.ConditionFalse, issuers.ReasonAnswer)
	if !strings.Contains(down.Message, "spec.authentication.tokens[corp].oidc.issuer") || !strings.Contains(down.Message, "last good keys") {
		t.Errorf("an issuer that is down: %s", down.Message)
	}
	w.ready("weather")
	w.keys("weather", "corp", "one two")

	stop()
	w.run(atLoopback)
	update(w, s, func(s *v1alpha1.MCPServer) { s.Spec.Limits.Depth = 32 })
	w.condition("weather", v1alpha1.ConditionTokensReady, metav1.ConditionFalse, issuers.ReasonAnswer)
	w.ready("weather")
	w.keys("weather", "corp", "one two")

	// Keys are of where they came from: another source of the same issuer has its own.
	update(w, s, func(s *v1alpha1.MCPServer) { s.Spec.Authentication.Tokens[0].OIDC.JWKSURI = corp.URL + "/keys" })
	w.keys("weather", "corp", "")
	corp.publish("three")
	corp.status.Store(0)
	w.keys("weather", "corp", "three")
	w.ready("weather")

	update(w, s, func(s *v1alpha1.MCPServer) { s.Spec.Authentication.Tokens = nil })
	controlplane.Eventually(t, soon, func(context.Context) error {
		if all, err := w.tokens("weather"); err != nil || len(all) > 0 {
			return fmt.Errorf("the gates have %v, %w", all, err)
		}
		server := &v1alpha1.MCPServer{}
		if err := w.get("weather", server); err != nil || meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionTokensReady) != nil {
			return fmt.Errorf("the condition stays: %s, %w", describe(server), err)
		}
		return nil
	})
}

// TestIntegrationPrivateIssuersAreNotDialled: without the administrator's word a server cannot have the operator dial what is
// private.
func TestIntegrationPrivateIssuersAreNotDialled(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.run()
	corp := newProvider(t, "one")
	s := w.server("weather")
	s.Spec.Authentication = &v1alpha1.Authentication{Tokens: []v1alpha1.TokenIssuer{corp.issuer("corp")}}
	w.create(s)
	refused := w.condition("weather", v1alpha1.ConditionTokensReady, metav1.ConditionFalse, issuers.ReasonRefused)
	if !strings.Contains(refused.Message, "--issuer-networks") {
		t.Error(refused.Message)
	}
}

// TestIntegrationServiceAccountTokens: a token that the API server makes is verified by what the operator gives to the gates.
func TestIntegrationServiceAccountTokens(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.run()
	s := w.server("weather")
	s.Spec.Authentication = &v1alpha1.Authentication{Tokens: []v1alpha1.TokenIssuer{
		{Name: "cluster", Type: v1alpha1.TokenIssuerKubernetes, Kubernetes: &v1alpha1.KubernetesTokens{Audiences: []string{"weather"}, MaxLifetime: "1h"}},
	}}
	w.create(s, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "bot"}})
	w.ready("weather")
	cluster := w.keys("weather", "cluster", "any")
	verifier, err := token.New([]gateconfig.TokenIssuer{cluster}, func(*token.Token, policy.Token) int { return 0 })
	if err != nil {
		t.Fatal(err)
	}
	clients := kubernetes.NewForConfigOrDie(w.config)
	request := func(audience string, seconds int64) string {
		made, err := clients.CoreV1().ServiceAccounts(w.namespace).CreateToken(t.Context(), "bot", &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return made.Status.Token
	}
	good := request("weather", 600)
	verified, failure := verifier.Verify(good, time.Now())
	if failure != "" {
		t.Fatalf("%s: %s", failure, claims(t, good))
	}
	if want := "system:serviceaccount:" + w.namespace + ":bot"; verified.Subject != want {
		t.Errorf("the subject is %s, not %s", verified.Subject, want)
	}
	for name, test := range map[string]struct {
		text string
		at   time.Time
		want token.Failure
	}{
		"another audience": {request("other", 600), time.Now(), token.Audience},
		"a long life":      {request("weather", 7200), time.Now(), token.Lifetime},
		"an old one":       {good, time.Now().Add(time.Hour), token.Expired},
		"another's name":   {strings.Replace(good, ".", ".e30", 1), time.Now(), token.Malformed},
	} {
		if _, failure := verifier.Verify(test.text, test.at); failure != test.want {
			t.Errorf("%s: %q, want %q", name, failure, test.want)
		}
	}
}

// claims are a token's, for people.
func claims(t *testing.T, text string) string {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
	if err != nil || !json.Valid(payload) {
		t.Fatal("not a token")
	}
	return string(payload)
}
