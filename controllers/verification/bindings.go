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

// everybodys has the label of the bindings that each cluster begins with, such as that by which everybody may ask what they may do. What a
// profile forbids is not compared with them: nobody could be without them.
const (
	everybodys      = "kubernetes.io/bootstrapping"
	everybodysValue = "rbac-defaults"
)

// binding is a RoleBinding or a ClusterRoleBinding, as far as it matters.
type binding struct {
	kind string
	// namespace is empty for a ClusterRoleBinding.
	namespace, name string
	subjects        []rbacv1.Subject
	role            rbacv1.RoleRef
	everybodys      bool
}

// String names it.
func (b *binding) String() string {
	if b.namespace == "" {
		return b.kind + " " + b.name
	}
	return b.kind + " " + b.namespace + "/" + b.name
}

// names says whether it is about a ServiceAccount: by its name, or by a group that it is in.
func (b *binding) names(namespace, account string) bool {
	return slices.ContainsFunc(b.subjects, func(s rbacv1.Subject) bool {
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			return s.Name == account && cmp.Or(s.Namespace, b.namespace) == namespace
		case rbacv1.UserKind:
			return s.Name == "system:serviceaccount:"+namespace+":"+account
		case rbacv1.GroupKind:
			return slices.Contains([]string{"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:" + namespace}, s.Name)
		}
		return false
	})
}

// bindings are those of the cluster at a time, and the roles that were asked for. No cache has them: they are many and everybody's, and
// to list them once in a while is all that is needed.
type bindings struct {
	mutex sync.Mutex
	at    time.Time
	all   []binding
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
	if b.at.IsZero() || o.now.Sub(b.at) >= r.Settings.RulesAge {
		if err := r.readBindings(ctx, o.now); err != nil {
			return nil, err
		}
	}
	account := declared.Account(o.server)
	found := &granted{at: b.at, missing: b.missing}
	for i := range b.all {
		if !b.all[i].names(o.server.Namespace, account) {
			continue
		}
		rules, err := r.rulesOf(ctx, &b.all[i])
		if apierrors.IsForbidden(err) {
			found.missing = "the operator may not read the " + b.all[i].role.Kind + " of " + b.all[i].String()
			continue
		} else if err != nil {
			return nil, err
		}
		for _, rule := range rules {
			what := declared.Beyond(rule)
			if by, forbidden := o.floor.Beyond(rule); what == "" && forbidden && !b.all[i].everybodys {
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

// readBindings lists all bindings that the operator may list.
func (r *Reconciler) readBindings(ctx context.Context, now time.Time) error {
	b := &r.bindings
	b.all, b.roles, b.missing = nil, map[string][]rbacv1.PolicyRule{}, ""
	b.at = time.Time{}
	cluster, inNamespace := &rbacv1.ClusterRoleBindingList{}, &rbacv1.RoleBindingList{}
	err := r.everyPage(ctx, cluster, "", func() {
		for i := range cluster.Items {
			c := &cluster.Items[i]
			b.all = append(b.all, binding{kind: "ClusterRoleBinding", name: c.Name, subjects: c.Subjects, role: c.RoleRef, everybodys: c.Labels[everybodys] == everybodysValue})
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
			b.all = append(b.all, binding{kind: "RoleBinding", namespace: n.Namespace, name: n.Name, subjects: n.Subjects, role: n.RoleRef, everybodys: n.Labels[everybodys] == everybodysValue})
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
func (r *Reconciler) rulesOf(ctx context.Context, b *binding) ([]rbacv1.PolicyRule, error) {
	of := b.role.Kind + " " + b.role.Name
	if b.role.Kind == "Role" {
		of = b.namespace + "/" + of
	}
	if known, ok := r.bindings.roles[of]; ok {
		return known, nil
	}
	var rules []rbacv1.PolicyRule
	var err error
	if b.role.Kind == "Role" {
		role := &rbacv1.Role{}
		err = r.Live.Get(ctx, client.ObjectKey{Namespace: b.namespace, Name: b.role.Name}, role)
		rules = role.Rules
	} else {
		role := &rbacv1.ClusterRole{}
		err = r.Live.Get(ctx, client.ObjectKey{Name: b.role.Name}, role)
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
