// Package e2e tries everything on a real cluster, with real nodes, network policies, cert-manager and external-secrets, and
// with a real MCP client in pods. The tests find the cluster in the file that "go run ./hack/demo up" writes; "make e2e"
// does both.
package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// cluster is the cluster under test.
type cluster struct {
	client.Client
	config *rest.Config
	images map[string]string
	// builder builds images; load is the beginning of a command line that brings one to the testbed's node, and empty elsewhere.
	builder string
	load    []string
	// cache is where the demo keeps its programs.
	cache string
	// auditLog is the file with what was written to the API server; empty where there is none.
	auditLog string

	// others is the number of tests that run, but for the one of idleness.
	others atomic.Int32

	// kubeconfig and context are how programs reach the cluster; an empty kubeconfig is the user's own.
	kubeconfig, context string

	mu sync.Mutex
	// namespaces are those of each test, by its name.
	namespaces map[string][]string
}

var connect = sync.OnceValues(func() (*cluster, error) {
	path := os.Getenv("BARTIZAN_E2E")
	if path == "" {
		folder, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		path = filepath.Join(folder, "bartizan", "environment.json")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("no cluster to test on (%w): go run ./hack/demo up", err)
	}
	var environment struct {
		Kubeconfig string            `json:"kubeconfig"`
		Context    string            `json:"context"`
		AuditLog   string            `json:"auditLog"`
		Images     map[string]string `json:"images"`
		Builder    string            `json:"builder"`
		Load       []string          `json:"load"`
	}
	if err := json.Unmarshal(raw, &environment); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if environment.Kubeconfig != "" {
		rules.ExplicitPath = environment.Kubeconfig
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules,
		&clientcmd.ConfigOverrides{CurrentContext: environment.Context}).ClientConfig()
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 200, 400
	config.WarningHandler = rest.NoWarnings{} // Deletion lists every kind, deprecated ones too.
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, v1alpha1.AddToScheme, certmanager.AddToScheme, externalsecrets.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	return &cluster{
		Client: c, config: config, images: environment.Images, kubeconfig: environment.Kubeconfig, context: environment.Context,
		auditLog: environment.AuditLog, cache: filepath.Dir(path), builder: environment.Builder, load: environment.Load,
	}, err
})

// start is what a test begins with.
func start(t *testing.T) *cluster {
	t.Helper()
	c := reach(t)
	c.others.Add(1)
	t.Cleanup(func() { c.others.Add(-1) })
	return c
}

func reach(t *testing.T) *cluster {
	t.Helper()
	c, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// eventually polls until check succeeds, and fails the test when it does not within the limit. It returns how long it took.
func eventually(t *testing.T, what string, limit time.Duration, check func(context.Context) error) time.Duration {
	t.Helper()
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return time.Since(begun)
		}
		if ctx.Err() == nil {
			last = err // The one at the end may be of the deadline alone.
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, limit, errors.Join(last, err))
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// inBackground runs something beside the test until it ends.
func inBackground(t *testing.T, do func(context.Context)) {
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { do(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
}

// must is for what the test itself does.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// namespace makes a namespace that enforces the restricted Pod Security Standard, and removes it after the test.
func (c *cluster) namespace(t *testing.T, prefix string) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "e2e-" + prefix + "-",
		Labels:       map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}
	must(t, c.Create(t.Context(), namespace))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.namespaces == nil {
		c.namespaces = map[string][]string{}
	}
	if len(c.namespaces[t.Name()]) == 0 {
		t.Cleanup(func() { c.remove(t) })
	}
	c.namespaces[t.Name()] = append(c.namespaces[t.Name()], namespace.Name)
	return namespace.Name
}

// remove removes the namespaces of a test, all at once, and waits until they are gone: one that cannot go is a failure, too.
func (c *cluster) remove(t *testing.T) {
	c.mu.Lock()
	names := c.namespaces[t.Name()]
	c.mu.Unlock()
	// A namespace of hundreds of servers takes its time.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if t.Failed() {
		for _, name := range names {
			c.dump(t, name)
		}
	}
	for _, name := range names {
		err := c.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("removing namespace %s: %v", name, err)
		}
	}
	for _, name := range names {
		for !apierrors.IsNotFound(c.Get(ctx, client.ObjectKey{Name: name}, &corev1.Namespace{})) {
			select {
			case <-ctx.Done():
				t.Errorf("namespace %s is still there: %v", name, ctx.Err())
				return
			case <-time.After(time.Second):
			}
		}
	}
}

// create makes objects, and fails the test when it cannot.
func (c *cluster) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, object := range objects {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatalf("creating %T %s/%s: %v", object, object.GetNamespace(), object.GetName(), err)
		}
	}
}

// change reads an object, changes it and writes it, again after a conflict.
func change[T client.Object](t *testing.T, c *cluster, object T, mutate func(T)) {
	t.Helper()
	eventually(t, fmt.Sprintf("changing %T %s", object, object.GetName()), 30*time.Second, func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		mutate(object)
		return c.Update(ctx, object)
	})
}

// maxShown bounds how many servers are shown in full.
const maxShown = 5

// dump logs what helps to understand a failure.
func (c *cluster) dump(t *testing.T, namespace string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var servers v1alpha1.MCPServerList
	var clients v1alpha1.MCPClientList
	var pods corev1.PodList
	var events corev1.EventList
	for _, list := range []client.ObjectList{&servers, &clients, &pods, &events} {
		if err := c.List(ctx, list, client.InNamespace(namespace)); err != nil {
			t.Logf("listing %T: %v", list, err)
		}
	}
	shown := 0
	for _, server := range servers.Items {
		if meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionReady) || shown == maxShown {
			continue
		}
		shown++
		t.Logf("MCPServer %s: %s", server.Name, conditions(server.Status.Conditions))
	}
	for _, mcpClient := range clients.Items {
		t.Logf("MCPClient %s: %s", mcpClient.Name, conditions(mcpClient.Status.Conditions))
	}
	for _, pod := range pods.Items {
		t.Logf("Pod %s: %s", pod.Name, pod.Status.Phase)
		for _, status := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
			t.Logf("  container %s: ready %t, %d restarts, %s", status.Name, status.Ready, status.RestartCount, state(status.State))
			if log, err := c.log(ctx, pod.Namespace, pod.Name, status.Name); err == nil {
				t.Logf("  its log ends: %s", log)
			}
		}
	}
	for _, event := range events.Items {
		if event.Type == corev1.EventTypeWarning {
			t.Logf("event %s %s: %s: %s", event.InvolvedObject.Kind, event.InvolvedObject.Name, event.Reason, event.Message)
		}
	}
}

func state(s corev1.ContainerState) string {
	switch {
	case s.Waiting != nil:
		return "waiting: " + s.Waiting.Reason + " " + s.Waiting.Message
	case s.Terminated != nil:
		return "ended: " + s.Terminated.Reason + " " + s.Terminated.Message
	default:
		return "runs"
	}
}

func conditions(all []metav1.Condition) string {
	var text string
	for _, condition := range all {
		text += fmt.Sprintf("\n    %s=%s (%s): %s", condition.Type, condition.Status, condition.Reason, condition.Message)
	}
	return text
}
