package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFingerprint(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	look := func() string {
		t.Helper()
		found, err := fingerprint(dir)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	write("a.go", "package a")
	first := look()
	write("a_test.go", "package a")
	if look() != first {
		t.Error("a test changes nothing in the cluster")
	}
	write("b.go", "package a")
	second := look()
	if second == first {
		t.Error("a new file was not seen")
	}
	write("b.go", "package a // changed")
	if look() == second {
		t.Error("a changed file was not seen")
	}
	if err := os.Remove(filepath.Join(dir, "b.go")); err != nil {
		t.Fatal(err)
	}
	if look() != first {
		t.Error("without the new file it is as before")
	}
}
