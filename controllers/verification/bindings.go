package verification

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,verbs=get
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterrolebindings,verbs=list

// bindingsPage bounds how many bindings are in memory at once as the API server has them.
const bindingsPage = 500

// bindings are those of the cluster at a time, and the roles that were asked for. No cache has them: they are many and everybody's, and
// to list them once in a while is all that is needed.
type bindings struct {
	mutex sync.Mutex
	at    time.Time
	all   []declared.Binding
	roles map[string][]rbacv1.PolicyRule
	// missing says which could not be read; "": all were.
	missing string
}

// granted is what bindings give to the ServiceAccount of a server.
type granted struct {
	at time.Time
	// beyond is what no server should have.
	beyond []string
	// missing says which bindings could not be read; "": all were.
	missing string
}

// granted is what the cluster's bindings give to the server's ServiceAccount; nil for a server whose pods have no token.
func (r *Reconciler) granted(ctx context.Context, o *observed) (*granted, error) {
	if o.server.Spec.KubernetesAccess == nil {
		return nil, nil
	}
	b := &r.bindings
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if b.at.IsZero() || o.now.Sub(b.at) >= r.lookAge(o) {
		if err := r.readBindings(ctx, o.now); err != nil {
			return nil, err
		}
	}
	account := declared.Account(o.server)
	found := &granted{at: b.at, missing: b.missing}
	for i := range b.all {
		if !b.all[i].Names(o.server.Namespace, account) {
			continue
		}
		rules, err := r.rulesOf(ctx, &b.all[i])
		if apierrors.IsForbidden(err) {
			found.missing = "the operator may not read the " + b.all[i].Role.Kind + " of " + b.all[i].String()
			continue
		} else if err != nil {
			return nil, err
		}
		for _, rule := range rules {
			what := declared.Beyond(rule)
			if by, forbidden := o.floor.Beyond(rule); what == "" && forbidden && !b.all[i].Everybodys {
				what = "what MCPSecurityProfile " + by + " forbids"
			}
			if what != "" {
				found.beyond = append(found.beyond, fmt.Sprintf("%s gives ServiceAccount %s %s", &b.all[i], account, what))
			}
		}
	}
	slices.Sort(found.beyond)
	found.beyond = slices.Compact(found.beyond)
	return found, nil
}

// lookAge is how old may be what is looked at for all servers at once: less where a server is verified more often than that.
func (r *Reconciler) lookAge(o *observed) time.Duration {
	return min(r.Settings.RulesAge, declared.VerificationInterval(o.server))
}

// readBindings lists all bindings that the operator may list.
func (r *Reconciler) readBindings(ctx context.Context, now time.Time) error {
	b := &r.bindings
	b.all, b.roles, b.missing = nil, map[string][]rbacv1.PolicyRule{}, ""
	b.at = time.Time{}
	cluster, inNamespace := &rbacv1.ClusterRoleBindingList{}, &rbacv1.RoleBindingList{}
	err := r.everyPage(ctx, cluster, "", func() {
		for i := range cluster.Items {
			c := &cluster.Items[i]
			b.all = append(b.all, declared.ClusterBinding(c))
		}
	})
	if apierrors.IsForbidden(err) {
		b.missing = "the operator may not list ClusterRoleBindings"
	} else if err != nil {
		return err
	}
	take := func() {
		for i := range inNamespace.Items {
			n := &inNamespace.Items[i]
			b.all = append(b.all, declared.NamespaceBinding(n))
		}
	}
	err = r.everyPage(ctx, inNamespace, "", take)
	if apierrors.IsForbidden(err) {
		b.missing = cmp.Or(b.missing, "the operator may list RoleBindings of its own namespaces only")
		for _, namespace := range r.WatchNamespaces {
			if err = r.everyPage(ctx, inNamespace, namespace, take); client.IgnoreNotFound(err) != nil && !apierrors.IsForbidden(err) {
				return err
			}
		}
	} else if err != nil {
		return err
	}
	b.at = now
	return nil
}

// everyPage calls take with each page of a list in turn.
func (r *Reconciler) everyPage(ctx context.Context, page client.ObjectList, namespace string, take func()) error {
	page.SetContinue("")
	for more := true; more; more = page.GetContinue() != "" {
		if err := r.Live.List(ctx, page, client.InNamespace(namespace), client.Limit(bindingsPage), client.Continue(page.GetContinue())); err != nil {
			return err
		}
		take()
	}
	return nil
}

// rulesOf are those of the role that is bound; none while there is no such role.
func (r *Reconciler) rulesOf(ctx context.Context, b *declared.Binding) ([]rbacv1.PolicyRule, error) {
	of := b.Role.Kind + " " + b.Role.Name
	if b.Role.Kind == "Role" {
		of = b.Namespace + "/" + of
	}
	if known, ok := r.bindings.roles[of]; ok {
		return known, nil
	}
	var rules []rbacv1.PolicyRule
	var err error
	if b.Role.Kind == "Role" {
		role := &rbacv1.Role{}
		err = r.Live.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: b.Role.Name}, role)
		rules = role.Rules
	} else {
		role := &rbacv1.ClusterRole{}
		err = r.Live.Get(ctx, client.ObjectKey{Name: b.Role.Name}, role)
		rules = role.Rules
	}
	if client.IgnoreNotFound(err) != nil {
		return nil, err
	}
	r.bindings.roles[of] = rules
	return rules, nil
}

// rightFacts add what is bound to the server's ServiceAccount to what its spec asks for.
func (o *observed) rightFacts(s *posture.Snapshot) {
	if o.granted == nil {
		return
	}
	switch found := append(slices.Clone(s.Rights.Value), o.granted.beyond...); {
	case len(found) > 0 || o.granted.missing == "":
		s.Rights = posture.See(found, "MCPServer spec.kubernetesAccess, bindings of its ServiceAccount", o.granted.at)
	default:
		s.Rights.Missing = o.granted.missing + ": " + s.Rights.Missing
	}
}
