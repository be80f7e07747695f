package main

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"
)

// TestPublicAuthoritiesAreKnown: where the machine has no authorities, as in the image, the program has its own.
func TestPublicAuthoritiesAreKnown(t *testing.T) {
	const inside = "BARTIZAN_TEST_WITHOUT_AUTHORITIES"
	if os.Getenv(inside) == "" {
		again := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestPublicAuthoritiesAreKnown$")
		again.Env = append(os.Environ(), inside+"=yes", "SSL_CERT_FILE=/nowhere", "SSL_CERT_DIR=/nowhere")
		if said, err := again.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		return
	}
	pool, err := x509.SystemCertPool()
	if err != nil || pool.Equal(x509.NewCertPool()) {
		t.Errorf("no authority is known: %v", err)
	}
}
