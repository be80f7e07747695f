// Package accesspolicy tells of each MCPAccessPolicy whether it is valid, which servers it is about, and which of its
// subjects it reaches. What it allows is compiled by the controller of MCPServers.
package accesspolicy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	acv1alpha1 "github.com/bartizan-dev/bartizan/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/controllers/internal/conditions"
)

// +kubebuilder:rbac:groups=bartizan.dev,resources=mcpaccesspolicies;mcpservers;mcpclients,verbs=get;list;watch
// +kubebuilder:rbac:groups=bartizan.dev,resources=mcpaccesspolicies/status,verbs=patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// FieldOwner is the one writer of an MCPAccessPolicy's status.
const FieldOwner = "bartizan-accesspolicy"

// Reasons of conditions, beside those of access.Problem.
const (
	reasonReady           = "Ready"
	reasonNoServer        = "NoServer"
	reasonSubjectsWaiting = "SubjectsWaiting"
	reasonRulesExpired    = "RulesExpired"
)

// The shortest and the longest time to look again by the clock.
const (
	soon   = time.Second
	atMost = 12 * time.Hour
)

// Reconciler writes the statuses of MCPAccessPolicies.
type Reconciler struct {
	Client   client.Client
	Recorder events.EventRecorder
	// WatchNamespaces are the namespaces that the caches hold; none means all.
	WatchNamespaces []string
	// Clock is the time, time.Now when nil.
	Clock func() time.Time
}

// Reconcile judges one policy.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	now := time.Now()
	if r.Clock != nil {
		now = r.Clock()
	}
	p := &v1alpha1.MCPAccessPolicy{}
	if err := r.Client.Get(ctx, request.NamespacedName, p); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !p.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	in, err := r.gather(ctx, p, now)
	if err != nil {
		return ctrl.Result{}, err
	}
	after := judge(in)
	if !apiequality.Semantic.DeepEqual(p.Status, after) {
		status := acv1alpha1.MCPAccessPolicyStatus().
			WithObservedGeneration(after.ObservedGeneration).
			WithConditions(conditions.Configurations(after.Conditions)...).
			WithMatchedServers(*after.MatchedServers)
		configuration := acv1alpha1.MCPAccessPolicy(p.Name, p.Namespace).WithUID(p.UID).WithStatus(status)
		if err := r.Client.Status().Apply(ctx, configuration, client.FieldOwner(FieldOwner), client.ForceOwnership); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
		r.tell(p, after)
	}
	return in.again(), nil
}

func (r *Reconciler) tell(p *v1alpha1.MCPAccessPolicy, after v1alpha1.MCPAccessPolicyStatus) {
	for _, c := range after.Conditions {
		if !conditions.Changed(p.Status.Conditions, after.Conditions, c.Type) {
			continue
		}
		switch {
		case c.Type == v1alpha1.ConditionStalled:
			r.Recorder.Eventf(p, nil, corev1.EventTypeWarning, c.Reason, "Validate", "%s", c.Message)
		case c.Type == v1alpha1.ConditionReady && c.Status == metav1.ConditionTrue:
			r.Recorder.Eventf(p, nil, corev1.EventTypeNormal, c.Reason, "Validate", "%s", c.Message)
		}
	}
}

// input is everything that the judgement is about.
type input struct {
	policy *v1alpha1.MCPAccessPolicy
	// matched are the servers that the policy selects.
	matched []v1alpha1.MCPServer
	// clients are the subjects that exist.
	clients map[types.NamespacedName]*v1alpha1.MCPClient
	now     time.Time
}

func (r *Reconciler) gather(ctx context.Context, p *v1alpha1.MCPAccessPolicy, now time.Time) (*input, error) {
	in := &input{policy: p, clients: map[types.NamespacedName]*v1alpha1.MCPClient{}, now: now}
	servers := v1alpha1.MCPServerList{}
	if err := r.Client.List(ctx, &servers, client.InNamespace(p.Namespace)); err != nil {
		return nil, err
	}
	for i := range servers.Items {
		if access.Selects(p, &servers.Items[i]) {
			in.matched = append(in.matched, servers.Items[i])
		}
	}
	for _, name := range access.Subjects(p) {
		if len(r.WatchNamespaces) > 0 && !slices.Contains(r.WatchNamespaces, name.Namespace) {
			continue
		}
		c := &v1alpha1.MCPClient{}
		err := r.Client.Get(ctx, name, c)
		if err == nil {
			in.clients[name] = c
		} else if client.IgnoreNotFound(err) != nil {
			return nil, err
		}
	}
	return in, nil
}

// again is when the next rule expires.
func (in *input) again() ctrl.Result {
	var wait time.Duration
	for i := range in.policy.Spec.Rules {
		if end := in.policy.Spec.Rules[i].NotAfter; end != nil && end.After(in.now) {
			if d := end.Sub(in.now); wait == 0 || d < wait {
				wait = d
			}
		}
	}
	if wait > 0 {
		wait = min(max(wait, soon), atMost)
	}
	return ctrl.Result{RequeueAfter: wait}
}

// judge makes the status.
func judge(in *input) v1alpha1.MCPAccessPolicyStatus {
	matched := int32(min(len(in.matched), 1<<30))
	return v1alpha1.MCPAccessPolicyStatus{
		ObservedGeneration: in.policy.Generation,
		MatchedServers:     &matched,
		Conditions:         conditions.Set(in.policy.Status.Conditions, in.policy.Generation, metav1.NewTime(in.now).Rfc3339Copy(), summarise(in)...),
	}
}

func summarise(in *input) []metav1.Condition {
	if problems := access.Validate(in.policy); len(problems) > 0 {
		var texts []string
		for _, p := range problems {
			texts = append(texts, p.Field+": "+p.Message)
		}
		message := "the whole policy is ignored: " + list(texts, "; ")
		return []metav1.Condition{
			conditions.False(v1alpha1.ConditionReady, problems[0].Reason, message),
			conditions.True(v1alpha1.ConditionStalled, problems[0].Reason, message),
		}
	}
	if len(in.matched) == 0 {
		message := "no MCPServer of this namespace is selected" + missing(in)
		return []metav1.Condition{
			conditions.False(v1alpha1.ConditionReady, reasonNoServer, message),
			conditions.True(v1alpha1.ConditionReconciling, reasonNoServer, message),
		}
	}
	reason, texts := reasonReady, []string{"the rules are given to the gates of the selected servers" + missing(in)}
	if text := waiting(in); text != "" {
		reason, texts = reasonSubjectsWaiting, append(texts, text)
	}
	if text, all := expired(in); text != "" {
		if all {
			reason = reasonRulesExpired
		}
		texts = append(texts, text)
	}
	return []metav1.Condition{conditions.True(v1alpha1.ConditionReady, reason, strings.Join(texts, "; "))}
}

// missing names the servers of the spec that do not exist.
func missing(in *input) string {
	var names []string
	for _, name := range in.policy.Spec.Servers.Names {
		if !slices.ContainsFunc(in.matched, func(s v1alpha1.MCPServer) bool { return s.Name == name }) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return "; not found: " + list(names, ", ")
}

// waiting names the subjects that get nothing: a client has to exist and to name the server too, and the server has to know
// the issuer of a token.
func waiting(in *input) string {
	var absent, silent []string
	for _, name := range access.Subjects(in.policy) {
		c := in.clients[name]
		switch {
		case c == nil:
			absent = append(absent, name.String())
		case !slices.ContainsFunc(in.matched, func(s v1alpha1.MCPServer) bool { return access.Names(c, &s) }):
			silent = append(silent, name.String())
		}
	}
	var texts []string
	if len(absent) > 0 {
		texts = append(texts, "MCPClients that do not exist: "+list(absent, ", "))
	}
	if len(silent) > 0 {
		texts = append(texts, "MCPClients that name none of these servers in their spec.servers: "+list(silent, ", "))
	}
	if issuers := access.Strangers(in.policy, in.matched); len(issuers) > 0 {
		texts = append(texts, "token issuers that none of these servers has in its spec.authentication.tokens: "+list(issuers, ", "))
	}
	return strings.Join(texts, "; ")
}

// expired names the rules that have ended, and says whether all have.
func expired(in *input) (text string, all bool) {
	var fields []string
	for i := range in.policy.Spec.Rules {
		if end := in.policy.Spec.Rules[i].NotAfter; end != nil && !in.now.Before(end.Time) {
			fields = append(fields, fmt.Sprintf("spec.rules[%d]", i))
		}
	}
	if len(fields) == 0 {
		return "", false
	}
	return "expired: " + list(fields, ", "), len(fields) == len(in.policy.Spec.Rules)
}

// shown bounds how many of a kind a message names.
const shown = 5

func list(all []string, separator string) string {
	if len(all) <= shown {
		return strings.Join(all, separator)
	}
	return fmt.Sprintf("%s%sand %d more", strings.Join(all[:shown], separator), separator, len(all)-shown)
}
