package mcpclient_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	certmanagermeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	pushsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1alpha1"
	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/controllers/internal/optional"
	"github.com/bartizan-dev/bartizan/controllers/mcpclient"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(funcr.New(func(_, args string) { fmt.Fprintln(os.Stderr, args) }, funcr.Options{}))
	os.Exit(controlplane.Main(m))
}

func newScheme(t testing.TB) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, certmanager.AddToScheme, externalsecrets.AddToScheme, pushsecrets.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

var certManagerAPI = optional.API{
	Name: "cert-manager", Version: certmanager.SchemeGroupVersion, Resources: []string{"certificates", "issuers"},
	Cached: []client.Object{&certmanager.Certificate{}, &certmanager.Issuer{}},
}

var externalSecretsAPI = optional.API{
	Name: "external-secrets", Version: externalsecrets.SchemeGroupVersion, Resources: []string{"externalsecrets", "secretstores"},
	Cached: []client.Object{&externalsecrets.ExternalSecret{}},
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

// operator is one process of the operator: the reconciler without caches, and what it wrote.
type operator struct {
	*mcpclient.Reconciler
	*transport
	events *events.FakeRecorder
}

// world is a namespace of clients and some of servers, on a real API server.
type world struct {
	testing.TB
	config *rest.Config
	client client.Client
	// apps is the namespace of the client "agent".
	apps string
	now  time.Time
	// answers are the statuses of the gates that answer, by address.
	answers map[string]gatestatus.Status
}

// Read is what the world's gates answer.
func (w *world) Read(_ context.Context, asked []gates.Gate) []gates.Answer {
	out := make([]gates.Answer, len(asked))
	for i, g := range asked {
		status, ok := w.answers[g.Address]
		out[i].Status = status
		if !ok {
			out[i].Err = errors.New("no answer")
		}
	}
	return out
}

func newWorld(t testing.TB, config *rest.Config) *world {
	t.Helper()
	c, err := client.New(config, client.Options{Scheme: newScheme(t)})
	if err != nil {
		t.Fatal(err)
	}
	return &world{TB: t, config: config, client: c, apps: controlplane.Namespace(t, config, "apps"), now: time.Now(), answers: map[string]gatestatus.Status{}}
}

// operator starts the operator; it crashes after a number of writes, unless that is 0.
func (w *world) operator(crashAfter int) *operator {
	w.Helper()
	return w.start(crashAfter, certManagerAPI, externalSecretsAPI, mcpclient.PushSecrets)
}

// bare is the operator on a cluster without external-secrets.
func (w *world) bare() *operator {
	w.Helper()
	return w.start(0, certManagerAPI)
}

func (w *world) start(crashAfter int, known ...optional.API) *operator {
	w.Helper()
	config := rest.CopyConfig(w.config)
	counter := &transport{limit: int64(crashAfter)}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { counter.next = next; return counter })
	mgr, err := ctrl.NewManager(w.config, ctrl.Options{Scheme: newScheme(w), Metrics: metricsserver.Options{BindAddress: "0"}})
	if err != nil {
		w.Fatal(err)
	}
	apis, err := optional.New(mgr, known...)
	if err != nil {
		w.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: newScheme(w)})
	if err != nil {
		w.Fatal(err)
	}
	recorder := events.NewFakeRecorder(1000)
	r := &mcpclient.Reconciler{
		Client: c, Live: c, APIs: apis, Gates: w, Recorder: recorder, Clock: func() time.Time { return w.now },
	}
	mcpclient.Prepare(r)
	return &operator{Reconciler: r, transport: counter, events: recorder}
}

// reconcile reconciles the client once; "looking again" counts as the same time.
func (o *operator) reconcile(w *world) (ctrl.Result, error) {
	return o.Reconcile(context.Background(), ctrl.Request{NamespacedName: client.ObjectKey{Namespace: w.apps, Name: "agent"}})
}

// run reconciles with a new operator, which must not fail.
func (w *world) run() *operator {
	w.Helper()
	o := w.operator(0)
	if _, err := o.reconcile(w); err != nil {
		w.Fatalf("reconcile: %v", err)
	}
	return o
}

func (w *world) create(object client.Object) {
	w.Helper()
	if err := w.client.Create(context.Background(), object); err != nil {
		w.Fatal(err)
	}
}

func (w *world) get(namespace, name string, object client.Object) bool {
	w.Helper()
	err := w.client.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: name}, object)
	if client.IgnoreNotFound(err) != nil {
		w.Fatal(err)
	}
	return !apierrors.IsNotFound(err)
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// server makes an MCPServer with the bundle that its controller makes, in a namespace.
func (w *world) server(namespace, name, bundle string) *v1alpha1.MCPServer {
	w.Helper()
	s := &v1alpha1.MCPServer{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.MCPServerSpec{
			Image:     "registry.example/mcp@sha256:" + strings.Repeat("0", 64),
			Transport: v1alpha1.Transport{Type: v1alpha1.TransportStreamableHTTP, Port: 8080},
		},
	}
	w.create(s)
	w.create(&corev1.ConfigMap{
		ObjectMeta: owned(s, "MCPServer", manifests.CABundleName(name), manifests.Labels(name)),
		Data:       map[string]string{manifests.CABundleKey: bundle},
	})
	return s
}

func owned(owner client.Object, kind, name string, labels map[string]string) metav1.ObjectMeta {
	yes := true
	return metav1.ObjectMeta{
		Namespace: owner.GetNamespace(), Name: name, Labels: labels,
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: kind, Name: owner.GetName(), UID: owner.GetUID(), Controller: &yes,
		}},
	}
}

// grant makes a policy "readers" that lets the client "agent" use all servers of a namespace.
func (w *world) grant(namespace string) *v1alpha1.MCPAccessPolicy {
	w.Helper()
	p := &v1alpha1.MCPAccessPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "readers"},
		Spec: v1alpha1.MCPAccessPolicySpec{
			Servers: v1alpha1.ServerSelection{Selector: &metav1.LabelSelector{}},
			Rules: []v1alpha1.AccessRule{{
				Tools: []string{"list"},
				Subjects: []v1alpha1.Subject{{
					Type: v1alpha1.SubjectMCPClient, MCPClient: &v1alpha1.MCPClientSubject{Namespace: w.apps, Name: "agent"},
				}},
			}},
		},
	}
	w.create(p)
	return p
}

// agent makes the client "agent", which names servers given as "namespace/name".
func (w *world) agent(servers ...string) *v1alpha1.MCPClient {
	w.Helper()
	c := &v1alpha1.MCPClient{ObjectMeta: metav1.ObjectMeta{Namespace: w.apps, Name: "agent"}}
	for _, s := range servers {
		namespace, name, _ := strings.Cut(s, "/")
		c.Spec.Servers = append(c.Spec.Servers, v1alpha1.ServerRef{Namespace: namespace, Name: name})
	}
	w.create(c)
	return c
}

// certManager does what cert-manager does about the Certificates of the client's namespace.
func (w *world) certManager() {
	w.Helper()
	list := certmanager.CertificateList{}
	w.must(w.client.List(context.Background(), &list, client.InNamespace(w.apps)))
	for i := range list.Items {
		c := &list.Items[i]
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: c.Namespace, Name: c.Spec.SecretName, Labels: c.Spec.SecretTemplate.Labels,
				Annotations: map[string]string{certmanager.CertificateNameKey: c.Name},
			},
			Type: corev1.SecretTypeTLS,
			Data: map[string][]byte{corev1.TLSCertKey: []byte("certificate"), corev1.TLSPrivateKeyKey: []byte("key")},
		}
		if err := w.client.Create(context.Background(), secret); err != nil && !apierrors.IsAlreadyExists(err) {
			w.Fatal(err)
		}
		c.Status.Conditions = []certmanager.CertificateCondition{{Type: certmanager.CertificateConditionReady, Status: certmanagermeta.ConditionTrue}}
		w.must(w.client.Status().Update(context.Background(), c))
	}
}

// gates do what the controller of a server and its gates do: the configuration with the client's keys is in force.
func (w *world) gates(namespace, name string) gateconfig.Config {
	w.Helper()
	s := &v1alpha1.MCPServer{}
	if !w.get(namespace, name, s) {
		w.Fatal("no server")
	}
	config := w.configuration(s)
	sealed, err := manifests.Seal(config)
	w.must(err)
	secret := &corev1.Secret{
		ObjectMeta: owned(s, "MCPServer", manifests.GateSecretName(name), manifests.Labels(name)),
		Data:       map[string][]byte{gateconfig.ConfigFile: sealed.Document},
	}
	if !w.get(namespace, secret.Name, &corev1.Secret{}) {
		w.create(secret)
	} else {
		w.must(w.client.Update(context.Background(), secret))
	}
	// What runs already reads it, unless it is cut off.
	pods := corev1.PodList{}
	w.must(w.client.List(context.Background(), &pods, client.InNamespace(namespace), client.MatchingLabels(manifests.Selector(name))))
	for _, pod := range pods.Items {
		before, ok := w.answers[pod.Status.PodIP]
		if !ok {
			continue
		}
		after := gatestatus.Status{Generation: sealed.Generation}
		for _, c := range config.Clients {
			for _, k := range c.Keys {
				known := gatestatus.Key{ID: k.ID}
				for _, b := range before.Keys {
					if b.ID == k.ID {
						known.LastUsed = b.LastUsed
					}
				}
				after.Keys = append(after.Keys, known)
			}
		}
		w.answers[pod.Status.PodIP] = after
	}
	config.Generation = sealed.Generation
	return config
}

func (w *world) configuration(s *v1alpha1.MCPServer) gateconfig.Config {
	w.Helper()
	policies, clients := v1alpha1.MCPAccessPolicyList{}, v1alpha1.MCPClientList{}
	w.must(w.client.List(context.Background(), &policies, client.InNamespace(s.Namespace)))
	w.must(w.client.List(context.Background(), &clients))
	result := access.Build(access.Input{Server: s, Policies: policies.Items, Clients: clients.Items, Now: w.now})
	config, err := manifests.GateConfig(s, "", result, gateconfig.Status{}, nil)
	w.must(err)
	return config
}

// accepts says whether a gate of the server would accept a key now.
func (w *world) accepts(namespace, name string, key []byte) bool {
	w.Helper()
	s := &v1alpha1.MCPServer{}
	if !w.get(namespace, name, s) {
		return false
	}
	for _, c := range w.configuration(s).Clients {
		if c.Namespace == w.apps && c.Name == "agent" && slices.ContainsFunc(c.Keys, func(k gateconfig.Key) bool {
			return k.SHA256 == keys.Hash(string(key)) && w.now.Before(k.NotAfter)
		}) {
			return true
		}
	}
	return false
}

// key is what the client's Secret for the servers of a namespace holds; nil without one.
func (w *world) key(servers string) []byte {
	w.Helper()
	s := &corev1.Secret{}
	if !w.get(w.apps, mcpclient.SecretName("agent", servers), s) {
		return nil
	}
	return s.Data[mcpclient.DataAPIKey]
}

func (w *world) status() v1alpha1.MCPClientStatus {
	w.Helper()
	c := &v1alpha1.MCPClient{}
	if !w.get(w.apps, "agent", c) {
		w.Fatal("no client")
	}
	return c.Status
}

// condition is "status reason" of a condition of the client; empty without it.
func (w *world) condition(kind string) string {
	w.Helper()
	c := meta.FindStatusCondition(w.status().Conditions, kind)
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s %s", c.Status, c.Reason)
}

// keyStates are the states of the recorded keys for the servers of a namespace, the newest first.
func (w *world) keyStates(servers string) string {
	w.Helper()
	for _, c := range w.status().Credentials {
		if c.Namespace != servers {
			continue
		}
		slices.SortStableFunc(c.Keys, func(a, b v1alpha1.ClientKey) int { return b.IssuedAt.Compare(a.IssuedAt.Time) })
		var out []string
		for _, k := range c.Keys {
			out = append(out, string(k.State))
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	return ""
}

// age makes all recorded keys older, as if that time had passed.
func (w *world) age(d time.Duration) {
	w.Helper()
	c := &v1alpha1.MCPClient{}
	w.get(w.apps, "agent", c)
	for i := range c.Status.Credentials {
		for j := range c.Status.Credentials[i].Keys {
			k := &c.Status.Credentials[i].Keys[j]
			k.IssuedAt, k.NotAfter = metav1.NewTime(k.IssuedAt.Add(-d)), metav1.NewTime(k.NotAfter.Add(-d))
			for _, t := range []*metav1.Time{k.ActivatedAt, k.ReplacedAt} {
				if t != nil {
					t.Time = t.Add(-d)
				}
			}
		}
	}
	w.must(w.client.Status().Update(context.Background(), c))
}

// authorityPEM makes the certificate of an authority.
func authorityPEM(t testing.TB, name string) string {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
