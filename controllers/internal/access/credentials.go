package access

import (
	"fmt"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// UsesKeys says whether the client has API keys.
func UsesKeys(c *v1alpha1.MCPClient) bool { return c.Spec.APIKey.Mode != v1alpha1.CredentialDisabled }

// UsesCertificates says whether the client has certificates.
func UsesCertificates(c *v1alpha1.MCPClient) bool {
	return c.Spec.Certificate.Mode != v1alpha1.CredentialDisabled
}

// TakesKeys says whether the server accepts API keys.
func TakesKeys(s *v1alpha1.MCPServer) bool {
	a := s.Spec.Authentication
	return a == nil || a.APIKeys.Mode != v1alpha1.APIKeysDisabled
}

// certificateMode is what the server says about client certificates.
func certificateMode(s *v1alpha1.MCPServer) v1alpha1.ClientCertificateMode {
	if a := s.Spec.Authentication; a != nil && a.ClientCertificates.Mode != "" {
		return a.ClientCertificates.Mode
	}
	return v1alpha1.ClientCertificatesRequired
}

// Missing says for people what the server demands and the client does not have, so that no request of its can succeed; empty
// when the client has enough.
func Missing(c *v1alpha1.MCPClient, s *v1alpha1.MCPServer) string {
	mode := certificateMode(s)
	has := func(what string) string {
		return fmt.Sprintf("MCPServer %s/%s demands %s (its spec.authentication), and MCPClient %s/%s has none", s.Namespace, s.Name, what, c.Namespace, c.Name)
	}
	switch {
	case mode == v1alpha1.ClientCertificatesRequired && !UsesCertificates(c):
		return has("a client certificate") + " (its spec.certificate.mode is Disabled)"
	case mode == v1alpha1.ClientCertificatesRequired && TakesKeys(s) && !UsesKeys(c) && len(Tokens(s)) == 0: // a token may stand beside it
		return has("an API key beside the certificate") + " (its spec.apiKey.mode is Disabled)"
	case mode == v1alpha1.ClientCertificatesDisabled && !UsesKeys(c):
		return has("an API key") + " (its spec.apiKey.mode is Disabled)"
	case !TakesKeys(s) && !UsesCertificates(c):
		return has("a client certificate") + " (its spec.certificate.mode is Disabled)"
	}
	return ""
}
