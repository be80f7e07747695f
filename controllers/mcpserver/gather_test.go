package mcpserver

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// TestCABundle: callers get every authority that vouches for the certificate now or soon, and nothing that is none.
func TestCABundle(t *testing.T) {
	certificate := func() string { return string(servingSecret(t, now).Data["tls.crt"]) }
	first, second, theirs, next := certificate(), certificate(), certificate(), certificate()
	own := &v1alpha1.TLS{IssuerRef: &v1alpha1.IssuerRef{Name: "mine"}}
	announced := &v1alpha1.TLS{IssuerRef: own.IssuerRef, CABundle: next}
	for _, test := range []struct {
		name   string
		tls    *v1alpha1.TLS
		secret map[string][]byte
		want   []string
	}{
		{"not issued", nil, nil, nil},
		{"private, while another authority follows", nil, map[string][]byte{"ca.crt": []byte(first)}, []string{first, second}},
		{"private, and the next issuer is announced", &v1alpha1.TLS{CABundle: next}, map[string][]byte{"ca.crt": []byte(first)}, []string{first, second, next}},
		{"of an issuer", own, map[string][]byte{"ca.crt": []byte(theirs)}, []string{theirs}},
		{"of an issuer whose next authority is announced", announced, map[string][]byte{"ca.crt": []byte(theirs)}, []string{theirs, next}},
		{"of an issuer that says nothing", announced, map[string][]byte{}, []string{next}},
		{"of an issuer that is publicly trusted", own, map[string][]byte{}, nil},
		{"of an issuer that says nonsense", own, map[string][]byte{"ca.crt": []byte("ask the desk")}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := &observed{server: &v1alpha1.MCPServer{Spec: v1alpha1.MCPServerSpec{TLS: test.tls}}, authorities: first + second}
			if test.secret != nil {
				o.certificateSecret = &corev1.Secret{Data: test.secret}
			}
			got := caBundle(o)
			for _, part := range test.want {
				if !strings.Contains(got, part) {
					t.Errorf("a certificate is missing")
				}
			}
			if n := strings.Count(got, "BEGIN"); n != len(test.want) || !strings.Contains(got, "CERTIFICATE") && n > 0 {
				t.Errorf("%d certificates, not %d:\n%s", n, len(test.want), got)
			}
		})
	}
}
