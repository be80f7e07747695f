// Package profile tells of each MCPSecurityProfile what it selects, and what is below it.
package profile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	acv1alpha1 "github.com/bartizan-dev/bartizan/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/conditions"
	"github.com/bartizan-dev/bartizan/internal/policy"
	"github.com/bartizan-dev/bartizan/internal/profile"
)

// +kubebuilder:rbac:groups=bartizan.dev,resources=mcpsecurityprofiles;mcpservers;mcpclients,verbs=get;list;watch
// +kubebuilder:rbac:groups=bartizan.dev,resources=mcpsecurityprofiles/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// FieldOwner is the one writer of an MCPSecurityProfile's status.
const FieldOwner = "bartizan-profile"

// Reasons of conditions.
const (
	reasonInForce        = "InForce"
	reasonDryRun         = "DryRun"
	reasonPatternInvalid = "PatternInvalid"
)

// maxViolations bounds how many objects a status lists, maxFields how many fields of one.
const (
	maxViolations = 32
	maxFields     = 16
)

// Reconciler writes the statuses of MCPSecurityProfiles.
type Reconciler struct {
	Client   client.Client
	Recorder events.EventRecorder
	// Now is the clock.
	Now func() time.Time
}

// Reconcile tells of one profile.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	p := &v1alpha1.MCPSecurityProfile{}
	if err := r.Client.Get(ctx, request.NamespacedName, p); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !p.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	in, err := r.gather(ctx, p)
	if err != nil {
		return ctrl.Result{}, err
	}
	after := judge(in)
	if apiequality.Semantic.DeepEqual(p.Status, after) {
		return ctrl.Result{}, nil
	}
	status := acv1alpha1.MCPSecurityProfileStatus().
		WithObservedGeneration(after.ObservedGeneration).
		WithConditions(conditions.Configurations(after.Conditions)...).
		WithNamespaces(*after.Namespaces).WithServers(*after.Servers).WithClients(*after.Clients).WithBelow(*after.Below)
	for _, v := range after.Violations {
		status.WithViolations(acv1alpha1.ProfileViolation().WithKind(v.Kind).WithNamespace(v.Namespace).WithName(v.Name).WithFields(v.Fields...))
	}
	configuration := acv1alpha1.MCPSecurityProfile(p.Name).WithUID(p.UID).WithStatus(status)
	if err := r.Client.Status().Apply(ctx, configuration, client.FieldOwner(FieldOwner), client.ForceOwnership); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	for _, c := range after.Conditions {
		if c.Type == v1alpha1.ConditionStalled && conditions.Changed(p.Status.Conditions, after.Conditions, c.Type) {
			r.Recorder.Eventf(p, nil, corev1.EventTypeWarning, c.Reason, "Validate", "%s", c.Message)
		}
	}
	return ctrl.Result{}, nil
}

// input is everything that a status is about.
type input struct {
	profile    *v1alpha1.MCPSecurityProfile
	namespaces []metav1.PartialObjectMetadata
	servers    []v1alpha1.MCPServer
	clients    []v1alpha1.MCPClient
	now        time.Time
}

func (r *Reconciler) gather(ctx context.Context, p *v1alpha1.MCPSecurityProfile) (*input, error) {
	namespaces := &metav1.PartialObjectMetadataList{}
	namespaces.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	servers, clients := &v1alpha1.MCPServerList{}, &v1alpha1.MCPClientList{}
	for _, list := range []client.ObjectList{namespaces, servers, clients} {
		// They are only read.
		if err := r.Client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, err
		}
	}
	return &input{profile: p, namespaces: namespaces.Items, servers: servers.Items, clients: clients.Items, now: r.Now()}, nil
}

// judge makes the status.
func judge(in *input) v1alpha1.MCPSecurityProfileStatus {
	selected := map[string]bool{}
	for i := range in.namespaces {
		if profile.Selects(in.profile, in.namespaces[i].Labels) {
			selected[in.namespaces[i].Name] = true
		}
	}
	floor := profile.Only(in.profile)
	var servers, clients int
	var violations []v1alpha1.ProfileViolation
	note := func(kind, namespace, name string, below []profile.Violation) {
		if len(below) == 0 {
			return
		}
		v := v1alpha1.ProfileViolation{Kind: kind, Namespace: namespace, Name: name}
		for _, b := range below {
			if !slices.Contains(v.Fields, b.Field) && len(v.Fields) < maxFields {
				v.Fields = append(v.Fields, b.Field)
			}
		}
		violations = append(violations, v)
	}
	for i := range in.servers {
		if s := &in.servers[i]; selected[s.Namespace] {
			servers++
			note("MCPServer", s.Namespace, s.Name, floor.Server(s))
		}
	}
	for i := range in.clients {
		if c := &in.clients[i]; selected[c.Namespace] {
			clients++
			note("MCPClient", c.Namespace, c.Name, floor.Client(c))
		}
	}
	slices.SortFunc(violations, func(a, b v1alpha1.ProfileViolation) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
	})
	below := len(violations)
	return v1alpha1.MCPSecurityProfileStatus{
		ObservedGeneration: in.profile.Generation,
		Conditions:         conditions.Set(in.profile.Status.Conditions, in.profile.Generation, metav1.NewTime(in.now).Rfc3339Copy(), summarise(in.profile, below)...),
		Namespaces:         count(len(selected)), Servers: count(servers), Clients: count(clients), Below: count(below),
		Violations: violations[:min(below, maxViolations)],
	}
}

func count(n int) *int32 {
	small := int32(min(n, 1<<30))
	return &small
}

// summarise makes the conditions. Their messages do not count what is below: that changes by the hour.
func summarise(p *v1alpha1.MCPSecurityProfile, below int) []metav1.Condition {
	if invalid := invalidPatterns(p); len(invalid) > 0 {
		message := "spec.tools.forbidden: these can be obeyed by no gate and are left out; correct them: " + strings.Join(invalid, "; ")
		return []metav1.Condition{
			conditions.False(v1alpha1.ConditionReady, reasonPatternInvalid, message),
			conditions.True(v1alpha1.ConditionStalled, reasonPatternInvalid, message),
		}
	}
	is := "nothing is below it"
	if below > 0 {
		is = "status.violations lists what is below it"
	}
	if !profile.Enforced(p) {
		return []metav1.Condition{conditions.True(v1alpha1.ConditionReady, reasonDryRun, "it refuses nothing while spec.enforcement is DryRun; "+is)}
	}
	return []metav1.Condition{conditions.True(v1alpha1.ConditionReady, reasonInForce, "it is in force; "+is)}
}

func invalidPatterns(p *v1alpha1.MCPSecurityProfile) []string {
	if p.Spec.Tools == nil {
		return nil
	}
	var invalid []string
	for _, pattern := range p.Spec.Tools.Forbidden {
		if _, err := policy.Forbid([]string{pattern}); err != nil {
			invalid = append(invalid, fmt.Sprint(err))
		}
	}
	return invalid
}
