package e2e

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

const (
	idleServers = 200
	// runningServers of them have a pod; the others are suspended, because one node does not hold 200 pods. A suspended
	// server has all its other children, and is reconciled like any.
	runningServers = 5
	idleTime       = 5 * time.Minute
)

// TestE2EIdle: with 200 MCPServers and nothing to do, the operator writes nothing in 5 minutes. Where the API server's audit log
// can be read, as on the testbed, that means: no write of any kind by the operator's user in their namespaces. Where it cannot,
// what is counted are the write requests that the API server got, from anybody, of every kind that the operator's role lets it
// write; then the test does not run beside others.
func TestE2EIdle(t *testing.T) {
	c := reach(t)
	tools, callers := c.namespace(t, "idle"), c.namespace(t, "callers")
	c.store(t, tools, map[string]string{"token": "x"})
	friend := mcpClient(callers, "friend")
	var servers []*v1alpha1.MCPServer
	for i := range idleServers {
		server := c.server(tools, fmt.Sprintf("talker-%03d", i))
		server.Spec.Suspend = ptr.To(i >= runningServers)
		// Where nobody reads the gates' metrics, the operator says so once, ten minutes after they began: on a busy machine that is
		// in the time in which nothing may be written.
		server.Spec.Verification = &v1alpha1.Verification{Exemptions: []v1alpha1.Exemption{{
			Control: "LOG-4", Owner: "tests", Reason: "nobody reads metrics here", NotAfter: metav1.NewTime(time.Now().Add(24 * time.Hour).Truncate(time.Second)),
		}}}
		if i%20 == 0 {
			// The time is spelled as external-secrets would not spell it.
			server.Spec.Secrets = []v1alpha1.SecretGroup{{
				Name: "upstream", StoreRef: v1alpha1.SecretStoreRef{Kind: v1alpha1.SecretStoreNamespaced, Name: "store"}, RefreshInterval: "90m",
				Data: []v1alpha1.SecretData{{RemoteRef: v1alpha1.RemoteRef{Key: "values", Property: "token"}, File: "token"}},
			}}
		}
		servers = append(servers, server)
	}
	friend.Spec.Servers = mcpClient(callers, "", servers...).Spec.Servers
	for _, server := range servers {
		c.create(t, server)
	}
	policy := accessPolicy(servers[0], friend, "echo")
	policy.Spec.Servers = v1alpha1.ServerSelection{Selector: &metav1.LabelSelector{}}
	c.create(t, friend, policy)
	took := eventually(t, "every server is as its spec says", 15*time.Minute, func(ctx context.Context) error {
		var list v1alpha1.MCPServerList
		if err := c.List(ctx, &list, client.InNamespace(tools)); err != nil {
			return err
		}
		var settled int
		var example string
		for _, server := range list.Items {
			if server.Status.ObservedGeneration == server.Generation &&
				meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionCertificatesReady) &&
				!meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionReconciling) {
				settled++
			} else {
				example = server.Name + conditions(server.Status.Conditions)
			}
		}
		if settled < idleServers {
			return fmt.Errorf("%d of %d are; not %s", settled, idleServers, example)
		}
		return nil
	})
	c.ready(t, friend)
	t.Logf("%d servers were settled after %s", idleServers, took)

	if c.auditLog == "" {
		c.idleByCounts(t)
		return
	}
	// To make and to remove them is work enough for a small machine; only to wait beside other tests is not.
	t.Cleanup(func() {
		for c.others.Load() > 0 {
			time.Sleep(time.Second)
		}
	})
	t.Parallel()
	c.idleByAudit(t, tools, callers)
}

// idleByAudit demands that the operator's user writes nothing in some namespaces for idleTime.
func (c *cluster) idleByAudit(t *testing.T, namespaces ...string) {
	t.Helper()
	user, err := c.operator(t.Context())
	must(t, err)
	settling, _, err := c.audited(0, user, namespaces...)
	must(t, err)
	if len(settling) < idleServers {
		t.Fatalf("the audit log knows %d writes of %s: it is not the operator's", len(settling), user)
	}
	t.Logf("the operator wrote %d times until all was settled", len(settling))
	var place int64
	quiet := eventually(t, "the operator writes no more", 5*time.Minute, func(ctx context.Context) error {
		_, begin, err := c.audited(place, user, namespaces...)
		if err != nil {
			return err
		}
		if err := pause(ctx, 15*time.Second); err != nil {
			return err
		}
		writes, _, err := c.audited(begin, user, namespaces...)
		place = begin
		if err != nil || len(writes) == 0 {
			return err
		}
		return fmt.Errorf("still written:%s", lines(writes))
	})
	t.Logf("quiet after %s", quiet)
	must(t, pause(t.Context(), idleTime))
	writes, _, err := c.audited(place, user, namespaces...)
	must(t, err)
	if len(writes) > 0 {
		t.Errorf("written by the operator in %s of idleness:%s", idleTime, lines(writes))
	}
}

// idleByCounts demands that nobody writes for idleTime what the operator may write.
func (c *cluster) idleByCounts(t *testing.T) {
	t.Helper()
	// The last events and leases of what just happened.
	quiet := eventually(t, "the cluster is quiet", 3*time.Minute, func(ctx context.Context) error {
		begin, err := c.writes(ctx)
		if err != nil {
			return err
		}
		if err := pause(ctx, 15*time.Second); err != nil {
			return err
		}
		end, err := c.writes(ctx)
		if err != nil {
			return err
		}
		if more := difference(begin, end); len(more) > 0 {
			return fmt.Errorf("still written: %s", strings.Join(more, "; "))
		}
		return nil
	})
	t.Logf("quiet after %s", quiet)
	begin, err := c.writes(t.Context())
	must(t, err)
	must(t, pause(t.Context(), idleTime))
	end, err := c.writes(t.Context())
	must(t, err)
	if more := difference(begin, end); len(more) > 0 {
		t.Errorf("written in %s of idleness:\n  %s", idleTime, strings.Join(more, "\n  "))
	}
}

// pause lets a time pass in which something is observed.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// operatorMayWrite says which write requests can be the operator's, by "verb group/resource/subresource". The role says it: what
// it does not name, such as the status that external-secrets writes at each refresh, others wrote. Events are left out: many
// write them, and they say themselves who did.
func (c *cluster) operatorMayWrite(ctx context.Context) (map[string]bool, error) {
	role := &rbacv1.ClusterRole{}
	if err := c.Get(ctx, client.ObjectKey{Name: "bartizan-manager-role"}, role); err != nil {
		return nil, err
	}
	requests := map[string][]string{"create": {"POST", "APPLY"}, "update": {"PUT"}, "patch": {"PATCH", "APPLY"}, "delete": {"DELETE", "DELETECOLLECTION"}}
	may := map[string]bool{}
	for _, rule := range role.Rules {
		for _, verb := range rule.Verbs {
			for _, request := range requests[verb] {
				for _, group := range rule.APIGroups {
					for _, resource := range rule.Resources {
						may[request+" "+group+"/"+resource] = true
					}
				}
			}
		}
	}
	maps.DeleteFunc(may, func(what string, _ bool) bool { return strings.HasSuffix(what, "/events") })
	if !may["PATCH apps/deployments"] || !may["PATCH bartizan.dev/mcpservers/status"] {
		return nil, fmt.Errorf("ClusterRole %s is not the operator's", role.Name)
	}
	return may, nil
}

// writes are the API server's counts of the write requests that can be the operator's, by what was written.
func (c *cluster) writes(ctx context.Context) (map[string]float64, error) {
	may, err := c.operatorMayWrite(ctx)
	if err != nil {
		return nil, err
	}
	set, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		return nil, err
	}
	raw, err := set.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	requests, ok := families["apiserver_request_total"]
	if !ok {
		return nil, fmt.Errorf("the API server does not count its requests")
	}
	found := map[string]float64{}
	for _, metric := range requests.GetMetric() {
		verb, resource := label(metric, "verb"), label(metric, "resource")
		if sub := label(metric, "subresource"); sub != "" {
			resource += "/" + sub
		}
		if what := verb + " " + label(metric, "group") + "/" + resource; may[what] {
			found[what] += metric.GetCounter().GetValue()
		}
	}
	return found, nil
}

func label(metric *dto.Metric, name string) string {
	for _, pair := range metric.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}

func difference(begin, end map[string]float64) []string {
	var more []string
	for what, count := range end {
		if count > begin[what] {
			more = append(more, fmt.Sprintf("%s: %.0f", what, count-begin[what]))
		}
	}
	slices.Sort(more)
	return more
}
