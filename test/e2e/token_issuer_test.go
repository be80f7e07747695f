package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/portforward"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// external is a server that takes tokens of an issuer elsewhere and nothing else: nobody here can have one.
func (c *cluster) external(namespace string) *v1alpha1.MCPServer {
	server := c.server(namespace, "external")
	server.Spec.Authentication = &v1alpha1.Authentication{
		APIKeys:            v1alpha1.APIKeys{Mode: v1alpha1.APIKeysDisabled},
		ClientCertificates: v1alpha1.ClientCertificates{Mode: v1alpha1.ClientCertificatesDisabled},
		Tokens: []v1alpha1.TokenIssuer{{Name: "corp", Type: v1alpha1.TokenIssuerOIDC,
			OIDC: &v1alpha1.OIDCTokens{Issuer: "https://issuer.invalid", Audiences: []string{"mcp"}}}},
	}
	return server
}

// verifiedAsIssuer: the operator attacks a server that takes nothing which anybody could have with tokens of its own. All controls
// come to a conclusion, and nothing of it is taken for failed logins.
func (c *cluster) verifiedAsIssuer(t *testing.T, server *v1alpha1.MCPServer) {
	t.Helper()
	posture := c.verified(t, server)
	for _, control := range []string{"AUTH-1", "AUTH-6", "AUTH-8", "PERM-1", "PERM-2", "PERM-7", "TEST-2", "TEST-3"} {
		if !slices.Contains(posture.PassedControls, control) {
			t.Errorf("%s is not passed: %+v", control, posture)
		}
	}
	pods, err := c.running(t.Context(), server)
	must(t, err)
	if len(pods) != 1 {
		t.Fatalf("%d pods run", len(pods))
	}
	known := false
	for line := range strings.Lines(c.gateMetrics(t, &pods[0])) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(name, "bartizan_gate_authentication_failures_total") && value != "0" || strings.HasPrefix(name, `bartizan_gate_throttled_total{limit="failed-logins"`) && value != "0" {
			t.Errorf("the verification is taken for failed logins: %s", line)
		}
		known = known || name == "bartizan_gate_verification_refusals_total" && value != "0"
	}
	if !known {
		t.Error("no refusal is known as one of a verification")
	}
}

// gateMetrics are the metrics of a pod's gate, read as the operator.
func (c *cluster) gateMetrics(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	operator := &corev1.Secret{}
	must(t, c.Get(t.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: "bartizan-operator"}, operator))
	pair, err := tls.X509KeyPair(operator.Data[corev1.TLSCertKey], operator.Data[corev1.TLSPrivateKeyKey])
	must(t, err)
	api, err := kubernetes.NewForConfig(c.config)
	must(t, err)
	dialer, err := portforward.NewSPDYOverWebsocketDialerForStreaming(
		api.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL(), c.config)
	must(t, err)
	ready, stop, failed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	forward, err := portforward.NewOnAddressesForStreaming(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", gateStatusPort)}, stop, ready, io.Discard, io.Discard)
	must(t, err)
	go func() { failed <- forward.ForwardPorts() }()
	defer close(stop)
	select {
	case <-ready:
	case err := <-failed:
		t.Fatalf("no way to %s: %v", pod.Name, err)
	case <-time.After(time.Minute):
		t.Fatalf("no way to %s", pod.Name)
	}
	ports, err := forward.GetPorts()
	must(t, err)
	reader := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true, // it is the pod that was asked for
	}}}
	request, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/metrics", ports[0].Local), nil)
	must(t, err)
	response, err := reader.Do(request)
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("HTTP status %d: %s", response.StatusCode, text)
	}
	return string(text)
}
