package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/controllers"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
	"github.com/bartizan-dev/bartizan/internal/probe/brokengate"
	played "github.com/bartizan-dev/bartizan/test/certmanager"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// world has a namespace for the operator, some for servers, and the parts that are played.
type world struct {
	client.Client
	config  *rest.Config
	system  string
	servers []string
	settle  func() // ends what is played but for the gates

	mutex sync.Mutex
	gates map[string]*gate // by pod
	// failed is what could not be played the last time, by namespace.
	failed map[string]error
}

func newWorld(t *testing.T) *world {
	t.Helper()
	config := controlplane.Start(t)
	config.QPS = -1
	c, err := client.New(config, client.Options{Scheme: controllers.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Client: c, config: config, system: controlplane.Namespace(t, config, "operator"), gates: map[string]*gate{}, failed: map[string]error{}}
	for range *namespaces {
		w.servers = append(w.servers, controlplane.Namespace(t, config, "team"))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for _, namespace := range append([]string{w.system}, w.servers...) {
				// What fails is tried again.
				failed := errors.Join(w.issue(ctx, namespace), w.deploy(ctx, namespace))
				w.mutex.Lock()
				w.failed[namespace] = failed
				w.mutex.Unlock()
			}
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	w.settle = func() { cancel(); <-done }
	t.Cleanup(func() {
		w.settle()
		if t.Failed() {
			t.Logf("what could not be played: %v", w.failed)
		}
		for _, g := range w.gates {
			g.close()
		}
	})
	return w
}

func (w *world) create(t *testing.T, object client.Object) {
	t.Helper()
	if err := w.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

// issue plays cert-manager.
func (w *world) issue(ctx context.Context, namespace string) error {
	all := &certmanager.CertificateList{}
	if err := w.List(ctx, all, client.InNamespace(namespace)); err != nil {
		return err
	}
	for i := range all.Items {
		if len(all.Items[i].Status.Conditions) == 0 {
			_ = played.Issue(ctx, w, &all.Items[i], time.Now())
		}
	}
	return nil
}

// deploy plays the controllers of workloads, and the kubelet: a Deployment has one pod, with a gate at its address.
func (w *world) deploy(ctx context.Context, namespace string) error {
	all := &appsv1.DeploymentList{}
	if err := w.List(ctx, all, client.InNamespace(namespace)); err != nil {
		return err
	}
	for i := range all.Items {
		d := &all.Items[i]
		if d.Status.ObservedGeneration == d.Generation {
			continue
		}
		if err := w.pod(ctx, d); err != nil {
			return err
		}
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
		if err := w.Status().Update(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) pod(ctx context.Context, d *appsv1.Deployment) error {
	old := &corev1.PodList{}
	if err := w.List(ctx, old, client.InNamespace(d.Namespace), client.MatchingLabels(d.Spec.Selector.MatchLabels)); err != nil {
		return err
	}
	for i := range old.Items {
		if err := w.Delete(ctx, &old.Items[i], client.GracePeriodSeconds(0)); err != nil {
			return err
		}
		w.mutex.Lock()
		if g := w.gates[old.Items[i].Namespace+"/"+old.Items[i].Name]; g != nil {
			g.close()
			delete(w.gates, old.Items[i].Namespace+"/"+old.Items[i].Name)
		}
		w.mutex.Unlock()
	}
	pod := &corev1.Pod{Spec: d.Spec.Template.Spec}
	pod.Namespace, pod.GenerateName = d.Namespace, d.Name+"-"
	pod.Labels, pod.Annotations = d.Spec.Template.Labels, d.Spec.Template.Annotations
	if err := w.Create(ctx, pod); err != nil {
		return err
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	// 127.0.0.0/8 is all of this machine, and of nobody else.
	n := len(w.gates)
	for slices.ContainsFunc(slices.Collect(maps.Values(w.gates)), func(g *gate) bool { return g.address == address(n) }) {
		n++
	}
	g, err := w.start(ctx, d, address(n))
	if err != nil {
		return err
	}
	w.gates[pod.Namespace+"/"+pod.Name] = g
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: g.address, PodIPs: []corev1.PodIP{{IP: g.address}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}
	return w.Status().Update(ctx, pod)
}

func address(n int) string { return fmt.Sprintf("127.77.%d.%d", n/250, 1+n%250) }

// count is what reached a gate.
type count struct{ requests, runs int }

// gate is one that is played.
type gate struct {
	address   string
	listeners []net.Listener
	mutex     sync.Mutex
	count     count
}

func (g *gate) close() {
	for _, l := range g.listeners {
		_ = l.Close()
	}
}

// asked is what has reached each gate.
func (w *world) asked() map[string]count {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	all := map[string]count{}
	for name, g := range w.gates {
		g.mutex.Lock()
		all[name] = g.count
		g.mutex.Unlock()
	}
	return all
}

// start plays a gate at an address, as its Secrets have it.
func (w *world) start(ctx context.Context, d *appsv1.Deployment, at string) (*gate, error) {
	config, err := w.gateConfig(ctx, d)
	if err != nil {
		return nil, err
	}
	serving := &corev1.Secret{}
	if err := w.Get(ctx, client.ObjectKey{Namespace: d.Namespace, Name: d.Name + "-tls"}, serving); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(serving.Data[corev1.TLSCertKey], serving.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, err
	}
	authority, err := gateconfig.Pool(config.Status.Authority)
	if err != nil {
		return nil, err
	}
	g := &gate{address: at}
	for _, port := range []int{gateconfig.GatePort, gateconfig.StatusPort} {
		l, err := net.Listen("tcp", net.JoinHostPort(at, strconv.Itoa(port)))
		if err != nil {
			g.close()
			return nil, err
		}
		g.listeners = append(g.listeners, l)
	}
	refusing, err := brokengate.New(config)
	if err != nil {
		return nil, err
	}
	refusing.Broken, refusing.Seen = func() string { return "" }, g.see
	go func() { _ = refusing.Serve(g.listeners[0], pair, pair) }()
	account := &http.Server{
		ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority},
		Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			if r.URL.Path == gatestatus.InventoryPath {
				_ = json.NewEncoder(out).Encode(gatestatus.Inventory{})
				return
			}
			now, err := w.gateConfig(r.Context(), d)
			if err != nil {
				out.WriteHeader(http.StatusInternalServerError)
				return
			}
			status := gatestatus.Status{
				Version: "played", Boot: at, Generation: now.Generation, SystemAuthority: gatestatus.Digest(now.Status.Authority),
				Authorities: map[string]string{}, CertificateSerial: pair.Leaf.SerialNumber.Text(16), CertificateNotAfter: pair.Leaf.NotAfter,
				UpstreamReady: true, Audit: &gatestatus.AuditHead{Seq: 1, Hash: "0f"}, ServerRequests: []gatestatus.ServerRequest{},
			}
			for namespace, bundle := range now.Authorities {
				status.Authorities[namespace] = gatestatus.Digest(bundle)
			}
			_ = json.NewEncoder(out).Encode(status)
		}),
	}
	go func() { _ = account.ServeTLS(g.listeners[1], "", "") }()
	return g, nil
}

func (w *world) gateConfig(ctx context.Context, d *appsv1.Deployment) (gateconfig.Config, error) {
	secret := &corev1.Secret{}
	if err := w.Get(ctx, client.ObjectKey{Namespace: d.Namespace, Name: d.Name + "-gate"}, secret); err != nil {
		return gateconfig.Config{}, err
	}
	return gateconfig.Parse(secret.Data[gateconfig.ConfigFile])
}

func (g *gate) see(body []byte) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.count.requests++
	if bytes.Contains(body, []byte(`"tools/list"`)) && !strings.Contains(string(body), "zz") {
		g.count.runs++
	}
}
