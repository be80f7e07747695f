package controlplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// findBinaries returns a folder with the programs etcd and kube-apiserver (and kube-controller-manager, on the testbed):
// $KUBEBUILDER_ASSETS if set, else what the testbed has built, or builds now.
func findBinaries() (string, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		for _, program := range []string{"etcd", "kube-apiserver"} {
			if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
				return "", fmt.Errorf("KUBEBUILDER_ASSETS names %s, but %w; unset it to use the testbed's programs", dir, err)
			}
		}
		return dir, nil
	}
	return "", errors.New("set KUBEBUILDER_ASSETS")
}
