package verification

import (
	"context"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/controllers/internal/optional"
)

// +kubebuilder:rbac:groups=monitoring.coreos.com,resources=prometheusrules,verbs=list

// ruleKind is that of the objects in which the Prometheus operator has alert rules.
var ruleKind = schema.GroupVersionKind{Group: "monitoring.coreos.com", Version: "v1", Kind: "PrometheusRule"}

// AlertRules is the API of the Prometheus operator, of which only rules are read. No cache has them: others' are large and
// many, and to list them once in a while is all that is needed.
var AlertRules = optional.API{
	Name: "the Prometheus operator", Version: ruleKind.GroupVersion(), Resources: []string{"prometheusrules"},
}

// What alert rules watch.
const (
	failedLogins    = "bartizan_gate_authentication_failures_total"
	failingControls = "bartizan_controls_failing"
	notVerified     = "bartizan_server_verified"
)

// rulesPage bounds how many rules are in memory at once.
const rulesPage = 20

// alerts is what alert rules watched at a time.
type alerts struct {
	at time.Time
	// known: the cluster has the API of rules, and the operator may list them. Rules that Prometheus reads from a file are not seen.
	known bool
	// controls: an alert watches for controls that fail, or attacks that succeed; logins: one watches failed logins.
	controls, logins bool
}

// alertRules remembers what alert rules watch.
type alertRules struct {
	mutex sync.Mutex
	last  alerts
}

func (r *Reconciler) alerts(ctx context.Context) (alerts, error) {
	if !r.APIs.Served(ruleKind.Group) {
		return alerts{}, nil
	}
	r.rules.mutex.Lock()
	defer r.rules.mutex.Unlock()
	now := r.Now()
	if last := r.rules.last; last.known && now.Sub(last.at) < r.Settings.RulesAge {
		return last, nil
	}
	found := alerts{at: now, known: true}
	namespaces := []string{""}
	if len(r.WatchNamespaces) > 0 {
		namespaces = append([]string{r.Settings.Namespace}, r.WatchNamespaces...)
	}
	for _, namespace := range namespaces {
		page := &unstructured.UnstructuredList{}
		page.SetGroupVersionKind(ruleKind.GroupVersion().WithKind(ruleKind.Kind + "List"))
		for more := true; more; more = page.GetContinue() != "" {
			if err := r.Live.List(ctx, page, client.InNamespace(namespace), client.Limit(rulesPage), client.Continue(page.GetContinue())); err != nil {
				if apierrors.IsForbidden(err) {
					return alerts{}, nil // the administrator has taken the right away
				}
				return alerts{}, err
			}
			for i := range page.Items {
				found.add(&page.Items[i])
			}
		}
	}
	r.rules.last = found
	return found, nil
}

// add takes in what the alerts of a PrometheusRule watch.
func (a *alerts) add(rule *unstructured.Unstructured) {
	groups, _, _ := unstructured.NestedSlice(rule.Object, "spec", "groups")
	for _, group := range groups {
		fields, _ := group.(map[string]any)
		rules, _ := fields["rules"].([]any)
		for _, rule := range rules {
			fields, _ := rule.(map[string]any)
			name, _ := fields["alert"].(string)
			expression, _ := fields["expr"].(string)
			if name == "" {
				continue // it records
			}
			a.controls = a.controls || strings.Contains(expression, failingControls) || strings.Contains(expression, notVerified)
			a.logins = a.logins || strings.Contains(expression, failedLogins)
		}
	}
}
