package literal_test

import (
	"encoding/base64"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/internal/literal"
)

var wanted = regexp.MustCompile(`(?m)^# want: (.+)$`)

// TestConfigMaps: what is a secret in a file is found, and real configuration raises no alarm.
func TestConfigMaps(t *testing.T) {
	content, err := os.ReadFile("testdata/configmaps.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// Put together here, so that no scanner takes the corpus for a leak.
	text := strings.NewReplacer(
		"GHTOKEN", fill("gh"+"p_", 36), "PRIVATEKEY", base64.StdEncoding.EncodeToString([]byte("-----BEGIN EC PRIVATE"+" KEY-----\nMHcCAQEEIA\n-----END EC PRIVATE KEY-----\n")),
	).Replace(string(content))
	harmless, leaks := 0, 0
	for manifest := range strings.SplitSeq(text, "\n---\n") {
		object := &corev1.ConfigMap{}
		if err := yaml.UnmarshalStrict([]byte(manifest), object); err != nil {
			t.Fatalf("%v in\n%s", err, manifest)
		}
		want := wanted.FindStringSubmatch(manifest[strings.LastIndex(manifest, "# want"):])[1]
		var got []string
		for _, data := range object.Data {
			got = append(got, literal.Document(data)...)
		}
		if want == "nothing" {
			harmless++
			if len(got) > 0 {
				t.Errorf("%s: a false alarm: %q", object.Name, got)
			}
			continue
		}
		leaks++
		if !slices.Equal(got, strings.Split(want, "; ")) {
			t.Errorf("%s: %q, want %q", object.Name, got, want)
		}
	}
	if harmless < 10 || leaks < 6 {
		t.Errorf("%d and %d are no corpus", harmless, leaks)
	}
}

func FuzzDocument(f *testing.F) {
	f.Add("token: abc\n{\"apiKey\":\"x\"}")
	f.Add("-----BEGIN CERTIFICATE-----\nLS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t=\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, kind := range literal.Document(text) {
			if len(text) > 40 && strings.Contains(kind, text) {
				t.Errorf("%q repeats the text", kind)
			}
		}
	})
}
