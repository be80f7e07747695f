package mcpserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/authority"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// servingSecret has a certificate that vouches for itself.
func servingSecret(t *testing.T, end time.Time) *corev1.Secret {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: end, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{Data: map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), "tls.key": []byte("key"), "ca.crt": []byte("ca"),
	}}
}

// healthy is a server of which everything is as it should be.
func healthy(t *testing.T) (*observed, plan, applied, distribution) {
	d := deployment("weather", "new", 2, 2)
	serving := servingSecret(t, now.Add(time.Hour))
	o := &observed{
		server: &v1alpha1.MCPServer{
			ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "weather", Generation: 7},
			Spec: v1alpha1.MCPServerSpec{Secrets: []v1alpha1.SecretGroup{{
				Name: "github", StoreRef: v1alpha1.SecretStoreRef{Name: "vault"}, Data: []v1alpha1.SecretData{{File: "token"}},
			}}},
		},
		now: now, certManager: true, externalSecrets: true,
		certificate: &certmanager.Certificate{}, certificateSecret: serving, caBundle: string(serving.Data["tls.crt"]),
		networkPolicy: &networkingv1.NetworkPolicy{}, deployment: &d,
	}
	o.groups = []group{{
		spec: &o.server.Spec.Secrets[0], secret: &corev1.Secret{Data: map[string][]byte{"token": nil}},
		externalSecret: &externalsecrets.ExternalSecret{Status: externalsecrets.ExternalSecretStatus{
			Conditions: []externalsecrets.ExternalSecretStatusCondition{{Type: externalsecrets.ExternalSecretReady, Status: corev1.ConditionTrue}},
		}},
	}}
	return o, plan{generation: "g2"}, applied{workload: true}, distribution{generation: "g2", ready: 2, acknowledged: 2}
}

func TestSummarize(t *testing.T) {
	for _, test := range []struct {
		name      string
		change    func(*observed, *plan, *applied, *distribution)
		condition string
		reason    string
		says      string // part of the message
		ready     bool
	}{
		{name: "healthy", change: func(*observed, *plan, *applied, *distribution) {}, condition: "Ready", reason: "Ready", ready: true},
		{name: "no cert-manager", condition: "CertificatesReady", reason: "CertManagerMissing", says: "install it",
			change: func(o *observed, _ *plan, _ *applied, _ *distribution) { o.certManager = false }},
		{name: "cert-manager gone", condition: "CertificatesReady", reason: "CertManagerMissing", says: "valid until 2026-01-02T04:04:05Z",
			change: func(o *observed, _ *plan, _ *applied, _ *distribution) { o.certManager, o.certificate = false, nil }},
		{name: "in the time for the renewal", condition: "CertificatesReady", reason: "Issued", ready: true,
			change: func(o *observed, _ *plan, _ *applied, _ *distribution) {
				o.certificate.Spec.RenewBefore = &metav1.Duration{Duration: 70 * time.Minute}
			}},
		{name: "not renewed", condition: "CertificatesReady", reason: "RenewalOverdue", says: "until 2026-01-02T04:04:05Z: see the conditions",
			change: func(o *observed, _ *plan, _ *applied, _ *distribution) {
				o.certificate.Spec.RenewBefore = &metav1.Duration{Duration: 81 * time.Minute}
			}},
		{name: "renewal denied", condition: "CertificatesReady", reason: "RenewalOverdue", says: "cert-manager says Denied: by policy",
			change: func(o *observed, _ *plan, _ *applied, _ *distribution) {
				o.certificate.Spec.RenewBefore = &metav1.Duration{Duration: 81 * time.Minute}
				o.certificate.Status.Conditions = []certmanager.CertificateCondition{{Type: certmanager.CertificateConditionIssuing, Status: "False", Reason: "Denied", Message: "by policy"}}
			}},
		{name: "first certificate denied", condition: "CertificatesReady", reason: "Issuing", says: "cert-manager says Denied: by policy",
			change: func(o *observed, _ *plan, _ *applied, _ *distribution) {
				o.certificateSecret, o.issuer = nil, &certmanager.Issuer{}
				o.certificate.Status.Conditions = []certmanager.CertificateCondition{{Type: certmanager.CertificateConditionIssuing, Status: "False", Reason: "Denied", Message: "by policy"}}
			}},
		{name: "an authority follows", condition: "CertificatesReady", reason: "Issued", says: "bartizan-ca-1 is followed by bartizan-ca-2", ready: true,
			change: func(o *observed, _ *plan, _ *applied, _ *distribution) {
				o.authority = authority.Issuing{Issuer: "bartizan-ca-1", Next: "bartizan-ca-2"}
			}},
		{name: "an authority was lost", condition: "CertificatesReady", reason: "Issued", says: "weather-tls; Secret a is gone; that is bartizan-ca-2", ready: true,
			change: func(o *observed, _ *plan, _ *applied, _ *distribution) {
				o.authority = authority.Issuing{Issuer: "bartizan-ca-1", Next: "bartizan-ca-2", Loss: "Secret a is gone"}
			}},
		{name: "an authority that nobody knows", condition: "CertificatesReady", reason: "CertificateNotTrusted", says: "bartizan-ca-1",
			change: func(o *observed, _ *plan, _ *applied, _ *distribution) {
				o.authority = authority.Issuing{Issuer: "bartizan-ca-1"}
				o.caBundle = string(servingSecret(t, now.Add(time.Hour)).Data["tls.crt"])
			}},
		{name: "an issuer of one's own, of which not all is known", condition: "CertificatesReady", reason: "Issued", says: "weather-tls", ready: true,
			change: func(o *observed, _ *plan, _ *applied, _ *distribution) {
				o.server.Spec.TLS = &v1alpha1.TLS{IssuerRef: &v1alpha1.IssuerRef{Name: "corporate"}}
				o.caBundle = string(servingSecret(t, now.Add(time.Hour)).Data["tls.crt"])
			}},
		{name: "expired", condition: "CertificatesReady", reason: "CertificateExpired", says: "weather-tls",
			change: func(o *observed, _ *plan, _ *applied, _ *distribution) { o.certificateSecret = servingSecret(t, now) }},
		{name: "garbage for a certificate", condition: "CertificatesReady", reason: "Issuing",
			change: func(o *observed, _ *plan, _ *applied, _ *distribution) {
				o.certificateSecret.Data["tls.crt"] = []byte("garbage")
			}},
		{name: "no external-secrets", condition: "SecretsReady", reason: "ExternalSecretsMissing", says: "install it",
			change: func(o *observed, _ *plan, _ *applied, _ *distribution) { o.externalSecrets = false }},
		{name: "no store", condition: "SecretsReady", reason: "StoreNotFound", says: "vault",
			change: func(o *observed, _ *plan, _ *applied, _ *distribution) { o.groups[0].secret = nil }},
		{name: "a key is missing", condition: "SecretsReady", reason: "Syncing", says: "token",
			change: func(o *observed, _ *plan, _ *applied, _ *distribution) {
				o.groups[0].secret.Data, o.groups[0].store = nil, &externalsecrets.SecretStore{}
			}},
		{name: "a sync that fails", condition: "SecretsReady", reason: "SyncFailed", says: "weather-github",
			change: func(o *observed, _ *plan, _ *applied, _ *distribution) {
				o.groups[0].store = &externalsecrets.SecretStore{}
				o.groups[0].externalSecret.Status.Conditions[0].Status = corev1.ConditionFalse
			}},
		{name: "pods that do not start", condition: "WorkloadReady", reason: "PodsFailing", says: "ImagePullBackOff",
			change: func(o *observed, _ *plan, _ *applied, _ *distribution) {
				o.deployment.Status.AvailableReplicas = 0
				o.pods = []corev1.Pod{{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "server",
					State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}}}}
			}},
		{name: "given up", condition: "WorkloadReady", reason: "ProgressDeadlineExceeded",
			change: func(o *observed, _ *plan, _ *applied, _ *distribution) {
				d := gaveUp(*o.deployment)
				d.Status.UpdatedReplicas = 1
				o.deployment = &d
			}},
		{name: "waiting for its turn", condition: "WorkloadReady", reason: "UpdatePending", ready: true,
			change: func(_ *observed, _ *plan, a *applied, _ *distribution) { a.held = true }},
		{name: "pods of before", condition: "WorkloadReady", reason: "Progressing", says: "bringing its pods up",
			change: func(_ *observed, _ *plan, a *applied, _ *distribution) { a.rewritten = true }},
		{name: "blocked", condition: "WorkloadReady", reason: "WaitingForPrerequisites",
			change: func(o *observed, p *plan, _ *applied, _ *distribution) {
				o.deployment, p.blocked = nil, "the pods start later"
			}},
		{name: "a gate lags behind", condition: "ConfigurationInForce", reason: "Distributing", says: "1 of 2",
			change: func(_ *observed, _ *plan, _ *applied, d *distribution) { d.acknowledged = 1 }},
		{name: "a gate refuses", condition: "ConfigurationInForce", reason: "ConfigurationRefused", says: "limits.depth",
			change: func(_ *observed, _ *plan, _ *applied, d *distribution) {
				d.acknowledged, d.problem = 1, "limits.depth: not positive"
			}},
		{name: "a gate does not answer", condition: "ConfigurationInForce", reason: "GatesUnreadable", says: "1 of 2 ready gates do not answer at their status port, Pod weather-1",
			change: func(_ *observed, _ *plan, _ *applied, d *distribution) {
				d.acknowledged, d.silent = 1, []string{"weather-1"}
			}},
		{name: "an open listener", condition: "Isolated", reason: "ServerListensOnAllAddresses", says: "0.0.0.0:8080", ready: true,
			change: func(_ *observed, _ *plan, _ *applied, d *distribution) { d.listeners = []string{"0.0.0.0:8080"} }},
		{name: "refused", condition: "Stalled", reason: "ImageNotPinned", says: "spec.image",
			change: func(_ *observed, _ *plan, a *applied, _ *distribution) {
				a.stalled = &manifests.Problem{Reason: "ImageNotPinned", Message: "spec.image"}
			}},
		{name: "in the way for a while", condition: "Reconciling", reason: "ChildBeingDeleted",
			change: func(_ *observed, _ *plan, a *applied, _ *distribution) {
				a.pending = &manifests.Problem{Reason: "ChildBeingDeleted", Message: "soon"}
			}},
		{name: "suspended", condition: "Ready", reason: "Suspended", ready: true,
			change: func(o *observed, _ *plan, _ *applied, d *distribution) {
				yes, none := true, int32(0)
				o.server.Spec.Suspend = &yes
				o.deployment.Spec.Replicas, o.deployment.Status = &none, appsv1.DeploymentStatus{ObservedGeneration: 3}
				d.ready, d.acknowledged = 0, 0
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, p, a, d := healthy(t)
			test.change(o, &p, &a, &d)
			status := summarize(o, p, a, d, Settings{})
			c := meta.FindStatusCondition(status.Conditions, test.condition)
			if c == nil || c.Reason != test.reason || !strings.Contains(c.Message, test.says) {
				t.Errorf("%s is %+v", test.condition, c)
			}
			kstatus(t, status, test.ready)
			// What did not change is not written again.
			o.server.Status = status
			o.now = now.Add(time.Second)
			if again := summarize(o, p, a, d, Settings{}); meta.FindStatusCondition(again.Conditions, "Ready").LastTransitionTime != c.LastTransitionTime {
				t.Error("a time changed without a transition")
			}
		})
	}
}

// kstatus checks the contract that tools rely on: observedGeneration everywhere, Reconciling and Stalled only while true and
// never both, and never beside Ready.
func kstatus(t *testing.T, status v1alpha1.MCPServerStatus, ready bool) {
	t.Helper()
	if status.ObservedGeneration != 7 {
		t.Errorf("observedGeneration is %d", status.ObservedGeneration)
	}
	seen := map[string]bool{}
	for _, c := range status.Conditions {
		seen[c.Type] = true
		if c.ObservedGeneration != 7 {
			t.Errorf("%s is about generation %d", c.Type, c.ObservedGeneration)
		}
		if c.Reason == "" || c.Message == "" {
			t.Errorf("%s has no reason or message", c.Type)
		}
		if (c.Type == "Reconciling" || c.Type == "Stalled") && c.Status != metav1.ConditionTrue {
			t.Errorf("%s is there and %s", c.Type, c.Status)
		}
	}
	if got := meta.IsStatusConditionTrue(status.Conditions, "Ready"); got != ready {
		t.Errorf("Ready is %v", got)
	}
	if progress := seen["Reconciling"] || seen["Stalled"]; progress == ready || (seen["Reconciling"] && seen["Stalled"]) {
		t.Errorf("Ready %v, Reconciling %v, Stalled %v", ready, seen["Reconciling"], seen["Stalled"])
	}
	for _, part := range parts {
		if !seen[part] {
			t.Errorf("%s is missing", part)
		}
	}
}

func TestPace(t *testing.T) {
	p := &pace{}
	lagging := distribution{generation: "g", ready: 2, acknowledged: 1}
	var waits []time.Duration
	for range 9 {
		wait, _ := p.next(named("a"), lagging, now)
		waits = append(waits, wait)
	}
	for i := 1; i < len(waits); i++ {
		if waits[i] < waits[i-1] || waits[i] > lastDelay {
			t.Fatalf("waits %v", waits)
		}
	}
	if waits[0] != firstDelay || waits[8] != lastDelay {
		t.Errorf("waits %v", waits)
	}
	if wait, _ := p.next(named("a"), distribution{generation: "h", ready: 2, acknowledged: 1}, now); wait != firstDelay {
		t.Errorf("a new generation waits %s", wait)
	}
	if wait, took := p.next(named("a"), distribution{generation: "h", ready: 2, acknowledged: 2}, now.Add(3*time.Second)); wait != 0 || took != 3*time.Second {
		t.Errorf("wait %s, took %s", wait, took)
	}
}
