// Package docs_test tests what the documentation says: links lead somewhere, make targets exist, manifests are accepted by a
// real API server, and marked commands run on a real cluster.
//
// Marks are comments before a code block: <!-- file: NAME --> gives it a name, <!-- run --> has it executed, by the test that runs the page.
// <!-- run by: NAME --> names the test or the make target that executes it otherwise.
package docs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/test/controlplane"
)

func TestMain(m *testing.M) { os.Exit(controlplane.Main(m)) }

const root = "../.."

// block is a code block of a page.
type block struct {
	language, text string
	// file is the name that a mark gives it.
	file string
	run  bool
	// mark is the whole mark.
	mark string
}

var (
	fence = regexp.MustCompile("(?ms)^(?:<!-- ([^\n]*) -->\n)?```([a-z]*)\n(.*?)^```$")
	link  = regexp.MustCompile(`\]\(([\w./#][^)\s]*)\)`)
	// target is a make target in a command or in running text.
	target = regexp.MustCompile("(?m)(?:^|`)make ([a-z][a-z0-9-]*)")
	// testName is a test that a page names as its evidence.
	testName = regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)`")
)

// pages are all pages, by their path from the root.
func pages(t testing.TB) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "hack/*/README.md", "charts/*/README.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(root, file)
			if err != nil {
				t.Fatal(err)
			}
			found[name] = string(content)
		}
	}
	if found["README.md"] == "" {
		t.Fatal("there is no README.md")
	}
	return found
}

func blocks(page string) []block {
	var all []block
	for _, match := range fence.FindAllStringSubmatch(page, -1) {
		file, _ := strings.CutPrefix(match[1], "file: ")
		if file == match[1] {
			file = ""
		}
		all = append(all, block{language: match[2], text: match[3], file: file, run: match[1] == "run", mark: match[1]})
	}
	return all
}

func TestLinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	for name, page := range all {
		for _, match := range link.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
			to, part, _ := strings.Cut(match[1], "#")
			if strings.HasPrefix(to, "https://") {
				continue
			}
			leads := filepath.Join(filepath.Dir(name), to)
			if to == "" {
				leads = name
			}
			if _, err := os.Stat(filepath.Join(root, leads)); err != nil {
				t.Errorf("%s links to %s: %v", name, match[1], err)
			}
			if target, isPage := all[leads]; part != "" && isPage && !hasPart(target, part) {
				t.Errorf("%s links to %s, but %s has no such part", name, match[1], leads)
			}
		}
	}
}

// hasPart says whether a page has a heading with that anchor, as GitHub makes them.
func hasPart(page, anchor string) bool {
	for _, heading := range regexp.MustCompile("(?m)^#+ (.*)$").FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		plain := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		if strings.ReplaceAll(plain, " ", "-") == anchor {
			return true
		}
	}
	return false
}

func TestMakeTargetsExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for name, page := range pages(t) {
		for _, match := range target.FindAllStringSubmatch(page, -1) {
			if !regexp.MustCompile(`(?m)^` + match[1] + `:`).Match(makefile) {
				t.Errorf("%s says make %s, which the Makefile does not have", name, match[1])
			}
		}
	}
}

// allTests are the names of the project's tests.
func allTests(t *testing.T) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)\(`)
	if err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		for _, match := range declared.FindAllStringSubmatch(string(content), -1) {
			tests[match[1]] = true
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return tests
}

func TestNamedTestsExist(t *testing.T) {
	tests := allTests(t)
	for name, page := range pages(t) {
		for _, match := range testName.FindAllStringSubmatch(page, -1) {
			if !tests[match[1]] {
				t.Errorf("%s names %s, which is no test", name, match[1])
			}
		}
	}
}

func TestIntegrationManifestsAreAccepted(t *testing.T) {
	config := controlplane.Start(t)
	c, err := client.New(config, client.Options{FieldOwner: "docs", FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for name, page := range pages(t) {
		for _, b := range blocks(page) {
			if b.language != "yaml" || !strings.Contains(b.text, "apiVersion:") {
				continue
			}
			decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(b.text), 4096)
			for {
				object := &unstructured.Unstructured{}
				if err := decoder.Decode(object); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%s: %v in\n%s", name, err, b.text)
				}
				if strings.HasPrefix(object.GetAPIVersion(), "kustomize.config.k8s.io/") {
					continue // That is for kustomize: see TestInstallKustomization.
				}
				tried++
				if object.GetNamespace() != "" {
					object.SetNamespace(metav1.NamespaceDefault)
				}
				if err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.DryRunAll); err != nil {
					t.Errorf("%s: %s %s: %v", name, object.GetKind(), object.GetName(), err)
				}
			}
		}
	}
	if tried < 3 {
		t.Errorf("only %d manifests were found: this test sees nothing", tried)
	}
}

// TestE2EReadme runs the marked commands of the front page, in their order, as a reader would.
func TestE2EReadme(t *testing.T) {
	dir := t.TempDir()
	variables, _ := readerEnvironment(t, dir)
	runPage(t, "README.md", dir, variables, strings.NewReplacer(), 2)
}

// runPage runs the marked commands of a page in a folder, with the files that the page names. Words are replaced in both.
func runPage(t *testing.T, page, dir string, variables []string, replace *strings.Replacer, atLeast int) {
	t.Helper()
	ran := 0
	for _, b := range blocks(pages(t)[page]) {
		if b.file != "" {
			if err := os.WriteFile(filepath.Join(dir, b.file), []byte(replace.Replace(b.text)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if !b.run {
			continue
		}
		ran++
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
		defer cancel()
		shell := exec.CommandContext(ctx, "bash", "-euxo", "pipefail", "-c", replace.Replace(b.text))
		shell.Dir, shell.Env = dir, append(os.Environ(), variables...)
		output, err := shell.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
		t.Logf("%s", output)
	}
	if ran < atLeast {
		t.Errorf("only %d blocks were run", ran)
	}
}

// reachable is the cluster of the end-to-end tests.
type reachable struct {
	Kubeconfig, Context string
	Images              map[string]string
	// Builder builds images, and Load is the beginning of a command line that brings one to the testbed's node.
	Builder string
	Load    []string
	// Inside is the beginning of one that runs what follows in the testbed's network.
	Inside []string
}

func environment(t *testing.T) reachable {
	t.Helper()
	path := os.Getenv("BARTIZAN_E2E")
	if path == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(cache, "bartizan", "environment.json")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("no cluster to test on (%v): go run ./hack/demo run", err)
	}
	var cluster reachable
	if err := json.Unmarshal(raw, &cluster); err != nil {
		t.Fatal(err)
	}
	return cluster
}

// readerEnvironment returns the variables with which a reader reaches the cluster of the end-to-end tests by kubectl, and the
// images that are there.
func readerEnvironment(t *testing.T, dir string) (variables []string, images map[string]string) {
	t.Helper()
	cluster := environment(t)
	variables = []string{"PATH=" + kubectlIn(t, dir, cluster.Context) + string(os.PathListSeparator) + os.Getenv("PATH")}
	if cluster.Kubeconfig != "" {
		variables = append(variables, "KUBECONFIG="+cluster.Kubeconfig)
	}
	return variables, cluster.Images
}

// kubectlIn makes a folder with kubectl in it, and returns the folder.
func kubectlIn(t *testing.T, dir, kubeContext string) string {
	t.Helper()
	var script bytes.Buffer
	script.WriteString("#!/bin/sh\nexec")
	for _, word := range controlplane.KubectlCommand(t) {
		script.WriteString(" '" + word + "'")
	}
	if kubeContext != "" {
		script.WriteString(" --context '" + kubeContext + "'")
	}
	script.WriteString(" \"$@\"\n")
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "kubectl"), script.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	return bin
}
