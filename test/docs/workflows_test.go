package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestWorkflowsUseTheMakefile: the workflows are YAML, run make targets that exist, and have no more rights than they name.
func TestWorkflowsUseTheMakefile(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*.yaml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("%d workflows, %v", len(files), err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var workflow struct {
			Permissions map[string]string
			Jobs        map[string]struct {
				Steps []struct{ Run string }
			}
		}
		if err := yaml.Unmarshal(content, &workflow); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if workflow.Permissions == nil {
			t.Errorf("%s has the rights that the repository happens to give", file)
		}
		targets := 0
		for _, job := range workflow.Jobs {
			for _, step := range job.Steps {
				for _, line := range strings.Split(step.Run, "\n") {
					_, words, found := strings.Cut(line, "make ")
					if !found {
						continue
					}
					for _, word := range strings.Fields(words) {
						if strings.Contains(word, "=") {
							continue
						}
						targets++
						if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(word) + `:`).Match(makefile) {
							t.Errorf("%s runs make %s, which the Makefile does not have", file, word)
						}
					}
				}
			}
		}
		if targets == 0 {
			t.Errorf("%s runs no make target", file)
		}
	}
}

// TestReleasesAreVerifiedAsTheyAreSigned: SECURITY.md names the workflow that signs, and the file with the signature.
func TestReleasesAreVerifiedAsTheyAreSigned(t *testing.T) {
	page := pages(t)["SECURITY.md"]
	const workflow = ".github/workflows/release.yaml"
	content, err := os.ReadFile(filepath.Join(root, workflow))
	if err != nil {
		t.Fatal(err)
	}
	identity := regexp.MustCompile(`--certificate-identity-regexp '([^']+)'`).FindStringSubmatch(page)
	if identity == nil {
		t.Fatal("SECURITY.md says nothing about who signs")
	}
	signs, err := regexp.Compile(identity[1])
	if err != nil {
		t.Fatal(err)
	}
	for who, want := range map[string]bool{
		"https://github.com/bartizan-dev/bartizan/" + workflow + "@refs/tags/v0.1.0":          true,
		"https://github.com/bartizan-dev/bartizan/" + workflow + "@refs/heads/main":           false,
		"https://github.com/bartizan-dev/bartizan/.github/workflows/ci.yaml@refs/tags/v0.1.0": false,
		"https://github.com/somebody/bartizan/" + workflow + "@refs/tags/v0.1.0":              false,
		"https://github-com/bartizan-dev/bartizan/" + workflow + "@refs/tags/v0.1.0":          false,
	} {
		if signs.MatchString(who) != want {
			t.Errorf("%s: accepted %t, want %t", who, !want, want)
		}
	}
	// What the page asks for is what the workflow makes.
	for asked, made := range map[string]string{
		"cosign verify-blob --bundle checksums.txt.sigstore.json":               "cosign sign-blob --yes --bundle dist/release/checksums.txt.sigstore.json dist/release/checksums.txt",
		"cosign verify-attestation --type slsaprovenance1":                      "cosign attest --yes --type slsaprovenance1",
		"gh attestation verify FILE --repo bartizan-dev/bartizan":               "subject-checksums: dist/release/checksums.txt",
		"`cosign verify` with `IMAGE@DIGEST`":                                   "cosign sign --yes",
		"--certificate-oidc-issuer https://token.actions.githubusercontent.com": "id-token: write",
	} {
		if !strings.Contains(page, asked) || !strings.Contains(string(content), made) {
			t.Errorf("SECURITY.md says %q: %t; the release does %q: %t", asked, strings.Contains(page, asked), made, strings.Contains(string(content), made))
		}
	}
}
