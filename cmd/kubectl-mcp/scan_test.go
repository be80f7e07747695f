package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goodManifest = `# a comment
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
---
apiVersion: bartizan.dev/v1alpha1
kind: MCPServer
metadata: {name: pods, namespace: tools}
spec:
  image: registry.example/mcp@sha256:0000000000000000000000000000000000000000000000000000000000000000
  transport: {type: StreamableHTTP, port: 8080}
  classification: {level: Internal, categories: [Pods], owner: team-a@example.com}
`

const badManifest = `apiVersion: bartizan.dev/v1alpha1
kind: MCPServer
metadata: {name: leaky, namespace: tools}
spec:
  image: registry.example/mcp:latest
  transport: {type: StreamableHTTP, port: 8080}
  env: [{name: GITHUB_TOKEN, value: ghp_0123456789abcdefghijABCDEFGHIJ012345}]
  network: {internet: Allowed}
`

// run runs the plugin as a person would.
func run(t *testing.T, input string, arguments ...string) (out, said string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := command(strings.NewReader(input), &stdout, &stderr)
	cmd.SetArgs(arguments)
	err = cmd.ExecuteContext(t.Context())
	return stdout.String(), stderr.String(), err
}

func TestScan(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"good.yaml": goodManifest, "bad/leaky.yml": badManifest, "notes.txt": "apiVersion: [", "broken/server.yaml": strings.Replace(goodManifest, "image:", "imagee:", 1),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad")
	for _, test := range []struct {
		name      string
		input     string
		arguments []string
		found     bool
		// fails is in the error, and has in the output.
		fails, has string
	}{
		{"good", "", []string{good}, false, "", "pods"},
		{"good, as standard input", goodManifest, []string{"-"}, false, "", "pods"},
		{"a folder with a bad one", "", []string{bad}, true, "", "ENC-6"},
		{"critical only", "", []string{bad, "--fail-on", "critical"}, false, "", "ENC-6"},
		{"never", "", []string{bad, "--fail-on", "never"}, false, "", "UPD-1"},
		{"no such severity", "", []string{bad, "--fail-on", "most"}, false, `"most" is none of`, ""},
		{"no such format", "", []string{bad, "--output", "pdf"}, false, `"pdf" is none of`, ""},
		{"a field that is none", "", []string{filepath.Join(dir, "broken")}, false, `at line 6: it is no MCPServer`, ""},
		{"no YAML", "a: [", []string{"-"}, false, "it is no YAML", ""},
		{"another version", strings.Replace(badManifest, "v1alpha1", "v9", 1), []string{"-"}, false, "the version v9 of MCPServer is not known", ""},
		{"no such file", "", []string{filepath.Join(dir, "absent")}, false, "no such file", ""},
		{"nothing in it", "kind: Pod", []string{"-"}, false, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, said, err := run(t, test.input, append([]string{"scan"}, test.arguments...)...)
			switch {
			case test.found != errors.Is(err, errFound):
				t.Errorf("the end is %v\n%s%s", err, out, said)
			case test.fails == "" && err != nil && !test.found, test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)):
				t.Errorf("the error is %v, want %q", err, test.fails)
			case !strings.Contains(out, test.has):
				t.Errorf("the output is %q, want %q in it", out, test.has)
			case strings.Contains(out+said, "ghp_"):
				t.Error("it shows the secret that it found")
			}
		})
	}
}

// TestScanSARIF: the place of a finding is the file and the line where its document begins.
func TestScanSARIF(t *testing.T) {
	file := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(file, []byte(goodManifest+"---\n"+badManifest), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, err := run(t, "", "scan", file, "-o", "sarif")
	if !errors.Is(err, errFound) {
		t.Fatalf("the end is %v", err)
	}
	var log struct {
		Runs []struct {
			Results []struct {
				RuleID    string `json:"ruleId"`
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &log); err != nil {
		t.Fatal(err)
	}
	rules := map[string]bool{}
	for _, r := range log.Runs[0].Results {
		rules[r.RuleID] = true
		if at := r.Locations[0].PhysicalLocation; at.ArtifactLocation.URI != filepath.ToSlash(file) || at.Region.StartLine != 14 {
			t.Errorf("%s is at %+v", r.RuleID, at)
		}
	}
	if !rules["ENC-6"] || !rules["UPD-1"] || !rules["LEAST-7"] {
		t.Errorf("found: %v", rules)
	}
}

func FuzzManifests(f *testing.F) {
	f.Add([]byte(goodManifest + "---\n" + badManifest))
	f.Add([]byte("--- \n---\n...\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		lines := bytes.Count(content, []byte("\n")) + 1
		for _, d := range documents(content) {
			if d.line < 1 || d.line > lines {
				t.Errorf("a document begins at line %d of %d", d.line, lines)
			}
			_, _ = read(d.content)
		}
	})
}
