package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// The parts of an in-toto statement with SLSA's provenance that are written: https://slsa.dev/spec/v1.0/provenance
type (
	statement struct {
		Type          string     `json:"_type"`
		Subject       []artifact `json:"subject"`
		PredicateType string     `json:"predicateType"`
		Predicate     provenance `json:"predicate"`
	}
	artifact struct {
		Name   string            `json:"name,omitempty"`
		URI    string            `json:"uri,omitempty"`
		Digest map[string]string `json:"digest"`
	}
	provenance struct {
		Definition definition `json:"buildDefinition"`
		Details    details    `json:"runDetails"`
	}
	definition struct {
		Type         string         `json:"buildType"`
		External     map[string]any `json:"externalParameters"`
		Internal     map[string]any `json:"internalParameters"`
		Dependencies []artifact     `json:"resolvedDependencies"`
	}
	details struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
	}
)

const repository = "https://github.com/bartizan-dev/bartizan"

// provenance says which commit and which parameters everything was made of. It is a claim of who built it, until it is signed: the release's
// workflow signs its checksum with the others, and attests the same as GitHub's own.
func (r *release) provenance(ctx context.Context) error {
	commit, err := output(ctx, "git", "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	s, err := r.statement(commit)
	if err != nil {
		return err
	}
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, "provenance.intoto.json"), append(content, '\n'), 0o644)
}

// statement is about the images, and about every file that is there.
func (r *release) statement(commit string) (statement, error) {
	s := statement{Type: "https://in-toto.io/Statement/v1", PredicateType: "https://slsa.dev/provenance/v1"}
	for _, program := range programs {
		name, digest, ok := strings.Cut(r.images[program], "@sha256:")
		if !ok {
			return s, fmt.Errorf("the image of %s, %q, has no digest", program, r.images[program])
		}
		s.Subject = append(s.Subject, artifact{Name: name, Digest: map[string]string{"sha256": digest}})
	}
	entries, err := os.ReadDir(r.out)
	if err != nil {
		return s, err
	}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(r.out, entry.Name()))
		if err != nil {
			return s, err
		}
		s.Subject = append(s.Subject, artifact{Name: entry.Name(), Digest: map[string]string{"sha256": fmt.Sprintf("%x", sha256.Sum256(content))}})
	}
	s.Predicate.Definition = definition{
		Type:         repository + "/tree/main/hack/release",
		External:     map[string]any{"version": "v" + r.version, "architectures": r.architectures, "registry": r.registry},
		Internal:     map[string]any{"go": runtime.Version()},
		Dependencies: []artifact{{URI: "git+" + repository, Digest: map[string]string{"gitCommit": commit}}},
	}
	s.Predicate.Details.Builder.ID = repository + "/blob/" + commit + "/.github/workflows/release.yaml"
	return s, nil
}
