package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/prometheus"
)

// testbed is the cluster as processes of this machine.
type testbed struct{ program, dir string }

// asTestbed returns the testbed that the cluster is; false where it is another cluster.
func (c *cluster) asTestbed(t *testing.T) (testbed, bool) {
	t.Helper()
	dir := filepath.Dir(c.kubeconfig)
	b := testbed{program: filepath.Join(c.cache, "bin", "testbed"), dir: dir}
	if _, err := os.Stat(filepath.Join(dir, "state.json")); c.kubeconfig == "" || err != nil {
		return b, false
	}
	return b, true
}

// process is the id of the process of a part.
func (b testbed) process(t *testing.T, name string) int {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(b.dir, "state.json"))
	must(t, err)
	var state struct {
		Parts []struct {
			Name string `json:"name"`
			PID  int    `json:"pid"`
		} `json:"parts"`
	}
	must(t, json.Unmarshal(raw, &state))
	for _, part := range state.Parts {
		if part.Name == name {
			return part.PID
		}
	}
	t.Fatalf("the testbed has no part %s", name)
	return 0
}

// do runs a command of the testbed's.
func (b testbed) do(ctx context.Context, command string, arguments ...string) error {
	all := append([]string{command, "--dir", b.dir}, arguments...)
	if output, err := exec.CommandContext(ctx, b.program, all...).CombinedOutput(); err != nil {
		return fmt.Errorf("testbed %s: %w: %s", strings.Join(all, " "), err, output)
	}
	return nil
}

// stop has a part do nothing any more until the returned function is called.
func (b testbed) stop(t *testing.T, name string) (resume func()) {
	t.Helper()
	id := b.process(t, name)
	must(t, syscall.Kill(id, syscall.SIGSTOP))
	resumed := false
	resume = func() {
		if !resumed {
			resumed = true
			_ = syscall.Kill(id, syscall.SIGCONT)
		}
	}
	t.Cleanup(resume)
	return resume
}

// cut drops what one pod sends to another until the returned function is called.
func (b testbed) cut(t *testing.T, from, to string) (mend func()) {
	t.Helper()
	rule := func(change string) []string {
		return []string{"--", "iptables", "--wait", "-t", "raw", change, "PREROUTING", "-s", from, "-d", to, "-j", "DROP"}
	}
	must(t, b.do(t.Context(), "exec", rule("-I")...))
	mended := false
	mend = func() {
		if !mended {
			mended = true
			if err := b.do(context.WithoutCancel(t.Context()), "exec", rule("-D")...); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(mend)
	return mend
}

// TestE2ERotationFaults: while the external store is down, the Secrets of authorities are deleted, cert-manager stands still, a
// replica is cut off from the operator or the API server restarts, no request of a client fails, the conditions name what is wrong, and keys are replaced again
// as soon as it is over. All but the first two are done to the testbed; on another cluster only those are tried.
//
// It does not run beside other tests: what it breaks is everybody's.
func TestE2ERotationFaults(t *testing.T) {
	c := start(t)
	long := os.Getenv(rotationsVariable) != ""
	if long {
		defer c.hurryAuthorities(t)()
	}
	f := c.fleet(t, 2, 2, 2, 3)
	f.hurry(t)
	f.unharmed(t, "the beginning")
	stored := f.store(t, f.tools, map[string]string{"token": "first"}) // it stays for all parts: a server that lost it is not ready
	t.Run("ExternalStore", func(t *testing.T) { f.storeDown(t, stored.Namespace) })
	t.Run("AuthorityLost", func(t *testing.T) { f.authoritiesLost(t, long) })
	b, ok := c.asTestbed(t)
	if !ok {
		t.Log("this cluster is not the testbed: its parts are left alone")
		return
	}
	t.Run("CertManager", func(t *testing.T) { f.certManagerStops(t, b) })
	t.Run("ReplicaCutOff", func(t *testing.T) { f.replicaCutOff(t, b) })
	t.Run("APIServer", func(t *testing.T) { f.apiServerRestarts(t, b) })
}

// renewed asks for a new key of every client, and waits until all have it.
func (f *fleet) renewed(t *testing.T) {
	t.Helper()
	want := f.ledger.rotations(f.clients) + 1
	for _, c := range f.clients {
		f.askForKey(t, c)
	}
	took := eventually(t, "every client has a new key", 5*time.Minute, func(context.Context) error {
		if n := f.ledger.rotations(f.clients); n < want {
			return fmt.Errorf("%d rotations, want %d", n, want)
		}
		return nil
	})
	t.Logf("every client had a new key after %s", took.Round(time.Second))
}

// askForKey asks for a new key of a client.
func (f *fleet) askForKey(t *testing.T, c *v1alpha1.MCPClient) {
	t.Helper()
	eventually(t, "asking for a new key", 5*time.Minute, func(ctx context.Context) error {
		activated, ok := f.ledger.restful(c.Name)
		now := time.Now().UTC().Truncate(time.Second)
		if !ok || !activated.Before(now) {
			return fmt.Errorf("%s has had its key since %s", c.Name, activated)
		}
		patch := fmt.Appendf(nil, `{"spec":{"rotation":{"rotateAfter":%q}}}`, now.Format(time.RFC3339))
		return f.Patch(ctx, &v1alpha1.MCPClient{ObjectMeta: c.ObjectMeta}, client.RawPatch("application/merge-patch+json", patch))
	})
}

// becomes waits until a condition of an object has a status and names something.
func becomes[T client.Object](t *testing.T, c *cluster, object T, all func(T) []metav1.Condition, kind string, want metav1.ConditionStatus, names string) {
	t.Helper()
	took := eventually(t, fmt.Sprintf("%s of %s is %s and names %q", kind, object.GetName(), want, names), 3*time.Minute, func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		condition := meta.FindStatusCondition(all(object), kind)
		if condition == nil || condition.Status != want || !strings.Contains(condition.Message, names) {
			return errors.New(conditions(all(object)))
		}
		return nil
	})
	condition := meta.FindStatusCondition(all(object), kind)
	t.Logf("after %s: %s of %s is %s (%s): %s", took.Round(time.Second), kind, object.GetName(), condition.Status, condition.Reason, condition.Message)
}

func ofServer(s *v1alpha1.MCPServer) []metav1.Condition { return s.Status.Conditions }
func ofClient(c *v1alpha1.MCPClient) []metav1.Condition { return c.Status.Conditions }

// storeDown takes the rights away with which the store is read.
func (f *fleet) storeDown(t *testing.T, namespace string) {
	server := f.servers[0]
	change(t, f.cluster, server, func(s *v1alpha1.MCPServer) {
		s.Spec.Secrets = []v1alpha1.SecretGroup{{
			Name: "upstream", StoreRef: v1alpha1.SecretStoreRef{Kind: v1alpha1.SecretStoreNamespaced, Name: "store"}, RefreshInterval: "5s",
			Data: []v1alpha1.SecretData{{RemoteRef: v1alpha1.RemoteRef{Key: "values", Property: "token"}, File: "token"}},
		}}
	})
	f.ready(t, server)
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "reader"}}
	rules := func(verbs ...string) {
		change(t, f.cluster, role, func(r *rbacv1.Role) { r.Rules[0].Verbs = verbs })
	}
	rules("list")
	becomes(t, f.cluster, server, ofServer, v1alpha1.ConditionSecretsReady, metav1.ConditionFalse, "spec.secrets[upstream]")
	f.renewed(t)
	f.unharmed(t, "the external store was down")
	rules("get")
	becomes(t, f.cluster, server, ofServer, v1alpha1.ConditionSecretsReady, metav1.ConditionTrue, "")
	f.ready(t, server)
	f.unharmed(t, "the external store was up again")
}

// certManagerStops has cert-manager stand still while certificates are to be renewed and a new client comes. A certificate that is
// to be renewed a minute after its beginning is not, and a real Prometheus says so. It is told after a five-hundredth of what is left
// then, which is seven seconds, where an installation waits for a quarter.
func (f *fleet) certManagerStops(t *testing.T, b testbed) {
	monitoring := f.prometheus(t, f.namespace(t, "monitoring"), prometheus.Quick(prometheus.Groups(t, "../.."), "> 0.25", "> 0.002"))
	fading := mcpClient(f.callers, "fading", f.servers...)
	fading.Spec.Certificate = v1alpha1.ClientCertificate{Duration: "1h", RenewBefore: "59m"}
	f.create(t, fading, accessPolicy(f.servers[0], fading, "echo"))
	aging := "fading." + f.tools
	eventually(t, "the certificate "+aging+" is issued, and cert-manager has said so", time.Minute, func(ctx context.Context) error {
		certificate := &cmapi.Certificate{}
		if err := f.Get(ctx, client.ObjectKey{Namespace: f.callers, Name: aging}, certificate); err != nil {
			return err
		}
		if certificate.Status.RenewalTime == nil || issuing(certificate) {
			return fmt.Errorf("it is not: %+v", certificate.Status)
		}
		return nil
	})
	resume := b.stop(t, "cert-manager")
	defer resume()
	var certificates cmapi.CertificateList
	must(t, f.List(t.Context(), &certificates, client.InNamespace(f.callers)))
	for i := range certificates.Items {
		if !certificates.Items[i].Spec.IsCA {
			f.renew(t, &certificates.Items[i])
		}
	}
	late := mcpClient(f.callers, "late", f.servers...)
	f.create(t, late, accessPolicy(f.servers[0], late, "echo"))
	becomes(t, f.cluster, late, ofClient, v1alpha1.ConditionCredentialsIssued, metav1.ConditionFalse, "Certificate "+f.callers+"/late."+f.tools)
	f.renewed(t)
	f.unharmed(t, "cert-manager stood still")
	monitoring.fires(t, "BartizanCertificateNearEnd", "name", aging)
	resume()
	monitoring.resolves(t, "BartizanCertificateNearEnd", "name", aging)
	becomes(t, f.cluster, late, ofClient, v1alpha1.ConditionCredentialsIssued, metav1.ConditionTrue, "")
	f.unharmed(t, "cert-manager went on")
	must(t, errors.Join(f.Delete(t.Context(), late), f.Delete(t.Context(), fading)))
}

// replicaCutOff lets nothing of the operator's reach one replica, while its clients do.
func (f *fleet) replicaCutOff(t *testing.T, b testbed) {
	leader, err := f.leader(t.Context())
	must(t, err)
	operator := &corev1.Pod{}
	must(t, f.Get(t.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: leader}, operator))
	server := f.servers[1]
	replicas, err := f.running(t.Context(), server)
	must(t, err)
	mend := b.cut(t, operator.Status.PodIP, replicas[0].Status.PodIP)
	defer mend()
	before := f.ledger.rotations(f.clients)
	for _, c := range f.clients {
		f.askForKey(t, c)
	}
	becomes(t, f.cluster, server, ofServer, v1alpha1.ConditionConfigurationInForce, metav1.ConditionFalse, "1 of 2 ready gates do not answer")
	becomes(t, f.cluster, f.clients[0], ofClient, v1alpha1.ConditionRotationSucceeded, metav1.ConditionUnknown, "on their way")
	f.unharmed(t, "a replica was cut off from the operator")
	if now := f.ledger.rotations(f.clients); now != before {
		t.Errorf("clients got a key that the replica was not known to accept: %d rotations, %d before", now, before)
	}
	mend()
	took := eventually(t, "every client has the new key", 5*time.Minute, func(context.Context) error {
		if n := f.ledger.rotations(f.clients); n <= before {
			return fmt.Errorf("%d rotations, %d before", n, before)
		}
		return nil
	})
	t.Logf("every client had the new key %s after the replica could be reached", took.Round(time.Second))
	becomes(t, f.cluster, server, ofServer, v1alpha1.ConditionConfigurationInForce, metav1.ConditionTrue, "")
	f.ready(t, f.clients[0])
	f.unharmed(t, "the replica was reached again")
}

// apiServerRestarts kills the API server in the middle of a rotation and has the testbed start it again.
func (f *fleet) apiServerRestarts(t *testing.T, b testbed) {
	for _, c := range f.clients {
		f.askForKey(t, c)
	}
	want := f.ledger.rotations(f.clients) + 1
	must(t, syscall.Kill(b.process(t, "kube-apiserver"), syscall.SIGKILL))
	eventually(t, "the testbed heals", 5*time.Minute, func(ctx context.Context) error { return b.do(ctx, "up") })
	took := eventually(t, "every client has a new key", 5*time.Minute, func(context.Context) error {
		if n := f.ledger.rotations(f.clients); n < want {
			return fmt.Errorf("%d rotations, want %d", n, want)
		}
		return nil
	})
	t.Logf("every client had a new key %s after the API server was up again", took.Round(time.Second))
	f.unharmed(t, "the API server restarted")
	f.renewed(t)
}
