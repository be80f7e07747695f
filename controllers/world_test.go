package controllers_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	"github.com/go-logr/logr"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(controlplane.Main(m))
}

const (
	gateImage  = "registry.example/bartizan/authproxy@sha256:1111111111111111111111111111111111111111111111111111111111111111"
	otherImage = "registry.example/bartizan/authproxy@sha256:2222222222222222222222222222222222222222222222222222222222222222"
	image      = "registry.example/mcp/everything@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	soon       = 30 * time.Second
)

// Options and Config are what tests change of an operator.
type (
	Options = controllers.Options
	Config  = rest.Config
)

// world is a namespace for an operator and one for servers, on a real API server, with the parts played that are not there:
// see actors_test.go.
type world struct {
	t      testing.TB
	config *rest.Config
	client.Client
	operator, namespace string
	gates               *gatesActor
	attacks             *attackActor
}

func newWorld(t *testing.T, options ...controlplane.Option) *world {
	t.Helper()
	kubernetes := controlplane.Start(t, options...)
	kubernetes.QPS = -1
	c, err := client.New(kubernetes, client.Options{Scheme: controllers.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, config: kubernetes, Client: c,
		operator:  controlplane.Namespace(t, kubernetes, "operator"),
		namespace: controlplane.Namespace(t, kubernetes, "team-a", "pod-security.kubernetes.io/enforce", "restricted"),
	}
	w.gates = &gatesActor{client: c}
	w.attacks = &attackActor{broken: map[string]bool{}}
	return w
}

// in is the world for a subtest.
func (w *world) in(t testing.TB) *world {
	inner := *w
	inner.t = t
	return &inner
}

// run runs an operator until the returned function is called, and at most as long as the test.
func (w *world) run(change ...func(*controllers.Options, *rest.Config)) (stop func()) {
	w.t.Helper()
	kubernetes := rest.CopyConfig(w.config)
	o := controllers.Options{
		Namespace: w.operator, PodLabels: map[string]string{"app.kubernetes.io/name": "bartizan"}, GateImage: gateImage,
		WatchNamespaces: []string{w.namespace}, RolloutBudget: 5, Gates: w.gates, Attack: w.attacks.attack, Rest: time.Hour, Retry: 200 * time.Millisecond,
		GrantableRules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list"}}, {APIGroups: []string{"batch"}, Resources: []string{"jobs"}, Verbs: []string{"get"}}},
	}
	for _, c := range change {
		c(&o, kubernetes)
	}
	skip := true
	mgr, err := ctrl.NewManager(kubernetes, ctrl.Options{
		Scheme: controllers.Scheme(), Cache: controllers.CacheOptions(o.Namespace, o.WatchNamespaces),
		Client:  client.Options{FieldValidation: "Strict"},
		Metrics: server.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		Controller: config.Controller{SkipNameValidation: &skip},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := controllers.Setup(ctx, mgr, o); err != nil {
		cancel()
		w.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				w.t.Errorf("the manager: %v", err)
			}
		})
	}
	w.t.Cleanup(stop)
	return stop
}

// writes counts the requests of an operator that write, and can make those after a number of them fail, as if the operator
// had been killed.
type writes struct {
	mutex    sync.Mutex
	requests []string
	limit    int // 0: none
}

func (c *writes) use(_ *controllers.Options, kubernetes *rest.Config) {
	kubernetes.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			if c.count(request) {
				return next.RoundTrip(request)
			}
			return nil, fmt.Errorf("this operator is dead")
		})
	})
}

func (c *writes) count(request *http.Request) (allowed bool) {
	// Events are told to people and change nothing.
	if request.Method == http.MethodGet || strings.Contains(request.URL.Path, "/events") {
		return true
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.limit > 0 && len(c.requests) >= c.limit {
		return false
	}
	c.requests = append(c.requests, request.Method+" "+strings.TrimPrefix(request.URL.Path, "/apis/"))
	return true
}

func (c *writes) all() []string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return append([]string(nil), c.requests...)
}

// kinds are the resources that were written, in their order.
func (c *writes) kinds() []string {
	var kinds []string
	for _, request := range c.all() {
		parts := strings.Split(request, "/")
		for i, part := range parts {
			if part == "namespaces" && i+2 < len(parts) {
				kinds = append(kinds, path.Join(parts[i+2:]...))
			}
		}
	}
	return kinds
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// server is an MCPServer of the least fields.
func (w *world) server(name string) *v1alpha1.MCPServer {
	return &v1alpha1.MCPServer{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec: v1alpha1.MCPServerSpec{
			Image:     image,
			Transport: v1alpha1.Transport{Type: v1alpha1.TransportStreamableHTTP, Port: 8080},
		},
	}
}

func (w *world) create(objects ...client.Object) {
	w.t.Helper()
	for _, object := range objects {
		if err := w.Create(w.t.Context(), object); err != nil {
			w.t.Fatalf("create %T %s: %v", object, object.GetName(), err)
		}
	}
}

// update changes an object, however often somebody else is faster.
func update[T client.Object](w *world, object T, change func(T)) {
	w.t.Helper()
	controlplane.Eventually(w.t, soon, func(ctx context.Context) error {
		if err := w.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		change(object)
		return w.Update(ctx, object)
	})
}

func (w *world) get(name string, object client.Object) error {
	return w.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, object)
}

// condition waits until a server has a condition.
func (w *world) condition(name, kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	w.t.Helper()
	var found metav1.Condition
	controlplane.Eventually(w.t, soon, func(context.Context) error {
		s := &v1alpha1.MCPServer{}
		if err := w.get(name, s); err != nil {
			return err
		}
		c := meta.FindStatusCondition(s.Status.Conditions, kind)
		if c == nil || c.Status != status || c.Reason != reason || c.ObservedGeneration != s.Generation {
			return fmt.Errorf("MCPServer %s: want %s=%s %s at generation %d, have %s", name, kind, status, reason, s.Generation, describe(s))
		}
		found = *c
		return nil
	})
	return found
}

func (w *world) ready(name string) {
	w.t.Helper()
	w.condition(name, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
}

func describe(s *v1alpha1.MCPServer) string {
	var all []string
	for _, c := range s.Status.Conditions {
		all = append(all, fmt.Sprintf("%s=%s %s@%d (%s)", c.Type, c.Status, c.Reason, c.ObservedGeneration, c.Message))
	}
	return strings.Join(all, "\n  ")
}

// store is a SecretStore; what is in it does not matter here.
func (w *world) store(name string) *externalsecrets.SecretStore {
	return &externalsecrets.SecretStore{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec:       externalsecrets.SecretStoreSpec{Provider: &externalsecrets.SecretStoreProvider{Fake: &externalsecrets.FakeProvider{Data: []externalsecrets.FakeProviderData{{Key: "k", Value: "v"}}}}},
	}
}
