// Package prometheus gives tests a real Prometheus with the alert rules that an installation has. It reads what a test names,
// every second, and its rules look at seconds where the installed ones look at minutes; nothing else of them is changed.
package prometheus

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/hack/toolchain"
)

// The jobs, as the monitors of an installation name them.
const (
	Operator = "bartizan-operator"
	Gates    = "bartizan-gates"
)

// patience is for how long an alert is waited for, on a busy machine.
const patience = 2 * time.Minute

// Target is something with metrics at the path /metrics.
type Target struct {
	Job, Address string
	// Labels are those that a PodMonitor would give.
	Labels map[string]string
	// Identity is the client certificate that is shown over HTTPS; nil: plain HTTP.
	Identity *tls.Certificate
}

// Server is a running Prometheus.
type Server struct {
	// URL is where it answers.
	URL    string
	client http.Client
}

// Rule is an alert rule.
type Rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Group is a group of rules.
type Group struct {
	Name  string `json:"name"`
	Rules []Rule `json:"rules"`
}

// Groups are the alert rules of an installation. root is the repository.
func Groups(t testing.TB, root string) []Group {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "config", "monitoring", "prometheusrule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var object struct {
		Spec struct{ Groups []Group }
	}
	if err := yaml.Unmarshal(content, &object); err != nil || len(object.Spec.Groups) == 0 {
		t.Fatalf("the alert rules: %d groups, %v", len(object.Spec.Groups), err)
	}
	return object.Spec.Groups
}

var ranges = regexp.MustCompile(`\[[0-9]+[smh]\]`)

// Quick has rules look at seconds: at the last ten where they look at more, and without waiting for an alert to stay. replace
// are pairs of texts in expressions, for thresholds that a test cannot wait for.
func Quick(groups []Group, replace ...string) []Group {
	replacer := strings.NewReplacer(replace...)
	for i := range groups {
		for j := range groups[i].Rules {
			rule := &groups[i].Rules[j]
			rule.Expr, rule.For = replacer.Replace(ranges.ReplaceAllString(rule.Expr, "[10s]")), ""
		}
	}
	return groups
}

// Start runs a Prometheus that reads the targets, until the test ends, and has read each once. replace is for thresholds: pairs of texts in expressions.
func Start(t testing.TB, root string, targets []Target, replace ...string) *Server {
	t.Helper()
	program, err := toolchain.Prometheus.Path(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	write := func(name string, content any) string {
		t.Helper()
		text, ok := content.([]byte)
		if !ok {
			if text, err = yaml.Marshal(content); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var jobs []map[string]any
	for i, target := range targets {
		job := map[string]any{
			"job_name":        fmt.Sprintf("%s-%d", target.Job, i),
			"static_configs":  []map[string]any{{"targets": []string{target.Address}, "labels": target.Labels}},
			"relabel_configs": []map[string]any{{"target_label": "job", "replacement": target.Job}},
		}
		if target.Identity != nil {
			certificate, key := encode(t, target.Identity)
			job["scheme"] = "https"
			job["tls_config"] = map[string]any{
				"cert_file": write(fmt.Sprintf("%d.crt", i), certificate), "key_file": write(fmt.Sprintf("%d.key", i), key), "insecure_skip_verify": true,
			}
		}
		jobs = append(jobs, job)
	}
	config := write("prometheus.yaml", map[string]any{
		"global":         map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
		"rule_files":     []string{write("rules.yaml", map[string]any{"groups": Quick(Groups(t, root), replace...)})},
		"scrape_configs": jobs,
	})
	address := free(t)
	command := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address="+address)
	log := &buffer{}
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Logf("Prometheus:\n%s", log)
		}
	})
	s := &Server{URL: "http://" + address}
	s.eventually(t, "Prometheus is ready", func() error {
		response, err := s.client.Get(s.URL + "/-/ready")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("HTTP status %d", response.StatusCode)
		}
		return nil
	})
	s.read(t, len(targets))
	return s
}

// Alert is an alert that fires.
type Alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	State       string            `json:"state"`
}

// Alerts are those of a name that fire now and have the labels, given in pairs.
func (s *Server) Alerts(t testing.TB, name string, labels ...string) []Alert {
	t.Helper()
	var answer struct{ Alerts []Alert }
	if err := s.get("/api/v1/alerts", nil, &answer); err != nil {
		t.Fatal(err)
	}
	var found []Alert
	for _, alert := range answer.Alerts {
		matches := alert.State == "firing" && alert.Labels["alertname"] == name
		for i := 0; i+1 < len(labels); i += 2 {
			matches = matches && alert.Labels[labels[i]] == labels[i+1]
		}
		if matches {
			found = append(found, alert)
		}
	}
	return found
}

// Fires waits until an alert fires.
func (s *Server) Fires(t testing.TB, name string, labels ...string) Alert {
	t.Helper()
	var found []Alert
	s.eventually(t, name+" fires", func() error {
		if found = s.Alerts(t, name, labels...); len(found) == 0 {
			return fmt.Errorf("no alert %s %v", name, labels)
		}
		return nil
	})
	if found[0].Annotations["summary"] == "" || strings.Contains(found[0].Annotations["summary"], "no value") ||
		!strings.HasSuffix(found[0].Annotations["runbook_url"], "#"+strings.ToLower(name)) {
		t.Errorf("%s says %q", name, found[0].Annotations)
	}
	return found[0]
}

// Resolves waits until an alert does not fire any more.
func (s *Server) Resolves(t testing.TB, name string, labels ...string) {
	t.Helper()
	s.eventually(t, name+" resolves", func() error {
		if found := s.Alerts(t, name, labels...); len(found) > 0 {
			return fmt.Errorf("%v fires", found)
		}
		return nil
	})
}

// read waits until every target was read: what counters had before is what increases are from.
func (s *Server) read(t testing.TB, targets int) {
	t.Helper()
	s.eventually(t, "all targets are read", func() error {
		var answer struct {
			ActiveTargets []struct{ Health, LastError, ScrapeURL string }
		}
		if err := s.get("/api/v1/targets", nil, &answer); err != nil {
			return err
		}
		if len(answer.ActiveTargets) != targets {
			return fmt.Errorf("%d targets of %d", len(answer.ActiveTargets), targets)
		}
		for _, target := range answer.ActiveTargets {
			if target.Health != "up" {
				return fmt.Errorf("%s is %s: %s", target.ScrapeURL, target.Health, target.LastError)
			}
		}
		return nil
	})
}

// Parse returns the names of the series that an expression asks for; an expression that is none is an error.
func (s *Server) Parse(expression string) ([]string, error) {
	var tree any
	if err := s.get("/api/v1/parse_query", url.Values{"query": {expression}}, &tree); err != nil {
		return nil, err
	}
	return selected(tree), nil
}

// selected are the names in a syntax tree.
func selected(tree any) (names []string) {
	switch node := tree.(type) {
	case map[string]any:
		if name, _ := node["name"].(string); name != "" && (node["type"] == "vectorSelector" || node["type"] == "matrixSelector") {
			names = append(names, name)
		}
		for _, part := range node {
			names = append(names, selected(part)...)
		}
	case []any:
		for _, part := range node {
			names = append(names, selected(part)...)
		}
	}
	return names
}

func (s *Server) get(path string, query url.Values, into any) error {
	response, err := s.client.Get(s.URL + path + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: HTTP status %d: %w", path, response.StatusCode, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

func (s *Server) eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not after %s: %s: %v", patience, what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// free is an address that nobody listens on.
func free(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func encode(t testing.TB, identity *tls.Certificate) (certificate, key []byte) {
	t.Helper()
	private, ok := identity.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("a key of the kind %T", identity.PrivateKey)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range identity.Certificate {
		certificate = append(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: one})...)
	}
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// buffer is a log that can be read while it is written.
type buffer struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.String()
}
