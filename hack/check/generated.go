package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// generated runs "make generate" in a copy of the project and compares.
func generated(ctx context.Context) error {
	names, err := files(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bartizan-generated-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	before := map[string][]byte{}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		before[name] = content
		target := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, content, info.Mode()); err != nil {
			return err
		}
	}
	if _, err := output(ctx, dir, "make", "generate"); err != nil {
		return err
	}
	var problems []error
	err = filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if old, ok := before[name]; !ok {
			problems = append(problems, fmt.Errorf("%s is not there", name))
		} else if !bytes.Equal(old, content) {
			problems = append(problems, fmt.Errorf("%s is not up to date", name))
		}
		delete(before, name)
		return nil
	})
	for name := range before {
		problems = append(problems, fmt.Errorf("%s is not generated any more", name))
	}
	return errors.Join(append(problems, err)...)
}
