package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// firstPrevious is what is upgraded from until there is a release: the last commit without security profiles, and so with one definition
// less, with other fields in the rest, other rights and another gate.
const firstPrevious = "f378da9715d5e8b84b7f7074b35aea4c1f1483b7"

// previous is an earlier version of everything: a folder with its chart, and its programs.
type previous struct {
	version, chart, manager, gate string
	// same says that there is no earlier version: it is this one, in other files.
	same bool
}

// compilePrevious makes the programs of an earlier version, beside whatever the test does meanwhile. What it returns waits for them.
func (c *cluster) compilePrevious(t *testing.T) (wait func() previous) {
	t.Helper()
	var made previous
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		made, failed = c.previous(t.Context())
	}()
	t.Cleanup(func() { <-done })
	return func() previous {
		t.Helper()
		<-done
		must(t, failed)
		return made
	}
}

// previous takes the last release before this commit, and firstPrevious while there is none, out of the history, and compiles it.
func (c *cluster) previous(ctx context.Context) (previous, error) {
	version, err := git(ctx, "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^")
	if err != nil {
		version = firstPrevious
	}
	repository := checkout
	commit, err := git(ctx, "rev-parse", "--verify", "--quiet", version+"^{commit}")
	if err != nil { // It is a shallow clone.
		commit, repository = version, filepath.Join(c.cache, "previous.git")
		if err := fetch(ctx, repository, commit); err != nil {
			return c.withoutHistory(ctx, err)
		}
	}
	folder := filepath.Join(c.cache, "previous", commit)
	p := previous{
		version: version, chart: filepath.Join(folder, "charts", "bartizan"),
		manager: filepath.Join(folder, "bin", "manager"), gate: filepath.Join(folder, "bin", "authproxy"),
	}
	if _, err := os.Stat(p.gate); err == nil {
		return p, nil
	}
	partial := folder + ".partial"
	if err := errors.Join(os.RemoveAll(partial), os.MkdirAll(partial, 0o755)); err != nil {
		return p, err
	}
	archive := filepath.Join(partial, "source.tar")
	for _, command := range [][]string{
		{"git", "-c", "safe.directory=*", "-C", repository, "archive", "--output", archive, commit},
		{"tar", "--extract", "--file", archive, "--directory", partial},
		{"go", "-C", partial, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", "bin" + string(os.PathSeparator), "./cmd/manager", "./cmd/authproxy"},
	} {
		if _, err := say(ctx, command...); err != nil {
			return p, fmt.Errorf("compile %s: %w", version, err)
		}
	}
	return p, errors.Join(os.Remove(archive), os.RemoveAll(folder), os.Rename(partial, folder))
}

// withoutHistory is this checkout in the place of an earlier one: the images have other digests, so that all rolls all the same.
func (c *cluster) withoutHistory(ctx context.Context, because error) (previous, error) {
	folder := filepath.Join(c.cache, "previous", "same")
	p := previous{
		version: "this checkout, whose clone has no history (run git fetch --unshallow to upgrade from an earlier one): " + because.Error(),
		chart:   filepath.Join(checkout, "charts", "bartizan"), manager: filepath.Join(folder, "manager"), gate: filepath.Join(folder, "authproxy"), same: true,
	}
	_, err := say(ctx, "go", "-C", checkout, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=earlier", "-o", folder+string(os.PathSeparator), "./cmd/manager", "./cmd/authproxy")
	return p, err
}

// fetch brings one commit from where the checkout was cloned from into a repository of its own, so that the checkout stays as it is.
func fetch(ctx context.Context, repository, commit string) error {
	origin, err := git(ctx, "remote", "get-url", "origin")
	if err != nil {
		return err
	}
	if _, err := say(ctx, "git", "init", "--quiet", "--bare", repository); err != nil {
		return err
	}
	_, err = say(ctx, "git", "-C", repository, "fetch", "--quiet", "--depth", "1", origin, commit)
	return err
}

// checkout is the repository.
const checkout = "../.."

// git runs git in the checkout, also when that is somebody else's, as in a container.
func git(ctx context.Context, arguments ...string) (string, error) {
	return say(ctx, append([]string{"git", "-c", "safe.directory=*", "-C", checkout}, arguments...)...)
}

// say runs a program and returns what it prints; its error has what it said.
func say(ctx context.Context, words ...string) (string, error) {
	command := exec.CommandContext(ctx, words[0], words[1:]...)
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	var said bytes.Buffer
	command.Stderr = &said
	printed, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, said.Bytes())
	}
	return strings.TrimSpace(string(printed)), nil
}
