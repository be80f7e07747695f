package literal_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/internal/literal"
)

// fill makes a token out of parts, so that no scanner takes this file for a leak.
func fill(prefix string, length int) string {
	const characters = "aB3dE5gH7jK9mN2pQ4sT6vW8yZ0xC1fR"
	return prefix + strings.Repeat(characters, length/len(characters)+1)[:length]
}

func TestFound(t *testing.T) {
	for _, test := range []struct{ name, value string }{
		{"", fill("gh"+"p_", 36)},
		{"", fill("github_"+"pat_", 60)},
		{"URL", "see " + fill("glp"+"at-", 20) + "."},
		{"", "AK" + "IAABCDEFGHIJKLMNOP"},
		{"", fill("AI"+"za", 35)},
		{"", fill("xox"+"b-", 20)},
		{"", fill("sk-"+"ant-", 40)},
		{"", fill("sk_"+"live_", 24)},
		{"", fill("np"+"m_", 36)},
		{"", fill("h"+"f_", 34)},
		{"", fill("hv"+"s.", 30)},
		{"", fill("mcp"+"k_abcd1234_", 43)},
		{"", "ey" + "JhbGciOiJub25lIn0.ey" + "JzdWIiOiJhbGljZSJ9."},
		{"", "-----BEGIN EC PRIVATE" + " KEY-----\nMHcC"},
		{"", "Authorization: Bearer abcdefghijkl1234"},
		{"DATABASE_URL", "postgres://app:s3cr3tpw@db:5432/app"},
		{"DB_PASSWORD", "hunter2"},
		{"githubToken", "abc123def456"},
		{"api-key", "p@ssword"},
		{"", fill("", 40)},
		{"CERT", base64.StdEncoding.EncodeToString([]byte("\x8f\x11\xa9\x03\xfe\x90\x17\x41\x9c\xe2\x05\x77\xd1\x30\x6b\x12\xca\x55\x3f\x80\x21\x99\x0e\x4d\xb7\x63\xf8\x2a\x10\x5c"))},
	} {
		if literal.Find(test.name, test.value) == "" {
			t.Errorf("%s %q passed", test.name, test.value)
		}
	}
	for _, argument := range []string{"--token=abc123def456", "API_KEY=abc123def456", fill("gh"+"p_", 36), "--header=Authorization: token abcdefghijkl"} {
		if literal.Argument(argument) == "" {
			t.Errorf("argument %q passed", argument)
		}
	}
}

// TestHarmless is the corpus that must raise no alarm.
func TestHarmless(t *testing.T) {
	content, err := os.ReadFile("testdata/harmless.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var corpus struct {
		Env  []struct{ Name, Value string }
		Args []string
	}
	if err := yaml.UnmarshalStrict(content, &corpus); err != nil {
		t.Fatal(err)
	}
	if len(corpus.Env) < 60 || len(corpus.Args) < 40 {
		t.Fatalf("%d variables and %d arguments are no corpus", len(corpus.Env), len(corpus.Args))
	}
	for _, e := range corpus.Env {
		if kind := literal.Find(e.Name, e.Value); kind != "" {
			t.Errorf("%s=%s looks like %s", e.Name, e.Value, kind)
		}
	}
	for _, a := range corpus.Args {
		if kind := literal.Argument(a); kind != "" {
			t.Errorf("%s looks like %s", a, kind)
		}
	}
}

var certificate = regexp.MustCompile(`(?s)-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----`)

// TestManifests: nothing in the project's own manifests looks like a secret, but for what is one.
func TestManifests(t *testing.T) {
	var words int
	err := filepath.WalkDir("../../config", func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(name) != ".yaml" {
			return err
		}
		content, err := os.ReadFile(name)
		// A certificate is public, and as a value it is one text, not the lines that it is taken apart into here.
		for _, block := range certificate.FindAllString(string(content), -1) {
			if kind := literal.Find("CA_BUNDLE", block); kind != "" {
				t.Errorf("%s: a certificate looks like %s", name, kind)
			}
		}
		content = certificate.ReplaceAll(content, nil)
		for _, word := range strings.Fields(string(content)) {
			words++
			if kind := literal.Argument(strings.Trim(word, `",[]{}`)); kind != "" {
				t.Errorf("%s: %s looks like %s", name, word, kind)
			}
		}
		return err
	})
	if err != nil || words < 10000 {
		t.Errorf("%d words, %v", words, err)
	}
}

func FuzzFind(f *testing.F) {
	f.Add("TOKEN", "abc")
	f.Fuzz(func(t *testing.T, name, value string) {
		kind := literal.Find(name, value)
		if len(value) >= 6 && kind != "" && strings.Contains(kind, value) {
			t.Errorf("%q repeats the value", kind)
		}
		literal.Argument(value)
	})
}
