package cluster

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// With binaries of the user's own nothing is compiled; one that ends at once is reported with its last words.
func TestControlPlaneFromAssets(t *testing.T) {
	assets := t.TempDir()
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if err := os.WriteFile(filepath.Join(assets, name), []byte("#!/bin/sh\necho \"$0 is broken\"\nexit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("KUBEBUILDER_ASSETS", assets)
	c := newCluster(t)
	err := c.Up(context.Background(), ControlPlane)
	if err == nil || !strings.Contains(err.Error(), "is broken") {
		t.Fatalf("error %v", err)
	}
	if err := c.Down(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.Dir); err == nil {
		t.Error("down left the folder")
	}
}
