package mcpclient

import (
	"bytes"
	"encoding/json"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/client/applyconfigurations/certmanager/v1"
	certmanagermetav1 "github.com/cert-manager/cert-manager/pkg/client/applyconfigurations/meta/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/authority"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/keys"
)

// The client certificate's life where the spec does not say so; the API server fills these in, too.
const (
	certificateDuration    = 24 * time.Hour
	certificateRenewBefore = 8 * time.Hour
)

// certificateLife is how long the client's certificates live, and how long before their end they are renewed.
func certificateLife(c *v1alpha1.MCPClient) (duration, renewBefore time.Duration) {
	duration, _ = length("", c.Spec.Certificate.Duration, certificateDuration, nil)
	renewBefore, _ = length("", c.Spec.Certificate.RenewBefore, certificateRenewBefore, nil)
	return duration, renewBefore
}

// certificate is the client's certificate for the servers of a namespace. It always comes from the private authority of the
// client's own namespace: only that one vouches for the clients of the namespace.
func certificate(c *v1alpha1.MCPClient, servers string, from authority.Issuing) *certmanagerv1.CertificateApplyConfiguration {
	labels, owner := objectLabels(c.Name, servers), ownerReference(c)
	duration, renewBefore := certificateLife(c)
	if from.Longest > 0 && duration > from.Longest {
		duration = from.Longest.Truncate(time.Minute)
		renewBefore = min(renewBefore, duration/3)
	}
	return certmanagerv1.Certificate(CertificateName(c.Name, servers), c.Namespace).
		WithLabels(labels).
		WithOwnerReferences(applymetav1.OwnerReference().
			WithAPIVersion(owner.APIVersion).WithKind(owner.Kind).WithName(owner.Name).WithUID(owner.UID).WithController(true)).
		WithSpec(certmanagerv1.CertificateSpec().
			WithSecretName(CertificateSecretName(c.Name, servers)).
			WithSecretTemplate(certmanagerv1.CertificateSecretTemplate().WithLabels(labels)).
			WithIssuerRef(certmanagermetav1.IssuerReference().
				WithGroup(certmanager.SchemeGroupVersion.Group).WithKind(certmanager.IssuerKind).WithName(from.Issuer)).
			WithURIs(clientid.Client{Namespace: c.Namespace, Name: c.Name, Servers: servers}.URI()).
			WithUsages(certmanager.UsageDigitalSignature, certmanager.UsageClientAuth).
			WithDuration(metav1.Duration{Duration: duration}).
			WithRenewBefore(metav1.Duration{Duration: manifests.Renewal(renewBefore, duration, c.Namespace, CertificateName(c.Name, servers))}).
			WithRevisionHistoryLimit(1).
			WithPrivateKey(certmanagerv1.CertificatePrivateKey().
				WithAlgorithm(certmanager.ECDSAKeyAlgorithm).WithSize(256).WithRotationPolicy(certmanager.RotationPolicyAlways)))
}

// keySecret is a Secret with the given content, as the operator makes it.
func keySecret(c *v1alpha1.MCPClient, servers, name string, data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: c.Namespace, Name: name,
			Labels:          objectLabels(c.Name, servers),
			OwnerReferences: []metav1.OwnerReference{ownerReference(c)},
		},
		Type: corev1.SecretTypeOpaque,
		Data: data,
	}
}

// server is a granted server, as its clients see it.
type server struct {
	Name, URL string
	// CABundle vouches for the server; empty while it is unknown.
	CABundle string
}

// content is what a client's Secret holds with the given key, or nil for a client without one. While the bundle of a server is
// unknown, what was known before is kept.
func content(servers string, key []byte, granted []server, before []byte) map[string][]byte {
	bundles := make([]string, 0, len(granted)+1)
	complete := true
	for _, s := range granted {
		bundles = append(bundles, s.CABundle)
		complete = complete && s.CABundle != ""
	}
	if !complete {
		bundles = append(bundles, string(before))
	}
	data := map[string][]byte{
		DataCABundle:      []byte(manifests.MergeBundles(bundles...)),
		DataNamespace:     []byte(servers),
		DataConfiguration: configuration(key, granted),
	}
	if key != nil {
		data[DataAPIKey] = key
	}
	return data
}

// configuration is an MCP client configuration in the form that MCP clients share.
func configuration(key []byte, granted []server) []byte {
	type entry struct {
		Type    string            `json:"type"`
		URL     string            `json:"url"`
		Headers map[string]string `json:"headers,omitempty"`
	}
	entries := map[string]entry{}
	for _, s := range granted {
		e := entry{Type: "http", URL: s.URL}
		switch {
		case bytes.HasPrefix(key, []byte(keys.Prefix)):
			e.Headers = map[string]string{"Authorization": "Bearer " + string(key)}
		case key != nil:
			e.Headers = map[string]string{"X-API-Key": string(key)} // as a bearer it could be taken for a token
		}
		entries[s.Name] = e
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(map[string]any{"mcpServers": entries}); err != nil {
		panic("strings that JSON cannot hold: " + err.Error())
	}
	return out.Bytes()
}
