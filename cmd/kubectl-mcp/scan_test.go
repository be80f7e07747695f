package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
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
  tools: {pinning: Enforce}
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

// list is a list of manifests; what separates them in a file does so in it.
func list(version, kind string, manifests ...string) string {
	text := "apiVersion: " + version + "\nkind: " + kind + "\nitems:\n"
	for item := range strings.SplitSeq(strings.Join(manifests, "---\n"), "---\n") {
		text += "-\n  " + strings.ReplaceAll(strings.TrimSpace(item), "\n", "\n  ") + "\n"
	}
	return text
}

// withoutKind is a manifest that leaves its kind to the list that it is in.
func withoutKind(manifest string) string { return manifest[strings.Index(manifest, "metadata:"):] }

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
		{"on the line that separates it", "--- {apiVersion: bartizan.dev/v1alpha1, kind: MCPServer, metadata: {name: leaky}, spec: {image: 'a:latest', transport: {type: Stdio}}}\n", []string{"-"}, true, "", "UPD-1"},
		{"after a separator with a comment", goodManifest + "--- # the next\n" + badManifest, []string{"-"}, true, "", "ENC-6"},
		{"in a list", list("v1", "List", goodManifest, badManifest), []string{"-"}, true, "", "ENC-6"},
		{"in a list of its kind, which it does not say", list("bartizan.dev/v1alpha1", "MCPServerList", withoutKind(badManifest)), []string{"-"}, true, "", "ENC-6"},
		{"in a list of lists", list("v1", "List", list("v1", "List", badManifest)), []string{"-"}, true, "", "ENC-6"},
		{"a field that is none, in a list", list("v1", "List", badManifest, strings.Replace(badManifest, "image:", "imagee:", 1)), []string{"-"}, false, "item 2: it is no MCPServer", ""},
		{"a list of what is no object", "apiVersion: v1\nkind: List\nitems: [1]", []string{"-"}, false, "the items of List are no objects", ""},
		{"an empty list", "apiVersion: v1\nkind: List\nitems: []", []string{"-"}, false, "", ""},
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
		if at := r.Locations[0].PhysicalLocation; at.ArtifactLocation.URI != filepath.ToSlash(file) || at.Region.StartLine != 15 {
			t.Errorf("%s is at %+v", r.RuleID, at)
		}
	}
	if !rules["ENC-6"] || !rules["UPD-1"] || !rules["LEAST-7"] {
		t.Errorf("found: %v", rules)
	}
}

// floorProfile and those below are what stands beside MCPServers in a repository: a profile, a client, a namespace and a ConfigMap.
const floorProfile = `apiVersion: bartizan.dev/v1alpha1
kind: MCPSecurityProfile
metadata: {name: production}
spec:
  namespaceSelector: {matchLabels: {environment: production}}
  authentication: {maximumKeyAge: 24h}
  images: {registries: [registry.example/mcp]}
  exemptions:
  - {control: LEAST-7, owner: platform@example.com, reason: reviewed, notAfter: "2999-01-01T00:00:00Z"}
`

const slowClient = `apiVersion: bartizan.dev/v1alpha1
kind: MCPClient
metadata: {name: slow, namespace: tools}
spec:
  servers: [{namespace: tools, name: pods}]
  rotation: {maximumAge: 720h}
`

const toolsNamespace = `apiVersion: v1
kind: Namespace
metadata: {name: tools, labels: {environment: production}}
`

const mounts = `apiVersion: bartizan.dev/v1alpha1
kind: MCPServer
metadata: {name: mounts, namespace: tools}
spec:
  image: registry.example/mcp/a@sha256:0000000000000000000000000000000000000000000000000000000000000000
  transport: {type: StreamableHTTP, port: 8080}
  classification: {level: Internal, categories: [Pods], owner: team-a@example.com}
  tools: {pinning: Enforce}
  pod: {volumes: [{name: settings, configMap: {name: settings}}], volumeMounts: [{name: settings, mountPath: /etc/settings}]}
`

const settings = `apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: tools}
data:
  app.yaml: |
    level: debug
    password: %s
`

// TestScanProfiles: what is below a profile is found as admission would refuse it, for the profiles that are named whatever they
// select, and for those among the files where they select the namespace.
func TestScanProfiles(t *testing.T) {
	dir := t.TempDir()
	profile, other := filepath.Join(dir, "profile.yaml"), filepath.Join(dir, "other.yaml")
	dry := filepath.Join(dir, "dry.yaml")
	for path, content := range map[string]string{
		profile: floorProfile, other: toolsNamespace, dry: strings.Replace(floorProfile, "spec:", "spec:\n  enforcement: DryRun", 1),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := func(documents ...string) string { return strings.Join(documents, "---\n") }
	const (
		registry = "MCPServer tools/pods: spec.image: MCPSecurityProfile production allows images of registry.example/mcp only"
		age      = "MCPClient tools/slow: spec.rotation.maximumAge: MCPSecurityProfile production allows keys of 24h at most"
		left     = "MCPSecurityProfile production is left out for namespace tools"
	)
	for _, test := range []struct {
		name      string
		input     string
		arguments []string
		found     bool
		has, said string
		hasNot    string
	}{
		{"named, whatever it selects", goodManifest, []string{"--profile", profile}, true, registry, "", "left out"},
		{"named, while it is a dry run", goodManifest, []string{"--profile", dry}, true, registry, "", ""},
		{"below is high", goodManifest, []string{"--profile", profile, "--fail-on", "critical"}, false, registry, "", ""},
		{"among the files, and it selects", all(goodManifest, floorProfile, toolsNamespace), nil, true, registry, "", "left out"},
		{"among the files, and it does not select", all(goodManifest, floorProfile, strings.Replace(toolsNamespace, "production", "staging", 1)), nil, false, "pods", "", "PROFILE"},
		{"among the files, and nobody knows", all(goodManifest, floorProfile), nil, false, "pods", left, "PROFILE"},
		{"among the files, and everything is selected", all(goodManifest, strings.Replace(floorProfile, "matchLabels: {environment: production}", "", 1)), nil, true, registry, "", "left out"},
		{"among the files, and it selects by name", all(goodManifest, strings.Replace(floorProfile, "environment: production", "kubernetes.io/metadata.name: tools", 1)), nil, true, registry, "", "left out"},
		{"among the files, and it selects another by name", all(goodManifest, strings.Replace(floorProfile, "environment: production", "kubernetes.io/metadata.name: other", 1)), nil, false, "pods", "", "left out"},
		{"among the files, a dry run", all(goodManifest, strings.Replace(floorProfile, "spec:", "spec:\n  enforcement: DryRun", 1), toolsNamespace), nil, false, "pods", "", "PROFILE"},
		{"a client", all(goodManifest, slowClient), []string{"--profile", profile}, true, age, "", ""},
		{"a client without a profile", all(goodManifest, slowClient), nil, false, "pods", "", "slow"},
		{"a client alone", slowClient, []string{"--profile", profile}, true, "slow (MCPClient)", "", "no MCPServer found"},
		{"what a profile exempts", strings.Replace(badManifest, "registry.example/mcp:latest", "registry.example/mcp/a:latest", 1), []string{"--profile", profile}, true, "ENC-6", "", "LEAST-7"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, said, err := run(t, test.input, append([]string{"scan", "-", "--output", "wide"}, test.arguments...)...)
			if test.found != errors.Is(err, errFound) || !test.found && err != nil {
				t.Errorf("the end is %v", err)
			}
			if !strings.Contains(out, test.has) || !strings.Contains(said, test.said) || test.hasNot != "" && strings.Contains(out+said, test.hasNot) {
				t.Errorf("the output is\n%s\nand it says\n%s", out, said)
			}
		})
	}
	if _, _, err := run(t, goodManifest, "scan", "-", "--profile", other); err == nil || !strings.Contains(err.Error(), "there is no MCPSecurityProfile in") {
		t.Errorf("a file without a profile: %v", err)
	}
}

// TestScanConfigMaps: ConfigMaps that a server names are looked into where they are among the files; what is not there is not clean.
func TestScanConfigMaps(t *testing.T) {
	all := func(documents ...string) string { return strings.Join(documents, "---\n") }
	clean := fmt.Sprintf(settings, "${PASSWORD}")
	leaky := fmt.Sprintf(settings, "Winter2024!")
	for _, test := range []struct {
		name, input, result, reason string
	}{
		{"clean", all(mounts, clean), "pass", ""},
		{"a secret", all(mounts, leaky), "fail", "ConfigMap settings[app.yaml] holds"},
		{"before the server", all(leaky, mounts), "fail", "ConfigMap settings[app.yaml] holds"},
		{"not among the files", mounts, "unknown", "ConfigMap settings is not among the manifests"},
		{"of another namespace", all(mounts, strings.Replace(leaky, "namespace: tools", "namespace: other", 1)), "unknown", "not among the manifests"},
		{"that nobody names", all(goodManifest, leaky), "pass", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, _, _ := run(t, test.input, "scan", "-", "--output", "json")
			var shown struct {
				Servers []struct {
					Controls []struct{ ID, Result, Reason string }
				}
			}
			if err := json.Unmarshal([]byte(out), &shown); err != nil || len(shown.Servers) != 1 {
				t.Fatalf("%v: %s", err, out)
			}
			for _, c := range shown.Servers[0].Controls {
				if c.ID == "ENC-6" && (c.Result != test.result || !strings.Contains(c.Reason, test.reason)) {
					t.Errorf("%+v", c)
				}
			}
			if strings.Contains(out, "Winter2024") {
				t.Error("it shows the secret that it found")
			}
		})
	}
}

// TestScanCorpus: real ConfigMaps raise an alarm where something is to be found, and else none. So do our own manifests.
func TestScanCorpus(t *testing.T) {
	content, err := os.ReadFile("../../internal/literal/testdata/configmaps.yaml")
	if err != nil {
		t.Fatal(err)
	}
	harmless, leaks := 0, 0
	for manifest := range strings.SplitSeq(string(content), "\n---\n") {
		object := corev1.ConfigMap{}
		if err := yaml.Unmarshal([]byte(manifest), &object); err != nil {
			t.Fatal(err)
		}
		object.Name, object.Namespace = "settings", "tools"
		whole, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		// What has to be put together is not found as it is.
		if strings.Contains(manifest, "GHTOKEN") || strings.Contains(manifest, "PRIVATEKEY") {
			continue
		}
		out, _, err := run(t, mounts+"---\n"+string(whole), "scan", "-")
		switch want := manifest[strings.LastIndex(manifest, "# want"):]; {
		case strings.HasPrefix(want, "# want: nothing"):
			if harmless++; err != nil || strings.Contains(out, "ENC-6") {
				t.Errorf("a false alarm: %v\n%s\n%s", err, out, manifest)
			}
		default:
			if leaks++; !errors.Is(err, errFound) || !strings.Contains(out, "ENC-6") {
				t.Errorf("nothing found: %v\n%s\n%s", err, out, manifest)
			}
		}
	}
	if harmless < 5 || leaks == 0 {
		t.Errorf("%d harmless ones and %d others are no corpus", harmless, leaks)
	}
	out, said, err := run(t, "", "scan", "../../config/samples", "--profile", "../../config/profiles/baseline.yaml", "--fail-on", "never")
	if err != nil || strings.Contains(out, "ENC-6") || !strings.Contains(out, "github-tools") {
		t.Errorf("our own samples: %v\n%s%s", err, out, said)
	}
}

func FuzzManifests(f *testing.F) {
	f.Add([]byte(goodManifest + "---\n" + badManifest))
	f.Add([]byte(floorProfile + "---\n" + slowClient + "---\n" + toolsNamespace + "---\n" + settings))
	f.Add([]byte("--- \n---\n...\n"))
	for _, name := range []string{"good", "bad"} {
		content, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Add([]byte(list("v1", "List", goodManifest, list("bartizan.dev/v1alpha1", "MCPServerList", withoutKind(badManifest)))))
	f.Fuzz(func(t *testing.T, content []byte) {
		lines := bytes.Count(content, []byte("\n")) + 1
		for _, d := range documents(content) {
			if d.line < 1 || d.line > lines {
				t.Errorf("a document begins at line %d of %d", d.line, lines)
			}
		}
		m := newManifests()
		if err := m.add("", content); err != nil {
			return
		}
		p := &plugin{err: io.Discard, now: time.Now}
		if got := len(p.evaluate(m, nil)); got < len(m.servers) {
			t.Errorf("%d of %d servers are evaluated", got, len(m.servers))
		}
	})
}
