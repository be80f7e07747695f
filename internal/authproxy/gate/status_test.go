package gate_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/authproxy/surroundings"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
)

func (w *world) operator(t testing.TB) *http.Client {
	return w.client(w.system.Client(t, clientid.Operator))
}

func (w *world) get(t testing.TB, c *http.Client, url string) (int, string, error) {
	t.Helper()
	response, err := c.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

func (w *world) status(t testing.TB) (s gatestatus.Status) {
	t.Helper()
	code, body, err := w.get(t, w.operator(t), w.statusURL+gatestatus.Path)
	if err != nil || code != http.StatusOK {
		t.Fatalf("%d %s %v", code, body, err)
	}
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// metric is the value of a metric by its name and labels; empty when there is none.
func (w *world) metric(t testing.TB, name string) string {
	t.Helper()
	_, body, err := w.get(t, w.operator(t), w.statusURL+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (w *world) ready(t testing.TB) (int, string) {
	t.Helper()
	code, body, err := w.get(t, http.DefaultClient, w.probe+"/readyz")
	if err != nil {
		t.Fatal(err)
	}
	return code, strings.TrimSpace(body)
}

func TestStatusIsForTheOperatorAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unused(t))
	for name, c := range map[string]*http.Client{
		"no certificate":             w.client(),
		"a client":                   w.client(w.alice),
		"the operator, by agents":    w.client(w.agents.Client(t, clientid.Operator)),
		"the operator, by serving":   w.client(w.serving.Client(t, clientid.Operator)),
		"another identity":           w.client(w.system.Client(t, clientid.Operator+"/x")),
		"expired":                    w.client(w.system.Client(t, clientid.Operator, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) })),
		"for servers":                w.client(w.system.Client(t, clientid.Operator, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })),
		"a key":                      w.keyed(w.aliceKey),
		"a client with its own key":  w.keyed(w.aliceKey, w.alice),
		"two certificates, mistaken": w.client(w.bob, w.alice),
	} {
		for _, path := range []string{gatestatus.Path, "/metrics", "/"} {
			if code, body, err := w.get(t, c, w.statusURL+path); err == nil {
				t.Errorf("%s: %s: %d %s", name, path, code, body)
			}
		}
	}
	// A connection that was accepted is refused as soon as the configuration says so.
	c := w.operator(t)
	if code, _, err := w.get(t, c, w.statusURL+gatestatus.Path); err != nil || code != http.StatusOK {
		t.Fatalf("%d, %v", code, err)
	}
	w.reload(func(c *gateconfig.Config) { c.Status.Identities = []string{"spiffe://bartizan.dev/other"} })
	if code, _, err := w.get(t, c, w.statusURL+gatestatus.Path); err == nil && code == http.StatusOK {
		t.Errorf("%d on an old connection", code)
	}
}

// TestMonitoringReadsMetricsAlone: the identity of monitoring reads the metrics and nothing else, and the gate says when.
func TestMonitoringReadsMetricsAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unused(t))
	monitoring := w.client(w.system.Client(t, clientid.Monitoring))
	if code, _, err := w.get(t, monitoring, w.statusURL+"/metrics"); err == nil {
		t.Errorf("%d before the configuration names it", code)
	}
	w.reload(func(c *gateconfig.Config) { c.Status.Identities = append(c.Status.Identities, clientid.Monitoring) })
	for _, path := range []string{gatestatus.Path, "/", "/metrics/", "/metrics/../status"} {
		if code, body, err := w.get(t, monitoring, w.statusURL+path); err != nil || code != http.StatusForbidden {
			t.Errorf("%s: %d %s %v", path, code, body, err)
		}
	}
	if at := w.status(t).MetricsReadAt; !at.IsZero() {
		t.Errorf("the metrics were read at %s, when nobody had", at)
	}
	if code, body, err := w.get(t, monitoring, w.statusURL+"/metrics"); err != nil || code != http.StatusOK || !strings.Contains(body, "bartizan_gate_build_info") {
		t.Errorf("%d %s %v", code, body, err)
	}
	if at := w.status(t).MetricsReadAt; time.Since(at) > time.Minute {
		t.Errorf("the metrics were read at %s", at)
	}
	if code, _, err := w.get(t, w.client(w.agents.Client(t, clientid.Monitoring)), w.statusURL+"/metrics"); err == nil {
		t.Errorf("%d for the identity by another authority", code)
	}
	if status, _, _ := do(t, monitoring, w.post(legacyCall)); status != http.StatusUnauthorized {
		t.Errorf("a call with the identity of monitoring gets %d", status)
	}
}

func TestStatusTells(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address())
	before := w.status(t)
	if before.Generation == "" || before.CertificateSerial == "" || before.CertificateNotAfter.IsZero() || !before.UpstreamReady ||
		before.Version != "test" || before.Boot == "" || before.ConfigError != "" || len(before.Keys) != 2 || !before.Keys[0].LastUsed.IsZero() {
		t.Errorf("the status is %+v", before)
	}
	if before.SystemAuthority != gatestatus.Digest(w.system.PEM) || before.Authorities["agents"] != gatestatus.Digest(w.config.Authorities["agents"]) ||
		len(before.Authorities) != len(w.config.Authorities) {
		t.Errorf("it trusts %v and %s", before.Authorities, before.SystemAuthority)
	}
	foreign, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	do(t, w.keyed(w.aliceKey), w.post(legacyCall))
	do(t, w.client(), w.post(legacyCall))
	w.config.Limits.Depth = 0
	w.write()
	gatetest.Eventually(t, "the bad configuration is reported", func() bool { return w.status(t).ConfigError != "" })
	after := w.status(t)
	if after.Generation != before.Generation || !strings.Contains(after.ConfigError, "limits.depth") {
		t.Errorf("the status is %+v", after)
	}
	for _, key := range after.Keys {
		if used := key.ID == w.config.Clients[0].Keys[0].ID; used == key.LastUsed.IsZero() {
			t.Errorf("the key %s was last used %v", key.ID, key.LastUsed)
		}
	}
	_, port, _ := net.SplitHostPort(foreign.Addr().String())
	// On a machine with more of them than are reported, it may not be among those.
	if !strings.Contains(strings.Join(after.Listeners, " "), "0.0.0.0:"+port) && len(after.Listeners) < surroundings.Most {
		t.Errorf("the listeners are %v", after.Listeners)
	}
	for name, want := range map[string]string{
		`bartizan_gate_requests_total{decision="allowed",method="tools/call",status="200"}`:   "1",
		`bartizan_gate_requests_total{decision="unauthenticated",method="none",status="401"}`: "1",
		`bartizan_gate_authentication_failures_total{reason="no-credential"}`:                 "1",
		`bartizan_gate_config_reloads_total{result="failure"}`:                                "1",
		`bartizan_gate_config_last_reload_successful`:                                         "0",
		`bartizan_gate_config_info{generation="` + before.Generation + `"}`:                   "1",
		`bartizan_gate_build_info{version="test"}`:                                            "1",
	} {
		if got := w.metric(t, name); got != want {
			t.Errorf("%s is %q; want %q", name, got, want)
		}
	}
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address())
	if code, body := w.ready(t); code != http.StatusOK {
		t.Errorf("%d %s", code, body)
	}
	upstream.CloseClientConnections()
	_ = upstream.Listener.Close()
	gatetest.Eventually(t, "not ready without the server", func() bool {
		code, body := w.ready(t)
		return code == http.StatusServiceUnavailable && strings.Contains(body, "server")
	})
	if code, body, err := w.get(t, http.DefaultClient, w.probe+"/livez"); err != nil || code != http.StatusOK {
		t.Errorf("/livez: %d %s, %v", code, body, err)
	}
	for _, path := range []string{"/", "/drain", "/status", "/metrics", "/mcp"} {
		if code, _, err := w.get(t, http.DefaultClient, w.probe+path); err != nil || code != http.StatusNotFound {
			t.Errorf("%s: %d, %v", path, code, err)
		}
	}
}

func TestWithoutConfigurationNothingIsServed(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address(), func(w *world) { w.options.Server.Name = "other" })
	if code, body := w.ready(t); code != http.StatusServiceUnavailable || body != "no valid configuration" {
		t.Errorf("%d %s", code, body)
	}
	if !strings.Contains(w.log.String(), "another server") {
		t.Errorf("the log does not say why: %s", w.log)
	}
	for _, address := range []string{w.address(), strings.TrimPrefix(w.statusURL, "https://")} {
		if conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: w.serving.Pool(), ServerName: host}); err == nil {
			_ = conn.Close()
			t.Errorf("%s: connected", address)
		}
	}
}
