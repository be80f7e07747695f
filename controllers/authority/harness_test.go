package authority_test

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	certmanagermeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers"
	"github.com/bartizan-dev/bartizan/controllers/authority"
	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/controllers/internal/optional"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
	"github.com/bartizan-dev/bartizan/internal/rollover"
	played "github.com/bartizan-dev/bartizan/test/certmanager"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(controlplane.Main(m))
}

const (
	lifetime = 360 * time.Hour
	overlap  = 12 * time.Hour
)

// world is an operator's namespace, one of clients and one of servers, on a real API server: the client "agent" of the one uses
// the server "github" of the other. What reads the authorities' bundles and Issuers is played as the real controllers do it.
type world struct {
	testing.TB
	config                *rest.Config
	client                client.Client
	operator, apps, tools string
	now                   time.Time
	// running is the configuration that the gate runs, serving what it shows, showing what the client shows, trusting what
	// the client trusts.
	running          gateconfig.Config
	serving, showing *x509.Certificate
	trusting         string
	// silent has the gate answer nothing.
	silent bool
	// restless has the configuration be another by the time that the gate answers.
	restless bool
}

func newWorld(t testing.TB, config *rest.Config) *world {
	t.Helper()
	c, err := client.New(config, client.Options{Scheme: controllers.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		TB: t, config: config, client: c, now: time.Now(),
		operator: controlplane.Namespace(t, config, "operator"), apps: controlplane.Namespace(t, config, "apps"), tools: controlplane.Namespace(t, config, "tools"),
	}
	w.must(c.Create(t.Context(), &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: w.tools, Name: "github"}, Spec: v1alpha1.MCPServerSpec{
		Image:     "registry.example/mcp@sha256:" + strings.Repeat("0", 64),
		Transport: v1alpha1.Transport{Type: v1alpha1.TransportStreamableHTTP, Port: 8080},
	}}))
	w.must(c.Create(t.Context(), &v1alpha1.MCPClient{ObjectMeta: metav1.ObjectMeta{Namespace: w.apps, Name: "agent"}, Spec: v1alpha1.MCPClientSpec{
		Servers: []v1alpha1.ServerRef{{Namespace: w.tools, Name: "github"}},
	}}))
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.tools, Name: "github-1", Labels: manifests.Labels("github")},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: manifests.GateContainer, Image: "registry.example/gate"}},
			Containers:     []corev1.Container{{Name: "server", Image: "registry.example/mcp"}}},
	}
	w.must(c.Create(t.Context(), pod))
	pod.Status.PodIP, pod.Status.PodIPs = "10.1.1.1", []corev1.PodIP{{IP: "10.1.1.1"}}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	w.must(c.Status().Update(t.Context(), pod))
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// Read is what the world's gate answers.
func (w *world) Read(_ context.Context, asked []gates.Gate) []gates.Answer {
	out := make([]gates.Answer, len(asked))
	for i := range asked {
		if w.silent || w.serving == nil {
			out[i].Err = errors.New("no answer")
			continue
		}
		out[i].Status = gatestatus.Status{Generation: w.running.Generation, CertificateSerial: w.serving.SerialNumber.Text(16), CertificateAuthority: hex.EncodeToString(w.serving.AuthorityKeyId)}
		if w.restless {
			out[i].Status.Generation = "another"
			out[i].Status.SystemAuthority = gatestatus.Digest(w.running.Status.Authority)
			out[i].Status.Authorities = map[string]string{w.apps: gatestatus.Digest(w.running.Authorities[w.apps])}
		}
	}
	return out
}

// transport counts writes and, after a number of them, loses the connection for good, as a crash does.
type transport struct {
	next   http.RoundTripper
	writes atomic.Int64
	limit  int64 // 0: none
}

var errCrashed = errors.New("crashed")

func (c *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if c.limit > 0 && c.writes.Load() >= c.limit {
		return nil, errCrashed
	}
	if request.Method != http.MethodGet {
		c.writes.Add(1)
	}
	return c.next.RoundTrip(request)
}

// operator is one process of the operator: the reconciler of authorities, with the cache that wrap makes; nil: none.
type operator struct {
	*authority.Reconciler
	*transport
	events *events.FakeRecorder
	// stale says that its cache lags behind.
	stale bool
}

func (w *world) start(crashAfter int, wrap func(client.Client) client.Client) *operator {
	w.Helper()
	config, counter := rest.CopyConfig(w.config), &transport{limit: int64(crashAfter)}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { counter.next = next; return counter })
	mgr, err := ctrl.NewManager(w.config, ctrl.Options{Scheme: controllers.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"}})
	w.must(err)
	apis, err := optional.New(mgr, optional.API{
		Name: "cert-manager", Version: certmanager.SchemeGroupVersion, Resources: []string{"certificates", "issuers"},
	})
	w.must(err)
	live, err := client.New(config, client.Options{Scheme: controllers.Scheme()})
	w.must(err)
	cached := live
	if wrap != nil {
		cached = wrap(live)
	}
	o := &operator{transport: counter, events: events.NewFakeRecorder(1000)}
	o.Reconciler = &authority.Reconciler{
		Client: cached, Live: live, APIs: apis, Gates: w, Recorder: o.events, Namespace: w.operator,
		WatchNamespaces: []string{w.operator, w.apps, w.tools},
		Schedule:        rollover.Schedule{Lifetime: lifetime, Overlap: overlap}, Clock: func() time.Time { return w.now },
	}
	authority.Prepare(o.Reconciler)
	return o
}

// reconcile looks at each namespace once.
func (o *operator) reconcile(w *world) error {
	for _, namespace := range []string{w.operator, w.apps, w.tools} {
		if _, err := o.Reconcile(context.Background(), ctrl.Request{NamespacedName: client.ObjectKey{Name: namespace}}); err != nil {
			return err
		}
	}
	return nil
}

// later waits until the API server dates what it makes later than all that is there, and returns that time.
func (w *world) later() time.Time {
	w.Helper()
	now := time.Now().Truncate(time.Second).Add(time.Second)
	controlplane.Eventually(w, time.Minute, func(context.Context) error {
		if time.Now().Before(now) {
			return errors.New("the second is not over")
		}
		return nil
	})
	if w.now.Before(now) {
		w.now = now
	}
	return now
}

// put makes an object, or brings it to what it should be.
func (w *world) put(object client.Object) {
	w.Helper()
	live := object.DeepCopyObject().(client.Object)
	err := w.client.Get(context.Background(), client.ObjectKeyFromObject(object), live)
	switch {
	case apierrors.IsNotFound(err):
		err = w.client.Create(context.Background(), object)
	case err == nil && !equality.Semantic.DeepDerivative(object, live):
		object.SetResourceVersion(live.GetResourceVersion())
		err = w.client.Update(context.Background(), object)
	}
	w.must(err)
}

// controllers do what those of servers and clients do about authorities.
func (w *world) controllers() {
	w.Helper()
	ctx := context.Background()
	bundle, err := authority.Bundle(ctx, w.client, w.tools, true)
	w.must(err)
	clients, err := authority.Bundle(ctx, w.client, w.apps, true)
	w.must(err)
	system, err := authority.SystemBundle(ctx, w.client, w.operator, true)
	w.must(err)
	w.put(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.tools, Name: "github-ca"}, Data: map[string]string{"ca.crt": bundle}})
	w.put(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.apps, Name: "agent." + w.tools, Labels: map[string]string{
			"app.kubernetes.io/managed-by": "bartizan", "app.kubernetes.io/name": "mcpclient", "bartizan.dev/servers-namespace": w.tools,
		}},
		Data: map[string][]byte{"ca.crt": []byte(bundle)},
	})
	server := &v1alpha1.MCPServer{}
	w.must(w.client.Get(ctx, client.ObjectKey{Namespace: w.tools, Name: "github"}, server))
	config := gateconfig.Config{
		Server:   gateconfig.Object{Namespace: w.tools, Name: "github"},
		Endpoint: gateconfig.Endpoint{URL: "https://github.tools.svc/mcp", Path: "/mcp", Hosts: []string{"github.tools.svc"}},
		Upstream: gateconfig.Upstream{Port: 8080, Path: "/mcp", Sessions: gateconfig.Stateless, MinRevision: gateconfig.Revision20250618},
		Limits:   gateconfig.Limits{RequestBytes: 1 << 20, Depth: 64}, Authentication: gateconfig.Authentication{APIKeys: gateconfig.Enabled, ClientCertificates: gateconfig.Optional},
		Authorities: map[string]string{w.apps: clients}, Status: gateconfig.Status{Authority: system, Identities: []string{"spiffe://operator"}},
		Clients: []gateconfig.Client{{Object: gateconfig.Object{Namespace: w.apps, Name: "agent"}}},
	}
	if clients == "" {
		config.Authorities = map[string]string{}
	}
	document, _, err := gateconfig.Seal(config)
	w.must(err)
	w.put(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.tools, Name: "github-gate"}, Data: map[string][]byte{gateconfig.ConfigFile: document}})
	for _, leaf := range []struct{ namespace, name string }{{w.tools, "github-tls"}, {w.apps, "agent." + w.tools + ".tls"}} {
		issuing, err := authority.InForce(ctx, w.client, leaf.namespace)
		w.must(err)
		w.put(&certmanager.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: leaf.namespace, Name: leaf.name}, Spec: certmanager.CertificateSpec{
			SecretName: leaf.name, DNSNames: []string{"github.tools.svc"}, Duration: &metav1.Duration{Duration: 24 * time.Hour},
			IssuerRef: certmanagermeta.IssuerReference{Group: "cert-manager.io", Kind: "Issuer", Name: issuing.Issuer},
		}})
	}
}

// certManager issues what is asked for, and again when another Issuer is asked. What has no Issuer waits for it.
func (w *world) certManager() {
	w.Helper()
	for _, namespace := range []string{w.operator, w.apps, w.tools} {
		all := &certmanager.CertificateList{}
		w.must(w.client.List(context.Background(), all, client.InNamespace(namespace)))
		slices.SortFunc(all.Items, func(a, b certmanager.Certificate) int { return strings.Compare(a.Name, b.Name) })
		for i := range all.Items {
			w.must(client.IgnoreNotFound(played.Issue(context.Background(), w.client, &all.Items[i], w.now)))
		}
	}
}

func (w *world) parse(secret *corev1.Secret) *x509.Certificate {
	w.Helper()
	block, _ := pem.Decode(secret.Data["tls.crt"])
	if block == nil {
		return nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	w.must(err)
	return c
}

func (w *world) secret(namespace, name string) *corev1.Secret {
	w.Helper()
	secret := &corev1.Secret{}
	w.must(client.IgnoreNotFound(w.client.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: name}, secret)))
	return secret
}

// kubelet brings what the API server has to the gate and to the client.
func (w *world) kubelet() {
	w.Helper()
	if document := w.secret(w.tools, "github-gate").Data[gateconfig.ConfigFile]; document != nil && !w.silent {
		config, err := gateconfig.Parse(document)
		w.must(err)
		w.running, w.serving = config, w.parse(w.secret(w.tools, "github-tls"))
	}
	w.showing = w.parse(w.secret(w.apps, "agent."+w.tools+".tls"))
	w.trusting = string(w.secret(w.apps, "agent."+w.tools).Data["ca.crt"])
}

// check makes the handshakes between client, gate and operator.
func (w *world) check(at string) {
	w.Helper()
	verify := func(what, bundle string, c *x509.Certificate) {
		w.Helper()
		pool, err := gateconfig.Pool(bundle)
		if err == nil {
			_, err = c.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: w.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		}
		if err != nil {
			w.Fatalf("%s: %s: %v", at, what, err)
		}
	}
	verify("the client does not trust the gate", w.trusting, w.serving)
	verify("the gate does not trust the client", w.running.Authorities[w.apps], w.showing)
	if !w.silent {
		verify("the gate does not trust the operator", w.running.Status.Authority, w.parse(w.secret(w.operator, authority.OperatorCertificate)))
	}
}

// renew has cert-manager renew every certificate but the authorities' own.
func (w *world) renew() {
	w.Helper()
	for _, leaf := range []struct{ namespace, name string }{{w.tools, "github-tls"}, {w.apps, "agent." + w.tools + ".tls"}, {w.operator, authority.OperatorCertificate}} {
		secret := w.secret(leaf.namespace, leaf.name)
		if c := w.parse(secret); c != nil && w.now.After(c.NotAfter.Add(-8*time.Hour)) {
			delete(secret.Annotations, certmanager.IssuerNameAnnotationKey)
			w.must(w.client.Update(context.Background(), secret))
		}
	}
	w.certManager()
}

// generations are those of the authorities of a namespace that have a Certificate, an Issuer or a Secret, as text.
func (w *world) generations(namespace, family string) string {
	w.Helper()
	var all []string
	certificates, issuers, secrets := &certmanager.CertificateList{}, &certmanager.IssuerList{}, &corev1.SecretList{}
	for _, list := range []client.ObjectList{certificates, issuers, secrets} {
		w.must(w.client.List(context.Background(), list, client.InNamespace(namespace)))
	}
	add := func(kind, name string) {
		if number, found := strings.CutPrefix(name, family); found {
			all = append(all, kind+number)
		}
	}
	for _, c := range certificates.Items {
		add("C", c.Name)
	}
	for _, i := range issuers.Items {
		add("I", i.Name)
	}
	for _, s := range secrets.Items {
		add("S", s.Name)
	}
	slices.Sort(all)
	return fmt.Sprint(all)
}

// rollover is what an authority's Certificate says to people.
func (w *world) rollover(namespace, name string) string {
	w.Helper()
	c := &certmanager.Certificate{}
	w.must(w.client.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: name}, c))
	return c.Annotations[authority.AnnotationRollover]
}
