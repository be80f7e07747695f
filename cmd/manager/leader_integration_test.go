package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// asManager, in the environment, has the test's binary be the manager: leaders are killed as processes.
const asManager = "BARTIZAN_TEST_AS_MANAGER"

func managerMain() int {
	if err := run(ctrl.SetupSignalHandler(), os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		return 1
	}
	return 0
}

// writer is one writing request: whose, and when.
type writer struct {
	manager, request string
	at               time.Time
}

// ledger has the writes of all managers in the order in which they reached the API server. Leases and events are no work
// on servers.
type ledger struct {
	mutex sync.Mutex
	all   []writer
	// renewed is when each manager last asked for the lease.
	renewed map[string]time.Time
	// cut are managers that do not reach the API server any more.
	cut map[string]bool
}

// add says whether the request may pass.
func (l *ledger) add(manager string, r *http.Request) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	switch {
	case l.cut[manager]:
		return false
	case r.Method == http.MethodGet, strings.Contains(r.URL.Path, "/events"):
	case strings.Contains(r.URL.Path, "/leases"):
		l.renewed[manager] = time.Now()
	default:
		l.all = append(l.all, writer{manager, r.Method + " " + r.URL.Path, time.Now()})
	}
	return true
}

// cutOff keeps a manager from the API server, and returns when it last asked for the lease.
func (l *ledger) cutOff(manager string) (renewed time.Time) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.cut[manager] = true
	return l.renewed[manager]
}

func (l *ledger) since(n int) []writer {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return append([]writer(nil), l.all[n:]...)
}

// managerProcess is a manager that reaches the API server through a proxy of its own.
type managerProcess struct {
	name    string
	command *exec.Cmd
	ended   chan struct{}
	log     string
	// before is called before each request.
	before atomic.Pointer[func(*http.Request)]
}

func startManager(t *testing.T, config *rest.Config, l *ledger, name, namespace string, watch ...string) *managerProcess {
	t.Helper()
	m := &managerProcess{name: name, ended: make(chan struct{}), log: filepath.Join(t.TempDir(), name+".log")}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: transport, FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before := m.before.Load(); before != nil {
			(*before)(r)
		}
		if !l.add(name, r) {
			// As when a network swallows what is sent: no answer, and no error either. Only after the body is it noticed who hangs up.
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	kubeconfig := filepath.Join(t.TempDir(), name)
	if err := controlplane.WriteKubeconfig(&rest.Config{Host: server.URL}, kubeconfig); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(m.log)
	if err != nil {
		t.Fatal(err)
	}
	m.command = exec.Command(os.Args[0],
		"--gate-image", "registry.example/gate@sha256:"+strings.Repeat("1", 64), "--namespace", namespace,
		"--watch-namespaces", strings.Join(watch, ","), "--metrics-bind-address", "0", "--health-probe-bind-address", "0")
	m.command.Env = append(os.Environ(), asManager+"=yes", "KUBECONFIG="+kubeconfig)
	m.command.Stdout, m.command.Stderr = log, log
	m.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the death signal is sent when the thread that started the process ends
		defer func() { _ = log.Close() }()
		err := m.command.Start()
		started <- err
		if err == nil {
			_ = m.command.Wait()
			close(m.ended)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.kill()
		if t.Failed() {
			for _, w := range l.since(0) {
				if w.manager == name {
					t.Logf("%s %s %s", w.at.Format(time.StampMilli), w.manager, w.request)
				}
			}
			content, _ := os.ReadFile(m.log)
			t.Logf("%s:\n%s", name, content[max(0, len(content)-4000):])
		}
	})
	return m
}

func (m *managerProcess) kill() {
	_ = m.command.Process.Kill()
	<-m.ended
}

// issue plays cert-manager, as far as the operator looks before pods start.
func issue(t *testing.T, c client.Client, namespace string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			all := &certmanager.CertificateList{}
			_ = c.List(ctx, all, client.InNamespace(namespace)) // what fails is tried again
			for _, certificate := range all.Items {
				_ = c.Create(ctx, &corev1.Secret{
					ObjectMeta: metav1.ObjectMeta{
						Namespace: namespace, Name: certificate.Spec.SecretName, Labels: certificate.Spec.SecretTemplate.Labels,
						Annotations: map[string]string{certmanager.CertificateNameKey: certificate.Name},
					},
					Data: map[string][]byte{corev1.TLSCertKey: []byte("certificate"), corev1.TLSPrivateKeyKey: []byte("key")},
				})
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// TestIntegrationLeaderHandOver runs managers as processes with leader election: one works at a time, and the next goes on
// wherever the last one stopped.
func TestIntegrationLeaderHandOver(t *testing.T) {
	config := controlplane.Start(t)
	c, err := client.New(config, client.Options{Scheme: controllers.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	operator, tools := controlplane.Namespace(t, config, "operator"), controlplane.Namespace(t, config, "tools")
	l := &ledger{renewed: map[string]time.Time{}, cut: map[string]bool{}}
	start := func(name string) *managerProcess { return startManager(t, config, l, name, operator, tools) }
	issue(t, c, tools)
	create := func(name string) {
		t.Helper()
		if err := c.Create(t.Context(), &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: tools, Name: name}, Spec: v1alpha1.MCPServerSpec{
			Image:     "registry.example/mcp@sha256:" + strings.Repeat("0", 64),
			Transport: v1alpha1.Transport{Type: v1alpha1.TransportStreamableHTTP, Port: 8080},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	finished := func(name string) error {
		deployment, service := &appsv1.Deployment{}, &corev1.Service{}
		key := client.ObjectKey{Namespace: tools, Name: name}
		return errors.Join(c.Get(t.Context(), key, deployment), c.Get(t.Context(), key, service))
	}
	// within waits until a server is finished, and returns how long that took.
	within := func(limit time.Duration, name string) time.Duration {
		t.Helper()
		began := time.Now()
		controlplane.Eventually(t, limit, func(context.Context) error { return finished(name) })
		return time.Since(began)
	}
	// only checks that all writes since the n-th are those of one manager.
	only := func(n int, name string) {
		t.Helper()
		for _, w := range l.since(n) {
			if w.manager != name {
				t.Errorf("%s wrote %s while %s was the leader", w.manager, w.request, name)
			}
		}
	}
	n := 0
	next := func() { n += len(l.since(n)) }

	first := start("first")
	create("weather")
	within(time.Minute, "weather")
	second := start("second")
	// The second is ready to take over when its caches are warm; a leader is there already, so it writes nothing.
	third := start("third")
	create("maps")
	within(time.Minute, "maps")
	only(0, "first")

	// Stopped gracefully: the lease is released, and the change made meanwhile is found.
	for _, waiting := range []*managerProcess{second, third} {
		controlplane.Eventually(t, time.Minute, func(context.Context) error {
			content, err := os.ReadFile(waiting.log)
			if err == nil && !strings.Contains(strings.ToLower(string(content)), "attempting to acquire leader lease") {
				err = fmt.Errorf("%s does not wait for the lease yet", waiting.name)
			}
			return err
		})
	}
	holder := func() string {
		t.Helper()
		lease := &coordinationv1.Lease{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: operator, Name: "bartizan.dev"}, lease); err != nil {
			t.Fatal(err)
		}
		return ptr.Deref(lease.Spec.HolderIdentity, "")
	}
	held := holder()
	if err := first.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-first.ended
	if code := first.command.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the manager ended with code %d when it was asked to", code)
	}
	if holder() == held {
		t.Error("the manager ended without releasing its lease")
	}
	l.cutOff("first")
	next()
	create("search")
	t.Logf("released: the next leader had finished the change %s later", within(time.Minute, "search").Round(time.Millisecond))
	leader, waiting := second, third
	if all := l.since(n); len(all) > 0 && all[0].manager == "third" {
		leader, waiting = third, second
	}
	only(n, leader.name)

	// Killed in the middle of a new server, just before its Deployment: the lease has to run out, and the work is finished.
	killed, once := make(chan time.Time, 1), sync.Once{}
	before := func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/deployments/mail") && r.Method != http.MethodGet {
			once.Do(func() {
				_ = leader.command.Process.Kill()
				killed <- l.cutOff(leader.name)
			})
		}
	}
	leader.before.Store(&before)
	create("mail")
	renewed := <-killed
	<-leader.ended
	if finished("mail") == nil {
		t.Fatal("the server was finished before the leader was killed: the test shows nothing")
	}
	next()
	t.Logf("killed: the next leader had finished what was half done %s later", within(time.Minute, "mail").Round(time.Millisecond))
	if took := l.since(n)[0].at.Sub(renewed); took < leaseDuration {
		t.Errorf("the next leader wrote %s after the last one had renewed its lease of %s", took, leaseDuration)
	}
	only(n, waiting.name)

	// Cut off from the API server, and alive: it gives up before its lease can be another's.
	last := start("last")
	leader = waiting
	l.cutOff(leader.name)
	next()
	create("files")
	within(90*time.Second, "files")
	select {
	case <-leader.ended:
	default:
		t.Errorf("%s, which is cut off, goes on although %s writes", leader.name, last.name)
	}
	only(n, last.name)
}
