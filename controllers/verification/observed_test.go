package verification

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

var noon = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// judged is what a control is said to be.
func judged(t *testing.T, s *posture.Snapshot, control string) posture.Result {
	t.Helper()
	s.Now = noon
	for _, r := range posture.Evaluate(s).Results {
		if r.Control == control {
			return r
		}
	}
	t.Fatalf("no control %s", control)
	return posture.Result{}
}

// TestChains: a log that is shorter than it was, has another end, or has nothing of what the gate answered is told, until the gate begins
// anew.
func TestChains(t *testing.T) {
	at := func(boot string, seq uint64, hash string) gatestatus.Status {
		return gatestatus.Status{Boot: boot, Audit: &gatestatus.AuditHead{Seq: seq, Hash: hash}}
	}
	for _, test := range []struct {
		name          string
		before, after gatestatus.Status
		answered      bool
		still, told   string
		want          string
	}{
		{"it goes on", at("a", 3, "x"), at("a", 4, "y"), true, "", "", ""},
		{"it goes on again", at("a", 3, "x"), at("a", 4, "y"), true, "p", "", ""},
		{"nothing happened", at("a", 3, "x"), at("a", 3, "x"), false, "", "", ""},
		{"cut off", at("a", 3, "x"), at("a", 2, "y"), false, "", "", "is shorter than it was"},
		{"gone", at("a", 3, "x"), gatestatus.Status{Boot: "a"}, false, "", "", "is shorter than it was"},
		{"rewritten", at("a", 3, "x"), at("a", 3, "y"), false, "", "", "has another last line"},
		{"it misses the attack of just now", at("a", 3, "x"), at("a", 3, "x"), true, "", "", ""},
		{"it misses that of a while ago", at("a", 3, "x"), at("a", 3, "x"), false, "p", "", "has no line of requests"},
		{"another boot", at("a", 3, "x"), at("b", 0, "y"), true, "p", "", ""},
		{"the first line", gatestatus.Status{Boot: "a"}, at("a", 0, "y"), true, "", "", ""},
		{"a gate that tells no boot", at("", 3, "x"), at("", 2, "y"), false, "", "", ""},
		{"told before", at("a", 2, "y"), at("a", 9, "z"), false, "", "it was cut off", "it was cut off"},
		{"told before, and anew", at("a", 2, "y"), at("b", 9, "z"), false, "", "it was cut off", ""},
	} {
		last := &run{at: noon.Add(-time.Second), gates: map[string]gatestatus.Status{"p": test.before}, answered: map[string]bool{"p": test.answered}}
		if test.told != "" {
			last.chains = map[string]string{"p": test.told}
		}
		if test.still != "" {
			last.still = map[string]time.Time{"p": noon.Add(-time.Minute)}
		}
		now := &run{at: noon, gates: map[string]gatestatus.Status{"p": test.after, "other": at("c", 0, "n")}}
		now.compareChains(last)
		if got := strings.Join(now.brokenChains(), "; "); test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	held := []posture.Probe{{Control: "AUTH-1", Pod: "p", Outcome: posture.Held}, {Control: "AUTH-1", Pod: "q", Outcome: posture.Inconclusive}, {Control: "ENC-1", Pod: "r", Outcome: posture.Held}}
	if got := answered(held, map[string]bool{"before": true}); len(got) != 2 || !got["p"] || !got["before"] {
		t.Errorf("answered: %v", got)
	}
}

// TestAuthorityWhileReplaced: of two authorities that vouch, that one counts from which the gate's certificate is.
func TestAuthorityWhileReplaced(t *testing.T) {
	bundle, ids := "", []string{}
	for i, end := range []time.Duration{time.Hour, 100 * time.Hour} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(int64(i)), NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(end), IsCA: true, BasicConstraintsValid: true, SubjectKeyId: []byte{byte(i), 7}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		bundle += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		ids = append(ids, hex.EncodeToString(template.SubjectKeyId))
	}
	leaf := metav1.NewTime(noon.Add(10 * time.Hour))
	o := &observed{now: noon, caBundle: bundle, server: &v1alpha1.MCPServer{Status: v1alpha1.MCPServerStatus{Gate: &v1alpha1.GateStatus{CertificateNotAfter: &leaf}}}}
	gates := func(all ...string) *run {
		r := &run{at: noon, gates: map[string]gatestatus.Status{}}
		for _, id := range all {
			r.gates[id] = gatestatus.Status{CertificateAuthority: id, CertificateNotAfter: leaf.Time}
		}
		return r
	}
	for _, test := range []struct {
		name string
		last *run
		want posture.Status
	}{
		{"from the one that ends first", gates(ids[0]), posture.Fail},
		{"from the other", gates(ids[1]), posture.Pass},
		{"one of each", gates(ids...), posture.Fail},
		{"from neither", gates("0f"), posture.Error},
		{"no gate tells", nil, posture.Error},
	} {
		if r := judged(t, &posture.Snapshot{Authority: o.authorityFact(test.last)}, "ENC-5"); r.Status != test.want {
			t.Errorf("%s: %s: %s", test.name, r.Status, r.Reason)
		}
	}
}

// TestOwnPolicy: the server's own NetworkPolicy is judged as it is in the cluster.
func TestOwnPolicy(t *testing.T) {
	yes := true
	both := []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	pods := metav1.LabelSelector{MatchLabels: map[string]string{"bartizan.dev/server": "weather"}}
	for _, test := range []struct {
		name        string
		spec        networkingv1.NetworkPolicySpec
		open, leads posture.Status
	}{
		{"it denies both ways", networkingv1.NetworkPolicySpec{PodSelector: pods, PolicyTypes: both}, posture.Pass, posture.Pass},
		{"one way only", networkingv1.NetworkPolicySpec{PodSelector: pods, PolicyTypes: both[:1]}, posture.Fail, posture.Fail},
		{"other pods", networkingv1.NetworkPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, PolicyTypes: both}, posture.Fail, posture.Pass},
		{"everybody in", networkingv1.NetworkPolicySpec{PodSelector: pods, PolicyTypes: both, Ingress: []networkingv1.NetworkPolicyIngressRule{{}}}, posture.Fail, posture.Pass},
		{"out to everywhere", networkingv1.NetworkPolicySpec{PodSelector: pods, PolicyTypes: both, Egress: []networkingv1.NetworkPolicyEgressRule{{}}}, posture.Pass, posture.Fail},
		{"out to all namespaces", networkingv1.NetworkPolicySpec{PodSelector: pods, PolicyTypes: both, Egress: []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpExists}}}}}}}}, posture.Pass, posture.Fail},
	} {
		server := &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Name: "weather", UID: "u"}}
		own := networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "weather", OwnerReferences: []metav1.OwnerReference{{UID: "u", Controller: &yes}}}, Spec: test.spec}
		forged := own
		forged.Name, forged.Spec = "zz", networkingv1.NetworkPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, PolicyTypes: both}
		o := &observed{server: server, now: noon, policies: []networkingv1.NetworkPolicy{own, forged}, pods: []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Labels: pods.MatchLabels}}}}
		if r := judged(t, &posture.Snapshot{NetworkOpenings: posture.See(o.openings(), "policies", noon)}, "LEAST-5"); r.Status != test.open {
			t.Errorf("%s: LEAST-5 is %s: %s", test.name, r.Status, r.Reason)
		}
		if r := judged(t, &posture.Snapshot{Egress: o.egressFact(posture.Say[[]string](nil, "spec"))}, "LEAST-7"); r.Status != test.leads {
			t.Errorf("%s: LEAST-7 is %s: %s", test.name, r.Status, r.Reason)
		}
	}
	o := &observed{server: &v1alpha1.MCPServer{}, now: noon}
	if r := judged(t, &posture.Snapshot{Egress: o.egressFact(posture.Say[[]string](nil, "spec"))}, "LEAST-7"); r.Status != posture.Error {
		t.Errorf("without a policy: %s", r.Status)
	}
}

// TestSharedKeys: a key of two clients is told also at a server that one of them may not use: it takes the key all the same.
func TestSharedKeys(t *testing.T) {
	client := func(name string, keys ...v1alpha1.ClientKey) v1alpha1.MCPClient {
		return v1alpha1.MCPClient{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: name}, Status: v1alpha1.MCPClientStatus{Credentials: []v1alpha1.ClientCredential{
			{Namespace: "other", Keys: []v1alpha1.ClientKey{{ID: "everybodys"}}}, {Namespace: "tools", Keys: keys},
		}}}
	}
	for _, test := range []struct {
		name    string
		clients []v1alpha1.MCPClient
		want    posture.Status
	}{
		{"each its own", []v1alpha1.MCPClient{client("a", v1alpha1.ClientKey{ID: "1", SHA256: "x"}, v1alpha1.ClientKey{ID: "2"}), client("b", v1alpha1.ClientKey{ID: "3"})}, posture.Pass},
		{"the same", []v1alpha1.MCPClient{client("a", v1alpha1.ClientKey{ID: "1", SHA256: "x"}), client("b", v1alpha1.ClientKey{ID: "1", SHA256: "x"})}, posture.Fail},
		{"the same by another id", []v1alpha1.MCPClient{client("a", v1alpha1.ClientKey{ID: "1", SHA256: "x"}), client("b", v1alpha1.ClientKey{ID: "2", SHA256: "x"})}, posture.Fail},
	} {
		o := &observed{server: &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: "tools"}}, neighbours: test.clients}
		if r := judged(t, &posture.Snapshot{Shared: posture.See(o.shared(), "MCPClients", noon), Clients: posture.See([]posture.Client{}, "MCPClients", noon)}, "AUTH-2"); r.Status != test.want {
			t.Errorf("%s: %s: %s", test.name, r.Status, r.Reason)
		}
	}
}

// TestPodLiterals: what others put into the pods counts, and what the spec says already is told once.
func TestPodLiterals(t *testing.T) {
	value := "Winter2024!"
	o := &observed{server: &v1alpha1.MCPServer{Spec: v1alpha1.MCPServerSpec{Env: []v1alpha1.EnvVar{{Name: "OLD_PASSWORD", Value: &value}}, Args: []string{"--password=Winter2024!"}}}}
	o.pods = []corev1.Pod{{Spec: corev1.PodSpec{
		Containers:          []corev1.Container{{Name: "server", Args: []string{"--password=Winter2024!"}, Env: []corev1.EnvVar{{Name: "OLD_PASSWORD", Value: value}, {Name: "DB_PASSWORD", Value: value}, {Name: "LEVEL", Value: "debug"}}}},
		EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Command: []string{"psql", "--password", "Winter2024!"}}}},
	}}}
	got := strings.Join(o.podLiterals(), "\n")
	if strings.Count(got, "\n") != 1 || !strings.Contains(got, "env[DB_PASSWORD] of container server") || !strings.Contains(got, "container debug of the pods[2]") || strings.Contains(got, "Winter") {
		t.Errorf("%s", got)
	}
}

// TestReportedGates: what a node says that it runs as a gate counts, where it can be compared.
func TestReportedGates(t *testing.T) {
	const want, other = "r/gate@sha256:1111111111111111111111111111111111111111111111111111111111111111", "r/gate@sha256:2222222222222222222222222222222222222222222222222222222222222222"
	for _, test := range []struct {
		id, runtime string
		want        posture.Status
	}{
		{want, "containerd", posture.Pass}, {other, "containerd", posture.Fail}, {other, "cri-o", posture.Pass}, {"sha256:2222222222222222222222222222222222222222222222222222222222222222", "containerd", posture.Pass},
	} {
		gate := posture.Gate{Want: want, Running: []string{want}, Reported: []posture.ReportedImage{{Runtime: test.runtime, ID: test.id}}}
		if r := judged(t, &posture.Snapshot{Gate: posture.See(gate, "pods", noon)}, "UPD-4"); r.Status != test.want {
			t.Errorf("%+v: %s: %s", test, r.Status, r.Reason)
		}
	}
}

// TestRotationDue: a rotation that was due and has not begun is told although no condition says so, and a credential of which nothing is
// listed is none.
func TestRotationDue(t *testing.T) {
	for _, test := range []struct {
		name         string
		due          time.Time
		key, secret  string
		auth, listed posture.Status
	}{
		{"not due", noon.Add(time.Hour), "k", "", posture.Pass, posture.Pass},
		{"just due", noon.Add(-time.Minute), "k", "", posture.Pass, posture.Pass},
		{"overdue", noon.Add(-time.Hour), "k", "", posture.Fail, posture.Pass},
		{"a certificate alone", time.Time{}, "", "s", posture.Pass, posture.Pass},
		{"nothing is listed", time.Time{}, "", "", posture.Pass, posture.Fail},
	} {
		credential := v1alpha1.ClientCredential{Namespace: "tools", CertificateSecretName: test.secret}
		if test.key != "" {
			credential.Keys = []v1alpha1.ClientKey{{ID: test.key, IssuedAt: metav1.NewTime(noon), NotAfter: metav1.NewTime(noon.Add(time.Hour))}}
		}
		if !test.due.IsZero() {
			credential.NextRotation = &metav1.Time{Time: test.due}
		}
		o := &observed{server: &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: "tools"}}, now: noon}
		fact := o.clientFact(&v1alpha1.MCPClient{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "a"}, Status: v1alpha1.MCPClientStatus{Credentials: []v1alpha1.ClientCredential{credential}}})
		s := &posture.Snapshot{Clients: posture.See([]posture.Client{fact}, "MCPClients", noon)}
		if r := judged(t, s, "AUTH-4"); r.Status != test.auth {
			t.Errorf("%s: AUTH-4 is %s: %s", test.name, r.Status, r.Reason)
		}
		if r := judged(t, s, "INV-4"); r.Status != test.listed {
			t.Errorf("%s: INV-4 is %s: %s", test.name, r.Status, r.Reason)
		}
	}
}
