package mcpserver

import (
	"context"
	"errors"
	"fmt"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
)

// applied is how applying a plan went.
type applied struct {
	// stalled is why somebody has to change something; nil otherwise.
	stalled *manifests.Problem
	// pending is what stands in the way for a while; nil otherwise.
	pending *manifests.Problem
	// held says that a newer pod template waits for its turn.
	held bool
	// workload says that the Deployment is as planned.
	workload bool
	// rewritten says that the Deployment was written just now: what was observed of its pods is of before.
	rewritten bool
	// unwatched says that no watch tells when the obstacle is gone.
	unwatched bool
	// contended says that somebody rewrites a child again and again.
	contended bool
	// terminating says that the namespace is being deleted.
	terminating bool
	// err is an error that a repetition may mend.
	err error
}

// apply does what the plan says, in its order, and stops at the first failure. The error is one that says nothing about
// the server, such as an API server that cannot be reached.
func (r *Reconciler) apply(ctx context.Context, o *observed, p plan) (applied, error) {
	var a applied
	if len(p.problems) > 0 {
		a.stalled = &p.problems[0]
		if len(p.problems) > 1 {
			a.stalled = &manifests.Problem{Reason: p.problems[0].Reason, Message: p.problems.Error()}
		}
	}
	err := r.applyPlan(ctx, o, p, &a)
	if err == nil {
		return a, nil
	}
	return a.classify(err)
}

func (r *Reconciler) applyPlan(ctx context.Context, o *observed, p plan, a *applied) error {
	if err := r.applyAll(ctx, o, a, p.tightening); err != nil {
		return err
	}
	if len(p.problems) > 0 {
		return r.scale(ctx, o, min(p.replicas, liveReplicas(o)))
	}
	if err := r.pruneRights(ctx, o, p); err != nil {
		return err
	}
	if err := r.secretsAreFree(ctx, o); err != nil {
		return err
	}
	if err := r.applyAll(ctx, o, a, p.foundation); err != nil {
		return err
	}
	if err := r.adopt(ctx, o); err != nil {
		return err
	}
	if err := r.reissue(ctx, o); err != nil {
		return err
	}
	switch {
	case p.blocked != "" && o.deployment == nil:
	case p.blocked != "":
		// What runs goes on with the Secrets that its pods have; less of it may run.
		if err := r.scale(ctx, o, min(p.replicas, liveReplicas(o))); err != nil {
			return err
		}
	case r.mustWait(ctx, o, p):
		a.held = true
		if err := r.scale(ctx, o, p.replicas); err != nil {
			return err
		}
		if err := r.applyAll(ctx, o, a, p.workload[1:]); err != nil {
			return err
		}
	default:
		if err := r.applyAll(ctx, o, a, p.workload); err != nil {
			return err
		}
		a.workload = true
	}
	if err := r.applyAll(ctx, o, a, p.opening); err != nil {
		return err
	}
	if !a.workload || a.rewritten || o.deployment == nil || !rolledOut(o.deployment) {
		return nil // older pods may still use what the spec has no more
	}
	return r.prune(ctx, o, p, everyKind(o))
}

func (r *Reconciler) applyAll(ctx context.Context, o *observed, a *applied, all []apply.Configuration) error {
	for _, c := range all {
		outcome, err := r.applier.Apply(ctx, c)
		if err != nil {
			return fmt.Errorf("apply %s %s: %w", *c.GetKind(), *c.GetName(), err)
		}
		if outcome != apply.Unchanged && *c.GetKind() == "Deployment" {
			a.rewritten = true
		}
		if outcome == apply.Repaired {
			r.Events.Eventf(o.server, nil, corev1.EventTypeWarning, "Repaired", "Repair", "%s %s was changed by somebody else; it is as this MCPServer says again", *c.GetKind(), *c.GetName())
		}
	}
	return nil
}

// mustWait says whether the Deployment has to wait for its turn. One that was changed by hand never waits: its gate may be
// gone.
func (r *Reconciler) mustWait(ctx context.Context, o *observed, p plan) bool {
	key := client.ObjectKeyFromObject(o.server)
	if o.deployment == nil || apply.Foreign(o.deployment) || !ours(o, o.deployment) ||
		!onlyTheOperatorChanged(o.deployment, p.deployment.revision, p.deployment.inputs) {
		r.Budget.Forget(key)
		return false
	}
	all := &appsv1.DeploymentList{}
	if err := r.Client.List(ctx, all, client.MatchingLabels{manifests.LabelTemplateRevision: p.deployment.revision}, client.UnsafeDisableDeepCopy); err != nil {
		return true
	}
	return !r.Budget.Admit(key, p.deployment.revision, all.Items)
}

func liveReplicas(o *observed) int32 {
	if o.deployment == nil || o.deployment.Spec.Replicas == nil {
		return 1
	}
	return *o.deployment.Spec.Replicas
}

// scale changes the number of pods and nothing else.
func (r *Reconciler) scale(ctx context.Context, o *observed, replicas int32) error {
	if o.deployment == nil || !ours(o, o.deployment) || liveReplicas(o) == replicas {
		return nil
	}
	patch := fmt.Appendf(nil, `{"metadata":{"uid":%q},"spec":{"replicas":%d}}`, o.deployment.UID, replicas)
	return r.Client.Patch(ctx, o.deployment.DeepCopy(), client.RawPatch(types.MergePatchType, patch), client.FieldOwner(apply.FieldOwner))
}

// secretsAreFree returns a *apply.ConflictError when somebody else has a Secret where cert-manager or external-secrets
// would put one of this server: they would replace its content.
func (r *Reconciler) secretsAreFree(ctx context.Context, o *observed) error {
	check := func(name string, cached *corev1.Secret, theirs func(*corev1.Secret) bool) error {
		if cached != nil {
			return nil
		}
		secret, err := get(ctx, r.Live, o.server.Namespace, name, &corev1.Secret{})
		if err != nil || secret == nil || theirs(secret) {
			return err
		}
		return &apply.ConflictError{Object: "Secret " + o.server.Namespace + "/" + name}
	}
	certificate := manifests.CertificateName(o.server.Name)
	if err := check(certificate, o.certificateSecret, func(s *corev1.Secret) bool {
		return s.Annotations[certmanager.CertificateNameKey] == certificate
	}); err != nil {
		return err
	}
	for _, g := range o.groups {
		name := manifests.ExternalSecretName(o.server.Name, g.spec.Name)
		if err := check(name, g.secret, func(s *corev1.Secret) bool {
			controller := metav1.GetControllerOf(s)
			return controller != nil && controller.Kind == externalsecrets.ExtSecretKind && controller.Name == name
		}); err != nil {
			return err
		}
	}
	return nil
}

// adopt has the certificate's Secret collected with the server: cert-manager leaves it behind.
func (r *Reconciler) adopt(ctx context.Context, o *observed) error {
	if o.certificateSecret == nil || o.certificateSecret.DeletionTimestamp != nil {
		return nil
	}
	return r.applier.Adopt(ctx, o.server, o.certificateSecret)
}

// sweep removes the certificate's Secret of a server that is gone: when the garbage collector takes it before the
// Certificate, cert-manager makes another, which nobody owns.
func (r *Reconciler) sweep(ctx context.Context, server types.NamespacedName) error {
	name := manifests.CertificateName(server.Name)
	secret, err := get(ctx, r.Client, server.Namespace, name, &corev1.Secret{})
	if err != nil || secret == nil || secret.DeletionTimestamp != nil ||
		secret.Labels[manifests.LabelServer] != server.Name || secret.Annotations[certmanager.CertificateNameKey] != name {
		return err
	}
	if r.APIs.Served(certmanager.SchemeGroupVersion.Group) {
		certificate, err := get(ctx, r.Client, server.Namespace, name, &certmanager.Certificate{})
		if err != nil || certificate != nil {
			return err // its end brings us here again
		}
	}
	return r.applier.Delete(ctx, secret)
}

var (
	rightKinds = []schema.GroupVersionKind{
		rbacv1.SchemeGroupVersion.WithKind("RoleBinding"),
		rbacv1.SchemeGroupVersion.WithKind("Role"),
	}
	otherKinds = []schema.GroupVersionKind{
		corev1.SchemeGroupVersion.WithKind("ServiceAccount"),
	}
)

// everyKind is every kind of which a server may have a child that another spec has not.
func everyKind(o *observed) []schema.GroupVersionKind {
	kinds := append([]schema.GroupVersionKind{}, otherKinds...)
	if o.externalSecrets {
		kinds = append(kinds, externalsecrets.SchemeGroupVersion.WithKind(externalsecrets.ExtSecretKind))
	}
	return kinds
}

// pruneRights takes rights away before anything opens.
func (r *Reconciler) pruneRights(ctx context.Context, o *observed, p plan) error {
	return r.prune(ctx, o, p, rightKinds)
}

func (r *Reconciler) prune(ctx context.Context, o *observed, p plan, kinds []schema.GroupVersionKind) error {
	keep := map[apply.Reference]bool{}
	for _, c := range p.foundation {
		keep[apply.ReferenceTo(c)] = true
	}
	_, err := r.applier.Prune(ctx, o.server, kinds, keep)
	return err
}

// classify sorts errors into those that a person has to mend, those that mend themselves, and the rest.
func (a applied) classify(err error) (applied, error) {
	var conflict *apply.ConflictError
	var deleting *apply.DeletingError
	var contended *apply.ContendedError
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		a.terminating = true
	case errors.As(err, &conflict) && conflict.Predecessor:
		a.unwatched = true
		a.pending = &manifests.Problem{Reason: reasonChildDeleting, Message: conflict.Error() + "; this server goes on after that"}
	case errors.As(err, &conflict):
		a.unwatched = true
		a.stall(reasonChildConflict, conflict.Error()+"; rename or delete it, or create this MCPServer under another name")
	case errors.As(err, &deleting):
		a.unwatched = true
		a.pending = &manifests.Problem{Reason: reasonChildDeleting, Message: deleting.Error() + "; it is made anew after that"}
	case errors.As(err, &contended):
		a.contended = true
		a.pending = &manifests.Problem{Reason: reasonChildContended, Message: contended.Error() + "; stop what writes it: the operator puts it back each time"}
	case apierrors.IsInvalid(err):
		a.stall(reasonChildRefused, "the API server refuses what follows from the spec: "+err.Error())
	case apierrors.IsForbidden(err) && grantsRights(err):
		a.unwatched = true
		a.stall(reasonRightsNotGrantable, "the API server does not let the operator grant the rules of spec.kubernetesAccess, because it does not hold them itself: "+
			"have them added to the operator's grantable rules, or bind a ServiceAccount of your own and name it in spec.kubernetesAccess.serviceAccountName")
	case apierrors.IsForbidden(err):
		a.pending = &manifests.Problem{Reason: reasonApplyFailed, Message: err.Error()}
		a.err = err
	default:
		return a, err
	}
	return a, nil
}

func (a *applied) stall(reason, message string) {
	if a.stalled == nil {
		a.stalled = &manifests.Problem{Reason: reason, Message: message}
	}
}

// grantsRights says whether the API server refused a Role or a RoleBinding.
func grantsRights(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return status.Status().Details.Group == rbacv1.GroupName
}
