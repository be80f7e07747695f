package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

var now = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

func pod(namespace, name, image string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "uid-" + "x"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image, Ports: []corev1.ContainerPort{{ContainerPort: 8000}}}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.1.2.3", HostIP: "10.0.0.1"},
	}
}

// finder looks at these objects; fail says for which lists it may not.
func finder(t *testing.T, fail func(client.ObjectList) error, objects ...client.Object) *Finder {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			if fail != nil {
				if err := fail(list); err != nil {
					return err
				}
			}
			if kind := list.GetObjectKind().GroupVersionKind(); strings.HasPrefix(kind.Kind, "MCP") && kind.Group != v1alpha1.GroupVersion.Group || kind.Kind == "VirtualMCPServerList" {
				return apierrors.NewNotFound(schema.GroupResource{Group: kind.Group}, "")
			}
			return c.List(ctx, list, options...)
		},
	}).Build()
	f := &Finder{Live: c, Interval: time.Minute, Now: func() time.Time { return now }}
	f.init()
	return f
}

// TestUnmanaged: what is found in the server's namespace is named, what is elsewhere is not, and what could not be looked at is
// never taken for clean.
func TestUnmanaged(t *testing.T) {
	server := &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: "tools", Name: "files"}}
	managed := pod("tools", "files-1", "ghcr.io/example/files-mcp-server:1")
	managed.Labels = map[string]string{"bartizan.dev/server": "files"}
	managed.Spec.Containers = append(managed.Spec.Containers, corev1.Container{Name: v1alpha1.GateContainer, Image: "registry.example/gate"})
	ended := pod("tools", "ended", "ghcr.io/example/old-mcp-server:1")
	ended.Status.Phase = corev1.PodSucceeded
	clean := []client.Object{server, managed, ended, pod("web", "shop", "nginx:1")}
	forbidden := func(list client.ObjectList) error {
		if _, ok := list.(*corev1.ServiceList); ok {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "", errors.New("no"))
		}
		return nil
	}
	broken := func(list client.ObjectList) error {
		if _, ok := list.(*corev1.PodList); ok {
			return errors.New("secret-detail: connection refused")
		}
		return nil
	}
	for _, test := range []struct {
		name    string
		fail    func(client.ObjectList) error
		objects []client.Object
		watch   []string
		want    string
	}{
		{"clean", nil, clean, nil, "known [] [] false"},
		{"here", nil, append(slices.Clone(clean), pod("tools", "wild-mcp-server", "mcp/wild")), nil, "known [Pod tools/wild-mcp-server] [] false"},
		{"it looks like one", nil, append(slices.Clone(clean), pod("tools", "notes-mcp", "registry.example/notes-mcp:1")), nil, "known [] [Pod tools/notes-mcp] false"},
		{"elsewhere", nil, append(slices.Clone(clean), pod("other", "wild-mcp-server", "mcp/wild")), nil, "known [] [] true"},
		{"what looks like one elsewhere is nobody's business here", nil, append(slices.Clone(clean), pod("other", "notes-mcp", "registry.example/notes-mcp:1")), nil, "known [] [] false"},
		{"some namespaces only", nil, clean, []string{"tools"}, "unknown the operator sees the namespaces that it watches, and not the cluster"},
		{"one that is found counts although not all is seen", forbidden, append(slices.Clone(clean), pod("tools", "wild-mcp-server", "mcp/wild")), nil, "known [Pod tools/wild-mcp-server] [] false"},
		{"no right", forbidden, clean, nil, "unknown the operator may not list [services]"},
		{"an error", broken, clean, nil, "unknown the operator could not look for MCP servers without a gate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := finder(t, test.fail, test.objects...)
			f.Namespaces = test.watch
			if got := f.Unmanaged("tools"); got.Known || !strings.Contains(got.Missing, "not looked") {
				t.Errorf("before it looked: %+v", got)
			}
			_ = f.look(t.Context()) // the error is for the log
			got := f.Unmanaged("tools")
			said := "unknown " + got.Missing
			if got.Known {
				said = fmt.Sprint("known ", got.Value.Certain, " ", got.Value.Likely, " ", got.Value.Elsewhere)
				if got.Kind != posture.Observed || !got.Time.Equal(now) {
					t.Errorf("%+v", got)
				}
			}
			if said != test.want {
				t.Errorf("%s, want %s", said, test.want)
			}
		})
	}
}

// TestChanged: servers are told when something else is found, and not otherwise.
func TestChanged(t *testing.T) {
	f := finder(t, nil)
	told := func() bool {
		t.Helper()
		if err := f.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-f.Changed():
			return true
		default:
			return false
		}
	}
	if !told() || told() {
		t.Error("the first look is told, the second is not")
	}
	wild := pod("tools", "wild-mcp-server", "mcp/wild")
	if err := f.Live.(client.Client).Create(t.Context(), wild); err != nil {
		t.Fatal(err)
	}
	if !told() || told() {
		t.Error("what is new is told once")
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&collector{f})
	if families, err := registry.Gather(); err != nil || len(families) != 1 || len(families[0].GetMetric()) != 3 {
		t.Errorf("%v %v", families, err)
	}
	if err := f.Live.(client.Client).Delete(t.Context(), wild); err != nil {
		t.Fatal(err)
	}
	if !told() {
		t.Error("what is gone is told")
	}
}

// TestHandshakes: only what is uncertain is asked, once, at the address that the kubelet tells.
func TestHandshakes(t *testing.T) {
	uncertain, certain, own := pod("tools", "notes-mcp", "registry.example/notes-mcp:1"), pod("tools", "wild-mcp-server", "mcp/wild"), pod("tools", "shop", "nginx:1")
	hostile := pod("tools", "node-mcp", "registry.example/notes-mcp:1")
	uncertain.UID, certain.UID, own.UID, hostile.UID = "1", "2", "3", "4"
	hostile.Spec.HostNetwork, hostile.Status.PodIP = true, "10.0.0.1"
	f := finder(t, nil, uncertain, certain, own, hostile)
	var asked []Address
	f.Handshake = func(_ context.Context, at Address) bool {
		asked = append(asked, at)
		return true
	}
	for range 2 {
		if err := f.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if want := []Address{{netip.MustParseAddr("10.1.2.3"), 8000}}; !slices.Equal(asked, want) {
		t.Errorf("asked %v", asked)
	}
	if got := f.Unmanaged("tools").Value; !slices.Contains(got.Certain, "Pod tools/notes-mcp") || !slices.Contains(got.Likely, "Pod tools/node-mcp") {
		t.Errorf("%+v", got)
	}
}

func TestAskable(t *testing.T) {
	for _, test := range []struct {
		ip, host string
		want     bool
	}{
		{"10.1.2.3", "10.0.0.1", true}, {"fd00::5", "fd00::1", true}, {"10.0.0.1", "10.0.0.1", false}, {"127.0.0.1", "10.0.0.1", false}, {"::1", "x", false},
		{"169.254.169.254", "10.0.0.1", false}, {"::ffff:127.0.0.1", "x", false}, {"0.0.0.0", "x", false}, {"224.0.0.1", "x", false}, {"", "x", false}, {"fe80::1", "x", false},
	} {
		p := pod("a", "b", "c")
		p.Status.PodIP, p.Status.HostIP = test.ip, test.host
		if got := askable(p); got != test.want {
			t.Errorf("%s on %s: %t", test.ip, test.host, got)
		}
	}
}

// TestAsk: an MCP server is recognised, whatever else answers is not, and nothing leads elsewhere.
func TestAsk(t *testing.T) {
	const good = `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"x","version":"1"}}}`
	elsewhere := 0
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { elsewhere++; _, _ = w.Write([]byte(good)) }))
	defer other.Close()
	ended := ""
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		want   bool
	}{
		{"JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(good)) }, true},
		{"an event", func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete {
				ended = r.Header.Get("Mcp-Session-Id")
				return
			}
			w.Header().Set("Content-Type", "text/event-stream")
			w.Header().Set("Mcp-Session-Id", "s1")
			_, _ = w.Write([]byte("event: message\ndata: " + good + "\n\n"))
		}, true},
		{"HTML", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>hello</html>")) }, false},
		{"another JSON-RPC", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"jsonrpc":"2.0","id":1,"result":{}}`))
		}, false},
		{"refused", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(good))
		}, false},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		}, false},
		{"without end", func(w http.ResponseWriter, _ *http.Request) {
			for range 1000 {
				_, _ = w.Write([]byte(strings.Repeat("x", 1<<10)))
			}
			_, _ = w.Write([]byte("\n" + good))
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var seen *http.Request
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if seen == nil {
					seen = r
				}
				test.answer(w, r)
			}))
			defer s.Close()
			at := netip.MustParseAddrPort(s.Listener.Addr().String())
			if got := ask(t.Context(), Address{at.Addr(), int32(at.Port())}); got != test.want {
				t.Errorf("%t", got)
			}
			if seen.Method != http.MethodPost || seen.URL.Path != "/mcp" || seen.Header.Get("Authorization") != "" {
				t.Errorf("%s %s", seen.Method, seen.URL)
			}
			if Ask(t.Context(), Address{at.Addr(), int32(at.Port())}) {
				t.Error("the operator asked itself")
			}
		})
	}
	if elsewhere > 0 || ended != "s1" {
		t.Errorf("a redirect was followed %d times, the session %q ended", elsewhere, ended)
	}
}

func FuzzRecognised(f *testing.F) {
	f.Add("data: {\"jsonrpc\":\"2.0\"}\n")
	f.Fuzz(func(_ *testing.T, body string) { recognised(strings.NewReader(body)) })
}
