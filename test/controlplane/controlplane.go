// Package controlplane gives tests a real API server with the kinds that the operator works with: its own, cert-manager's
// and external-secrets'. There is no controller, no scheduler and no node behind it, unless a test asks for the controller
// manager: what a test writes stays as it is.
//
// A package of integration tests has
//
//	func TestMain(m *testing.M) { os.Exit(controlplane.Main(m)) }
//
// and its tests, named TestIntegration…, call Start.
package controlplane

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// The API groups whose kinds an API server of this package knows beside Kubernetes' own.
const (
	Bartizan        = "bartizan.dev"
	CertManager     = "cert-manager.io"
	ExternalSecrets = "external-secrets.io"
)

// API groups whose kinds only Install brings in: the Prometheus operator's, ToolHive's, that of reports, Trivy operator's, and that of
// Kyverno's reports.
const (
	Monitoring    = "monitoring.coreos.com"
	ToolHive      = "toolhive.stacklok.dev"
	OpenReports   = "openreports.io"
	Trivy         = "aquasecurity.github.io"
	PolicyReports = "wgpolicyk8s.io"
)

// startTimeout bounds the start of etcd and the API server together, on a busy machine.
const startTimeout = 5 * time.Minute

type settings struct {
	without           map[string]bool
	controllerManager bool
}

// Option changes what Start gives. A test that uses one gets an API server of its own.
type Option func(*settings)

// Without leaves the CRDs of an API group out. Install brings them in later.
func Without(group string) Option {
	return func(s *settings) { s.without[group] = true }
}

// WithControllerManager runs the garbage collector and the namespace controller, so that what is deleted goes away with all
// that it owns.
func WithControllerManager() Option {
	return func(s *settings) { s.controllerManager = true }
}

var shared struct {
	sync.Mutex
	started bool
	server  *server
	config  *rest.Config
	err     error
}

// Main runs the tests of a package and stops the shared API server after them. It returns the exit code.
func Main(m *testing.M) int {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		shared.server.stop()
	}
	return code
}

// Start returns the configuration of an administrator of an API server. Without options it is the same API server for all
// tests of the process, so a test works in a namespace of its own (see Namespace). With options it is one that ends with t.
func Start(t testing.TB, options ...Option) *rest.Config {
	t.Helper()
	if len(options) == 0 {
		shared.Lock()
		defer shared.Unlock()
		if !shared.started {
			shared.started = true
			shared.server, shared.config, shared.err = start(settings{})
		}
		if shared.err != nil {
			t.Fatalf("control plane: %v", shared.err)
		}
		return rest.CopyConfig(shared.config)
	}
	s := settings{without: map[string]bool{}}
	for _, option := range options {
		option(&s)
	}
	running, config, err := start(s)
	if err != nil {
		t.Fatalf("control plane: %v", err)
	}
	t.Cleanup(running.stop)
	return config
}

func start(s settings) (*server, *rest.Config, error) {
	programs, err := found()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	running, config, err := run(ctx, programs, s.controllerManager)
	if err != nil {
		return nil, nil, err
	}
	for _, group := range []string{Bartizan, CertManager, ExternalSecrets} {
		if s.without[group] {
			continue
		}
		if err := install(config, group); err != nil {
			running.stop()
			return nil, nil, err
		}
	}
	return running, config, nil
}

// Install brings the CRDs of an API group that Without left out.
func Install(t testing.TB, config *rest.Config, group string) {
	t.Helper()
	if err := install(config, group); err != nil {
		t.Fatalf("control plane: %v", err)
	}
}

// Namespace makes a namespace with a name of its own, which starts with prefix, and returns its name. Labels are given in
// pairs of key and value. The namespace is deleted when t ends; without a controller manager its content stays.
func Namespace(t testing.TB, config *rest.Config, prefix string, labels ...string) string {
	t.Helper()
	set := map[string]string{}
	for i := 0; i+1 < len(labels); i += 2 {
		set[labels[i]] = labels[i+1]
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatalf("control plane: %v", err)
	}
	namespace, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: strings.TrimSuffix(prefix, "-") + "-",
		Labels:       set,
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("control plane: create a namespace: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := client.CoreV1().Namespaces().Delete(ctx, namespace.Name, metav1.DeleteOptions{}); err != nil {
			t.Logf("control plane: delete namespace %s: %v", namespace.Name, err)
		}
	})
	return namespace.Name
}

// Eventually calls check until it returns nil, and fails t with its last error when that took longer than the timeout.
func Eventually(t testing.TB, timeout time.Duration, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not so after %s: %v", timeout, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
