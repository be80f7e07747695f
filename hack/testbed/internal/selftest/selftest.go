// Package selftest brings a full cluster up, tries everything that it promises, and takes it down.
package selftest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	_ "embed"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/cluster"
	"github.com/bartizan-dev/bartizan/hack/testbed/internal/component"
)

//go:embed objects.yaml
var objects string

//go:embed pod.yaml
var pod string

const (
	namespace = "selftest"
	image     = "testbed.bartizan.dev/probe:1"
	// patience is for what controllers do in their own time.
	patience = 3 * time.Minute
)

// A test runs its steps upon one cluster.
type test struct {
	*cluster.Cluster
	kubectlBinary string
	// references of the probe's image: by tag and by digest.
	byTag, byDigest string
}

// Run fails with the first thing that is not as promised. The cluster is taken down also then.
func Run(ctx context.Context, c *cluster.Cluster) (err error) {
	if _, _, err := c.Status(ctx); !errors.Is(err, cluster.ErrNone) {
		return fmt.Errorf("a testbed is in %s already; the self test needs a --dir of its own", c.Dir)
	}
	all, err := component.All()
	if err != nil {
		return err
	}
	built, err := c.Builder.Build(ctx, append(all, component.Probe)...)
	if err != nil {
		return err
	}
	before, err := takeTrace()
	if err != nil {
		return err
	}
	defer func() {
		downErr := c.Down(context.WithoutCancel(ctx))
		if downErr == nil {
			downErr = before.compare(c.Dir)
		}
		if err = errors.Join(err, downErr); err == nil {
			c.Say("ok: down leaves nothing")
		}
	}()
	if err := c.Up(ctx, cluster.Full); err != nil {
		return err
	}
	t := &test{Cluster: c, kubectlBinary: built[component.Kubernetes.Name].Binary}
	for _, step := range []struct {
		name string
		run  func(context.Context, map[string]component.Built) error
	}{
		{"an image is loaded, by tag and by digest", t.loadImage},
		{"pods run under the restricted Pod Security Standard, and others are refused", t.pods},
		{"kubectl logs and exec work", t.logs},
		{"DNS resolves in a pod", t.resolve},
		{"a NetworkPolicy lets in whom it names and nobody else", t.ingress},
		{"a NetworkPolicy keeps a pod from the API server", t.egress},
		{"cert-manager issues from a namespace's CA", t.certificate},
		{"external-secrets reads from and pushes to another namespace", t.secrets},
		{"a part that is killed is named by status, and healed by up", t.heal},
	} {
		started := time.Now()
		if err := step.run(ctx, built); err != nil {
			return fmt.Errorf("FAILED: %s: %w", step.name, err)
		}
		c.Say("ok: %s (%.1fs)", step.name, time.Since(started).Seconds())
	}
	return nil
}

func (t *test) kubectl(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, t.kubectlBinary, append([]string{"kubectl", "--kubeconfig", t.Kubeconfig()}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

func (t *test) wait(ctx context.Context, condition string, objects ...string) error {
	_, err := t.kubectl(ctx, "", append([]string{"-n", namespace, "wait", "--timeout", patience.String(), "--for=condition=" + condition}, objects...)...)
	return err
}

// probe runs the probe's client in a pod.
func (t *test) probe(ctx context.Context, pod string, args ...string) (string, error) {
	return t.kubectl(ctx, "", append([]string{"-n", namespace, "exec", pod, "--", "/probe"}, args...)...)
}

// until repeats a check for as long as controllers may take.
func until(ctx context.Context, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (t *test) loadImage(ctx context.Context, built map[string]component.Built) error {
	archive, err := t.BuildImage(ctx, built, component.Probe, image, "65532:65532")
	if err != nil {
		return err
	}
	references, err := t.LoadImage(ctx, archive)
	if err != nil {
		return err
	}
	if len(references) != 2 || references[0] != image || !strings.HasPrefix(references[1], "testbed.bartizan.dev/probe@sha256:") {
		return fmt.Errorf("its references are %v", references)
	}
	t.byTag, t.byDigest = references[0], references[1]
	return nil
}

func (t *test) pods(ctx context.Context, _ map[string]component.Built) error {
	if _, err := t.kubectl(ctx, objects, "apply", "--server-side", "-f", "-"); err != nil {
		return err
	}
	var all []string
	for role, image := range map[string]string{"server": t.byDigest, "friend": t.byTag, "stranger": t.byTag} {
		all = append(all, strings.NewReplacer("@ROLE@", role, "@IMAGE@", image).Replace(pod))
	}
	if err := until(ctx, func() error { // the namespace's ServiceAccount comes a moment after it
		_, err := t.kubectl(ctx, strings.Join(all, "\n---\n"), "apply", "--server-side", "-f", "-")
		return err
	}); err != nil {
		return err
	}
	if err := t.wait(ctx, "Ready", "pod/server", "pod/friend", "pod/stranger"); err != nil {
		return err
	}
	lax := strings.NewReplacer("@ROLE@", "lax", "@IMAGE@", t.byTag, "runAsNonRoot: true", "runAsNonRoot: false").Replace(pod)
	if _, err := t.kubectl(ctx, lax, "apply", "--server-side", "-f", "-"); err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
		return fmt.Errorf("a pod that may run as root was not refused: %w", err)
	}
	return nil
}

func (t *test) logs(ctx context.Context, _ map[string]component.Built) error {
	output, err := t.kubectl(ctx, "", "-n", namespace, "logs", "server")
	if err == nil && output != "serving" {
		err = fmt.Errorf("the server's log is %q", output)
	}
	return err
}

func (t *test) resolve(ctx context.Context, _ map[string]component.Built) error {
	for _, name := range []string{"server", "server.selftest.svc.cluster.local"} {
		if output, err := t.probe(ctx, "friend", "resolve", name); err != nil || !strings.HasPrefix(output, "10.96.") {
			return fmt.Errorf("%s resolves to %q: %w", name, output, err)
		}
	}
	output, err := t.probe(ctx, "friend", "resolve", "kubernetes.default")
	if err == nil && output != "10.96.0.1" {
		err = fmt.Errorf("kubernetes.default resolves to %q", output)
	}
	return err
}

func (t *test) ingress(ctx context.Context, _ map[string]component.Built) error {
	const url = "http://server"
	if err := until(ctx, func() error { return t.refused(ctx, "stranger", "get", url) }); err != nil {
		return err
	}
	_, err := t.probe(ctx, "friend", "get", url)
	return err
}

// refused is nil when the probe cannot get through.
func (t *test) refused(ctx context.Context, pod string, args ...string) error {
	if output, err := t.probe(ctx, pod, args...); err == nil {
		return fmt.Errorf("%s was not kept from %s: %s", pod, strings.Join(args, " "), output)
	} else if !strings.Contains(err.Error(), "probe:") { // not the probe's own finding
		return err
	}
	return nil
}

func (t *test) egress(ctx context.Context, _ map[string]component.Built) error {
	for _, address := range []string{"10.96.0.1:443", "172.30.0.1:6443"} {
		if _, err := t.probe(ctx, "friend", "dial", address); err != nil {
			return err
		}
		if err := t.refused(ctx, "stranger", "dial", address); err != nil {
			return err
		}
	}
	_, err := t.probe(ctx, "stranger", "resolve", "server") // which its policy allows
	return err
}

// secret returns one value of a Secret.
func (t *test) secret(ctx context.Context, namespace, name, key string) ([]byte, error) {
	output, err := t.kubectl(ctx, "", "-n", namespace, "get", "secret", name, "-o", "jsonpath={.data."+strings.ReplaceAll(key, ".", `\.`)+"}")
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(output)
}

func (t *test) certificate(ctx context.Context, _ map[string]component.Built) error {
	if err := t.wait(ctx, "Ready", "certificate/leaf"); err != nil {
		return err
	}
	raw, err := t.secret(ctx, namespace, "leaf", "tls.crt")
	if err != nil {
		return err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return errors.New("the Secret holds no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	if _, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || len(cert.URIs) != 1 || cert.URIs[0].String() != "spiffe://selftest/ns/selftest/client/leaf" {
		return fmt.Errorf("the certificate has the key %T and the URIs %v", cert.PublicKey, cert.URIs)
	}
	return nil
}

func (t *test) secrets(ctx context.Context, _ map[string]component.Built) error {
	if err := t.wait(ctx, "Ready", "externalsecret/word", "pushsecret/pushed"); err != nil {
		return err
	}
	for _, want := range []struct{ namespace, name, value string }{{namespace, "word", "swordfish"}, {"selftest-vault", "arrived", "marlin"}} {
		value, err := t.secret(ctx, want.namespace, want.name, "word")
		if err != nil {
			return err
		}
		if string(value) != want.value {
			return fmt.Errorf("%s/%s is %q and not %q", want.namespace, want.name, value, want.value)
		}
	}
	return nil
}

func (t *test) heal(ctx context.Context, _ map[string]component.Built) error {
	_, parts, err := t.Status(ctx)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if part.Name == "kubelet" || part.Name == "anchor" || part.Name == "forward" || part.Name == "containerd" {
			if err := syscall.Kill(part.ID.PID, syscall.SIGKILL); err != nil {
				return err
			}
		}
	}
	if err := until(ctx, func() error {
		_, _, err := t.Status(ctx)
		if err == nil || !strings.Contains(err.Error(), "kubelet has ended") {
			return fmt.Errorf("status says %w", err)
		}
		return nil
	}); err != nil {
		return err
	}
	if err := t.Up(ctx, cluster.Full); err != nil {
		return err
	}
	if _, _, err := t.Status(ctx); err != nil {
		return err
	}
	return until(ctx, func() error {
		_, err := t.probe(ctx, "friend", "get", "http://server") // the pods have lived through it
		return err
	})
}
