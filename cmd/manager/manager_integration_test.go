package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/test/controlplane"
)

func TestMain(m *testing.M) {
	if os.Getenv(asManager) != "" {
		os.Exit(managerMain())
	}
	os.Exit(controlplane.Main(m))
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func TestIntegrationManagerServes(t *testing.T) {
	config := controlplane.Start(t)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := controlplane.WriteKubeconfig(config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", kubeconfig)
	namespace := controlplane.Namespace(t, config, "operator")
	metrics, probes := freeAddress(t), freeAddress(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{
			"--gate-image", "registry.example/gate@sha256:1111111111111111111111111111111111111111111111111111111111111111",
			"--namespace", namespace, "--watch-namespaces", namespace, "--metrics-bind-address", metrics, "--health-probe-bind-address", probes,
		}, io.Discard)
	}()
	insecure := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the process makes its own certificate
	}}
	for _, expected := range []struct {
		url    string
		status int
	}{
		{"http://" + probes + "/healthz", http.StatusOK},
		{"http://" + probes + "/readyz", http.StatusOK},
		{"https://" + metrics + "/metrics", http.StatusUnauthorized},
	} {
		controlplane.Eventually(t, 30*time.Second, func(context.Context) error {
			response, err := insecure.Get(expected.url)
			if err != nil {
				return err
			}
			_ = response.Body.Close()
			if response.StatusCode != expected.status {
				return fmt.Errorf("%s answered %s, not %d", expected.url, response.Status, expected.status)
			}
			return nil
		})
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
