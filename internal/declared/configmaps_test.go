package declared_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// TestSecrets: what the spec names of a ConfigMap is looked at, whole files where it is mounted, and nothing else.
func TestSecrets(t *testing.T) {
	object := &corev1.ConfigMap{
		Data: map[string]string{
			"level": "debug", "password": "Winter2024!", "app.conf": "url: https://a.example\npassword: Winter2024!\n", "db": "postgres://app:s3cr3tpw@db/app",
		},
		BinaryData: map[string][]byte{"key": []byte("-----BEGIN EC PRIVATE" + " KEY-----\nMHcC")},
	}
	value := "a value of a variable or flag whose name says that it is a secret"
	for _, test := range []struct {
		name string
		keys declared.Keys
		want []string
	}{
		{"a variable", declared.Keys{"level": "LOG_LEVEL"}, nil},
		{"a variable with a secret", declared.Keys{"password": "DB_PASSWORD"}, []string{"ConfigMap c[password] holds " + value}},
		{"a variable with a URL", declared.Keys{"db": "DATABASE"}, []string{"ConfigMap c[db] holds a password in a URL"}},
		{"mounted", declared.Keys{declared.WholeFile: ""}, []string{
			"ConfigMap c[app.conf] holds " + value, "ConfigMap c[db] holds a password in a URL", "ConfigMap c[key] holds a private key", "ConfigMap c[password] holds " + value,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := declared.Secrets("c", test.keys, object)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if said := strings.Join(got, " "); strings.Contains(said, "Winter") || strings.Contains(said, "s3cr3t") {
				t.Errorf("the secret is told: %s", said)
			}
		})
	}
}

// TestBeside: the manifests of ConfigMaps that a spec names are looked into, and what is not among them is not clean.
func TestBeside(t *testing.T) {
	mounted := &v1alpha1.MCPServer{Spec: v1alpha1.MCPServerSpec{
		Env: []v1alpha1.EnvVar{{Name: "LEVEL", ConfigMapKeyRef: &v1alpha1.ConfigMapKeyRef{Name: "levels", Key: "level"}}},
		Pod: &v1alpha1.PodSettings{Volumes: []v1alpha1.Volume{{Name: "v", ConfigMap: &v1alpha1.ConfigMapVolume{Name: "c"}}}},
	}}
	object := func(text string) *corev1.ConfigMap {
		return &corev1.ConfigMap{Data: map[string]string{"password": text, "level": "debug"}}
	}
	for _, test := range []struct {
		name      string
		spec      []string
		manifests map[string]*corev1.ConfigMap
		want      posture.Fact[[]string]
	}{
		{"clean", nil, map[string]*corev1.ConfigMap{"levels": object("Winter2024!"), "c": object("")}, posture.Fact[[]string]{Known: true}},
		{"found", nil, map[string]*corev1.ConfigMap{"levels": object(""), "c": object("Winter2024!")}, posture.Fact[[]string]{Known: true, Value: []string{"ConfigMap c[password] holds a value of a variable or flag whose name says that it is a secret"}}},
		{"found in the spec", []string{"spec.env[A] holds a token"}, nil, posture.Fact[[]string]{Known: true, Value: []string{"spec.env[A] holds a token"}}},
		{"one is missing", nil, map[string]*corev1.ConfigMap{"c": object("")}, posture.Fact[[]string]{Missing: "ConfigMap levels is not among the manifests"}},
		{"both are missing", nil, nil, posture.Fact[[]string]{Missing: "ConfigMap c, levels is not among the manifests"}},
	} {
		s := &posture.Snapshot{Literals: posture.Say(test.spec, "MCPServer spec")}
		declared.Beside(s, mounted, test.manifests)
		if s.Literals.Known != test.want.Known || s.Literals.Missing != test.want.Missing || cmp.Diff(test.want.Value, s.Literals.Value) != "" && test.want.Known {
			t.Errorf("%s: %+v", test.name, s.Literals)
		}
	}
}
