package controllers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/internal/probe"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// TestIntegrationOwnKeys: the operator's own keys at a server rotate by the gates' configuration as those of clients do, and the
// attacks have the one that was retired, which the configuration had, beside the present one. A server without keys has none; one that
// takes tokens takes the operator's own, whoever its issuers are. Where tokens of the cluster are taken, the attacks have some of the
// operator's, and one that was good once.
func TestIntegrationOwnKeys(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	var ahead atomic.Int64
	w.run(w.watchesItself, func(o *Options, _ *Config) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	limited := w.server("weather")
	limited.Spec.Limits = &v1alpha1.Limits{PerTool: &v1alpha1.ClientRate{RPS: 7}}
	w.create(limited)
	w.ready("weather")
	keyless := w.server("keyless")
	keyless.Spec.Authentication = &v1alpha1.Authentication{APIKeys: v1alpha1.APIKeys{Mode: v1alpha1.APIKeysDisabled}, Tokens: []v1alpha1.TokenIssuer{
		{Name: "cluster", Type: v1alpha1.TokenIssuerKubernetes, Kubernetes: &v1alpha1.KubernetesTokens{Audiences: []string{"weather"}}},
	}}
	w.create(keyless)
	external := w.server("external")
	external.Spec.Authentication = &v1alpha1.Authentication{
		APIKeys: v1alpha1.APIKeys{Mode: v1alpha1.APIKeysDisabled}, ClientCertificates: v1alpha1.ClientCertificates{Mode: v1alpha1.ClientCertificatesDisabled},
		Tokens: []v1alpha1.TokenIssuer{{Name: "corp", Type: v1alpha1.TokenIssuerOIDC, OIDC: &v1alpha1.OIDCTokens{Issuer: "https://issuer.invalid", Audiences: []string{"weather"}}}},
	}
	w.create(external)
	w.ready("keyless")
	attacked := func(name string) probe.Target {
		w.verifyNow(name)
		w.attacks.mutex.Lock()
		defer w.attacks.mutex.Unlock()
		for _, target := range slices.Backward(w.attacks.targets) {
			if strings.HasPrefix(target.ServerName, name+".") && !target.Quick {
				return target
			}
		}
		t.Fatalf("%s is not attacked", name)
		return probe.Target{}
	}
	accepts := func(key keys.Key) error {
		config, err := w.configuration("weather")
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(config.Verification.Keys, func(k gateconfig.Key) bool { return k.ID == key.ID && k.SHA256 == keys.Hash(key.Text) }) {
			return fmt.Errorf("the gates do not accept key %s", key.ID)
		}
		return nil
	}
	// signs says whether the gates of a server accept what somebody signs.
	signs := func(name string, signer keys.Signer) error {
		config, err := w.configuration(name)
		if err != nil {
			return err
		}
		if own := config.Verification.Tokens; own == nil || !slices.ContainsFunc(own.Keys, func(k gateconfig.TokenKey) bool {
			public, err := k.Public()
			return err == nil && k.ID == signer.ID && signer.Public().Equal(public)
		}) {
			return fmt.Errorf("the gates do not accept tokens of %s", signer)
		}
		return nil
	}
	// Of issuers elsewhere, which may be gone, the operator has nothing, and needs nothing.
	w.condition("external", v1alpha1.ConditionVerified, metav1.ConditionTrue, "Verified")
	target := attacked("external")
	if target.Identity != nil || target.Keys != nil || target.Token != nil || target.Signers == nil || target.Signers.Retired.ID != "" || target.Signers.Audience != attacked("external").Signers.Audience {
		t.Fatalf("%+v", target)
	}
	if err := signs("external", target.Signers.Present); err != nil {
		t.Error(err)
	}
	if other := attacked("keyless").Signers; other == nil || other.Audience == target.Signers.Audience || signs("external", other.Present) == nil {
		t.Errorf("the operator's own tokens of one server are good at another: %+v", other)
	}
	if attacked("weather").Signers != nil {
		t.Error("tokens are tried at a server that takes none")
	}
	// Without the right to have any made there are none of the cluster, and the others are tried.
	if target := attacked("keyless"); target.Keys != nil || target.Token != nil || target.Signers == nil {
		t.Errorf("%+v", target)
	}
	w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.operator, Name: "bartizan-verification"}})
	audience := func(text string) string {
		t.Helper()
		var c struct {
			Aud []string `json:"aud"`
			Sub string   `json:"sub"`
		}
		if err := json.Unmarshal([]byte(claims(t, text)), &c); err != nil || len(c.Aud) != 1 || c.Sub != "system:serviceaccount:"+w.operator+":bartizan-verification" {
			t.Fatalf("%v, %+v", err, c)
		}
		return c.Aud[0]
	}
	token := attacked("keyless").Token
	if token == nil || audience(token.Good) != "weather" || !strings.HasPrefix(audience(token.Elsewhere), "bartizan-verification-") || token.Expired != "" {
		t.Fatalf("%v", token)
	}
	good := token.Good
	if config, err := w.configuration("keyless"); err != nil || len(config.Verification.Keys) > 0 || config.Verification.Tokens == nil {
		t.Errorf("%v, %+v", err, config.Verification)
	}
	if all := attacked("keyless").Issuers; len(all) != 1 || all[0].Name != "cluster" || len(all[0].Keys) == 0 {
		t.Errorf("no token can be forged in the issuer's name: %+v", all)
	}
	first := attacked("weather").Keys
	if first == nil || first.Retired.Text != "" {
		t.Fatalf("%+v", first)
	}
	if err := accepts(first.Present); err != nil {
		t.Error(err)
	}
	s := &v1alpha1.MCPServer{}
	if err := w.get("weather", s); err != nil || !slices.Contains(s.Status.Posture.UnknownControls, "AUTH-5") {
		t.Errorf("AUTH-5 is known, although no key was retired: %v, %+v", err, s.Status.Posture)
	}
	ahead.Store(int64(63 * time.Minute))
	if token := attacked("keyless").Token; token == nil || token.Expired != good || token.Good == good {
		t.Errorf("the token of before is not shown as expired: %v", token)
	}
	rotated := attacked("external").Signers
	if rotated.Retired.ID != target.Signers.Present.ID || rotated.Present.ID == rotated.Retired.ID {
		t.Errorf("%s and %s follow %s", rotated.Present, rotated.Retired, target.Signers.Present)
	}
	controlplane.Eventually(t, soon, func(context.Context) error {
		if err := signs("external", rotated.Present); err != nil {
			return err
		}
		if signs("external", rotated.Retired) == nil {
			return fmt.Errorf("the gates accept tokens of %s still", rotated.Retired)
		}
		return nil
	})
	second := attacked("weather").Keys
	if second.Retired != first.Present || second.Present == first.Present {
		t.Errorf("%s and %s follow %s and %s", second.Present, second.Retired, first.Present, first.Retired)
	}
	controlplane.Eventually(t, soon, func(context.Context) error {
		if err := accepts(second.Present); err != nil {
			return err
		}
		if accepts(second.Retired) == nil {
			return fmt.Errorf("the gates accept key %s still", second.Retired.ID)
		}
		return nil
	})
	// A gate of another release may refuse a configuration that has such keys.
	for name, accepted := range map[string]func() error{
		"weather":  func() error { return accepts(second.Present) },
		"external": func() error { return signs("external", rotated.Present) },
	} {
		young := w.pod(name)
		old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "old-" + name, Labels: maps.Clone(young.Labels)}, Spec: young.Spec}
		old.Labels[manifests.LabelTemplateRevision] = "another"
		w.create(old)
		controlplane.Eventually(t, soon, func(context.Context) error {
			if accepted() == nil {
				return fmt.Errorf("the configuration of %s has a key, although a gate may not know of such", name)
			}
			return nil
		})
		if config, err := w.configuration(name); err != nil || config.Limits.AnswerWithinSeconds != 0 || config.Limits.PerTool.RPS != 0 {
			t.Errorf("the configuration of %s has limits that a gate may not know of: %v, %+v", name, err, config.Limits)
		}
		if err := w.Delete(t.Context(), old, client.GracePeriodSeconds(0)); err != nil {
			t.Fatal(err)
		}
		controlplane.Eventually(t, soon, func(context.Context) error { return accepted() })
		want := map[string]int{"weather": 7}[name]
		if config, err := w.configuration(name); err != nil || config.Limits.AnswerWithinSeconds != 3600 || config.Limits.PerTool.RPS != want {
			t.Errorf("the configuration of %s has not all limits: %v, %+v", name, err, config.Limits)
		}
	}
}
