package manifests

import (
	"encoding/json"
	"reflect"
	"testing"

	esv1 "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

func TestExternalSecrets(t *testing.T) {
	golden(t, "externalsecret", []string{"minimal", "everything", "secrets"}, func(c Children) any { return c.ExternalSecrets })
}

// TestExternalSecretSurvivesItsController: external-secrets reads the object into its own types and writes it back. A field
// that comes back in another spelling would be repaired, and written back again, without an end.
func TestExternalSecretSurvivesItsController(t *testing.T) {
	for _, interval := range []string{"1h", "1m", "90s", "1h0m0s", "5s"} {
		es := externalSecret(Params{Server: &v1alpha1.MCPServer{}}, &v1alpha1.SecretGroup{Name: "group", RefreshInterval: interval})
		applied, err := json.Marshal(es.Spec)
		if err != nil {
			t.Fatal(err)
		}
		var typed esv1.ExternalSecretSpec
		if err := json.Unmarshal(applied, &typed); err != nil {
			t.Fatal(err)
		}
		written, err := json.Marshal(typed)
		if err != nil {
			t.Fatal(err)
		}
		var before, after map[string]any
		if json.Unmarshal(applied, &before) != nil || json.Unmarshal(written, &after) != nil {
			t.Fatal("no JSON")
		}
		for field, value := range before {
			if !reflect.DeepEqual(value, after[field]) {
				t.Errorf("%s: %s is applied as %v and written back as %v", interval, field, value, after[field])
			}
		}
	}
}

// TestSecretHash: it follows the environment variables and nothing else, and who cannot read the Secret cannot guess by it.
func TestSecretHash(t *testing.T) {
	group := &v1alpha1.SecretGroup{Data: []v1alpha1.SecretData{{Env: "B"}, {File: "f"}, {Env: "A"}}}
	secret := func(a, b, f string) *core.Secret {
		return &core.Secret{ObjectMeta: metav1.ObjectMeta{UID: "x"}, Data: map[string][]byte{"A": []byte(a), "B": []byte(b), "f": []byte(f)}}
	}
	before := SecretHash(group, secret("1", "2", "3"))
	if len(before) != 32 {
		t.Errorf("got %q", before)
	}
	reordered := &v1alpha1.SecretGroup{Data: []v1alpha1.SecretData{{Env: "A"}, {Env: "B"}}}
	if SecretHash(group, secret("1", "2", "other")) != before || SecretHash(reordered, secret("1", "2", "")) != before {
		t.Error("it changes with a file or with the order")
	}
	if SecretHash(group, secret("2", "1", "3")) == before || SecretHash(group, secret("12", "", "3")) == before {
		t.Error("it does not change with a value")
	}
	other := secret("1", "2", "3")
	other.UID = "another"
	if SecretHash(group, other) == before {
		t.Error("it is not keyed")
	}
	if h := SecretHash(&v1alpha1.SecretGroup{Data: []v1alpha1.SecretData{{File: "f"}}}, other); h != "" {
		t.Errorf("a group without variables has the hash %q", h)
	}
}
