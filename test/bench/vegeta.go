package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bartizan-dev/bartizan/test/peers"
)

// vegeta measures latencies again, with a load generator of others.
func (b *bench) vegeta(ctx context.Context, f *field, rate int) error {
	program, err := peers.Program(ctx, "test/bench/vegeta")
	if err != nil {
		return err
	}
	folder, err := b.w.folder("vegeta")
	if err != nil {
		return err
	}
	file := func(name string) string { return filepath.Join(folder, name) }
	pair := b.w.withCertificates[0].Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return err
	}
	client := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	for name, text := range map[string][]byte{"body": []byte(call("get_0", 300)), "client.pem": client, "authority.pem": []byte(b.w.serving.PEM)} {
		if err := os.WriteFile(file(name), text, 0o600); err != nil {
			return err
		}
	}
	tails := map[string][]float64{}
	halves, err := b.inTurn(ctx, "P3 with vegeta", append([]*target{f.upstream}, f.targets...), func(t *target) (float64, error) {
		arguments := []string{"-url", "http://" + t.address + peers.Path}
		if len(t.tls) > 0 {
			arguments = []string{"-url", "https://" + t.address + peers.Path, "-authority", file("authority.pem"), "-certificate", file("client.pem")}
		}
		arguments = append(arguments, "-host", host, "-body", file("body"), "-rate", fmt.Sprint(rate), "-duration", fmt.Sprintf("%dms", b.some(2000, 200)))
		output, err := exec.CommandContext(ctx, program, arguments...).CombinedOutput()
		if err != nil {
			return 0, fmt.Errorf("%s: %w: %s", t.name, err, output)
		}
		var half, tail, success float64
		if _, err := fmt.Sscan(string(output), &half, &tail, &success); err != nil || success < 1 {
			return 0, fmt.Errorf("%s: vegeta says %q: %w", t.name, output, err)
		}
		tails[t.name] = append(tails[t.name], tail/1e3)
		return half / 1e3, nil
	})
	if err != nil {
		return err
	}
	haproxy, direct := string(peers.HAProxy), f.upstream.name
	const work = "the same, as vegeta measures it: latency added, "
	b.compare("P3", work+"median", microsecond, less(halves[gateName], halves[direct]), haproxy, less(halves[haproxy], halves[direct]), none)
	b.compare("P3", work+"99th percentile", microsecond, less(tails[gateName], tails[direct]), haproxy, less(tails[haproxy], tails[direct]), none)
	return nil
}
