package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// rotationsVariable is the environment variable with the number of rotations that each client goes through in
// TestE2ERotation; the disturbances are repeated until then. "make soak" is the long run.
const (
	rotationsVariable = "BARTIZAN_ROTATIONS"
	fewRotations      = 3
	// perDisturbance is how often each client's key is replaced before the next disturbance of the long run.
	perDisturbance = 2
)

// TestE2ERotation: not one request fails while 20 clients with 3 servers of 2 replicas each get new keys as fast as the gates
// acknowledge them and new certificates every few minutes, and while a server is restarted, the operator is killed and its
// leader changes. No client is ever without a current key, and every retired key is refused at every replica. In the long run
// other authorities follow those of both namespaces meanwhile: that alone takes longer than the short one.
//
// The clients read the mounted files again for each request and each handshake. The kubelet has its defaults. Half of the
// clients' pods are annotated by their owner after each change, and get it within seconds; the other half gets it when their
// kubelet looks, after up to two minutes, while keys are replaced every few seconds: the overlap is a minute, and a replaced key
// lives for as long as it is used.
//
// It does not run beside other tests: the operator is everybody's.
func TestE2ERotation(t *testing.T) {
	rotations := fewRotations
	if text := os.Getenv(rotationsVariable); text != "" {
		var err error
		if rotations, err = strconv.Atoi(text); err != nil || rotations < 1 {
			t.Fatalf("%s=%s: want a number of rotations", rotationsVariable, text)
		}
	}
	c := start(t)
	long := rotations > fewRotations
	if long {
		defer c.hurryAuthorities(t)()
	}
	f := c.fleet(t, 3, 2, 4, 5)
	f.unharmed(t, "the beginning")
	begun := time.Now()
	f.hurry(t)
	f.rotate(t, rotations)
	followed := func() {}
	if long {
		followed = f.rollOver(t)
	}
	disturbances := []struct {
		name string
		do   func(*testing.T)
	}{
		{"new certificates for all", f.renewCertificates},
		{"a rolling restart", func(t *testing.T) { f.restart(t, f.servers[0]) }},
		{"the operator was killed", f.killOperator},
		{"another operator leads", f.changeLeader},
	}
	for done := 0; done < len(disturbances) || long && f.ledger.rotations(f.clients) < rotations; {
		for _, disturbance := range disturbances {
			if long {
				// Keys are to be replaced between the disturbances, too.
				f.rotated(t, min(perDisturbance*done, rotations))
			}
			done++
			disturbance.do(t)
			f.unharmed(t, disturbance.name)
		}
	}
	followed()
	f.unharmed(t, "other authorities have followed")
	f.settled(t, rotations, time.Duration(rotations)*3*time.Minute+20*time.Minute)
	f.unharmed(t, fmt.Sprintf("%d rotations in %s", rotations, time.Since(begun).Round(time.Second)))
	f.refused(t)
	for name, account := range f.working(t) {
		if current := f.ledger.accepted(name); len(current) != 1 || time.Since(account.Succeeded[current[0]]) > time.Minute {
			t.Errorf("%s does not use its key %v: %+v", name, current, account.Succeeded)
		}
	}
}

// rotated waits until each client has had so many new keys.
func (f *fleet) rotated(t *testing.T, times int) {
	t.Helper()
	eventually(t, fmt.Sprintf("every client has had %d new keys", times), 20*time.Minute, func(context.Context) error {
		if n := f.ledger.rotations(f.clients); n < times {
			return fmt.Errorf("one has had %d", n)
		}
		return nil
	})
}

// renewCertificates has cert-manager issue every certificate of clients and servers again, and waits until it has.
func (f *fleet) renewCertificates(t *testing.T) {
	t.Helper()
	before := map[types.NamespacedName]int{}
	for _, namespace := range []string{f.tools, f.callers} {
		var certificates cmapi.CertificateList
		must(t, f.List(t.Context(), &certificates, client.InNamespace(namespace)))
		for i := range certificates.Items {
			if certificate := &certificates.Items[i]; !certificate.Spec.IsCA {
				before[client.ObjectKeyFromObject(certificate)] = revision(certificate)
				f.renew(t, certificate)
			}
		}
	}
	if want := len(f.clients) + len(f.servers); len(before) != want {
		t.Errorf("there are %d certificates, want %d", len(before), want)
	}
	took := eventually(t, "every certificate is issued again", 3*time.Minute, func(ctx context.Context) error {
		for name, was := range before {
			certificate := &cmapi.Certificate{}
			if err := f.Get(ctx, name, certificate); err != nil {
				return err
			}
			if revision(certificate) <= was {
				return fmt.Errorf("%s is not", name)
			}
		}
		return nil
	})
	t.Logf("%d certificates were issued again after %s", len(before), took.Round(time.Second))
}

func revision(certificate *cmapi.Certificate) int {
	if certificate.Status.Revision == nil {
		return 0
	}
	return *certificate.Status.Revision
}

// renew does what cmctl renew does.
func (c *cluster) renew(t *testing.T, certificate *cmapi.Certificate) {
	t.Helper()
	eventually(t, "asking for a new certificate", 30*time.Second, func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(certificate), certificate); err != nil {
			return err
		}
		if issuing(certificate) {
			return nil
		}
		certificate.Status.Conditions = append(certificate.Status.Conditions, cmapi.CertificateCondition{
			Type: cmapi.CertificateConditionIssuing, Status: cmmeta.ConditionTrue, Reason: "ManuallyTriggered", Message: "by the test",
			LastTransitionTime: &metav1.Time{Time: time.Now()}, ObservedGeneration: certificate.Generation,
		})
		return c.Status().Update(ctx, certificate)
	})
}

// issuing says whether cert-manager was asked for a certificate, or asked itself, and has not issued it yet.
func issuing(certificate *cmapi.Certificate) bool {
	return slices.ContainsFunc(certificate.Status.Conditions, func(c cmapi.CertificateCondition) bool { return c.Type == cmapi.CertificateConditionIssuing })
}

// restart replaces every pod of a server, and waits until the old ones are gone.
func (f *fleet) restart(t *testing.T, server *v1alpha1.MCPServer) {
	t.Helper()
	before, err := f.running(t.Context(), server)
	must(t, err)
	old := map[types.UID]bool{}
	for _, pod := range before {
		old[pod.UID] = true
	}
	change(t, f.cluster, server, func(s *v1alpha1.MCPServer) {
		s.Spec.Pod = &v1alpha1.PodSettings{Annotations: map[string]string{"example.com/restarted": time.Now().Format("15-04-05")}}
	})
	took := eventually(t, "every pod is replaced", 5*time.Minute, func(ctx context.Context) error {
		pods, err := f.allPods(ctx, server)
		if err != nil {
			return err
		}
		for _, pod := range pods {
			if old[pod.UID] {
				return fmt.Errorf("%s is still there", pod.Name)
			}
		}
		return nil
	})
	f.ready(t, server)
	t.Logf("every pod of %s was replaced after %s", server.Name, took.Round(time.Second))
}
