package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestInstall: the program is there as a whole, for everybody to run and for nobody to change, and can be put there again.
func TestInstall(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	file := filepath.Join(folder, "authproxy")
	for range 2 {
		if output, err := authproxy(t, "install", file).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, output)
		}
		got, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("it is another program: %v", err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o555 {
			t.Errorf("its mode is %v, %v", info.Mode(), err)
		}
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 1 {
		t.Errorf("%v is left, %v", entries, err)
	}
}
