package verification

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	ac "github.com/bartizan-dev/bartizan/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/conditions"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// statusOwner is the field owner of this controller's part of the status: posture, and the condition Verified.
const statusOwner = "bartizan-verification"

// Reasons of the condition Verified.
const (
	reasonVerified     = "Verified"
	reasonSucceeded    = "AttackSucceeded"
	reasonInconclusive = "Inconclusive"
	reasonNoGate       = "NoReadyGate"
)

// mostFailing is how many failing controls the status names.
const mostFailing = 16

// verified is the condition. Its message names no number that changes from run to run.
func verified(o *observed, last *run) metav1.Condition {
	unknown := func(reason, message string) metav1.Condition {
		return metav1.Condition{Type: v1alpha1.ConditionVerified, Status: metav1.ConditionUnknown, Reason: reason, Message: message}
	}
	if len(o.gates) == 0 {
		return unknown(reasonNoGate, "no gate is ready, so there is nothing to attack")
	}
	if last == nil {
		return unknown(reasonInconclusive, "the gates have not been attacked yet")
	}
	var broken, open []string
	for _, p := range last.Probes {
		said := p.Name + " at " + p.Pod
		if p.Control != "" {
			said = p.Control + " " + said
		}
		if p.Detail != "" {
			said += ": " + p.Detail
		}
		switch p.Outcome {
		case posture.Broken:
			broken = append(broken, said)
		case posture.Inconclusive:
			open = append(open, said)
		}
	}
	switch {
	case len(broken) > 0:
		return conditions.False(v1alpha1.ConditionVerified, reasonSucceeded, "attacks succeeded: "+strings.Join(broken, "; "))
	case last.Incomplete != "":
		return unknown(reasonInconclusive, last.Incomplete)
	case len(open) > 0:
		return unknown(reasonInconclusive, "attacks could not be tried: "+strings.Join(open, "; "))
	}
	return conditions.True(v1alpha1.ConditionVerified, reasonVerified, "every attack on every ready gate failed")
}

// summarize is what the status says of a report. The time is that of the last change.
func summarize(o *observed, last *run, report posture.Report) v1alpha1.PostureStatus {
	n := func(i int) *int32 {
		small := int32(min(i, 1<<20))
		return &small
	}
	p := v1alpha1.PostureStatus{
		Score: n(report.Score.Value), Coverage: n(report.Score.Coverage), Passed: n(report.Score.Pass), Failed: n(report.Score.Fail),
		Warned: n(report.Score.Warn), Unknown: n(report.Score.Error), Exempted: n(report.Score.Skip),
	}
	results := map[posture.Status]v1alpha1.ControlResult{posture.Fail: "Fail", posture.Warn: "Warn"}
	for _, f := range report.Failing() {
		if len(p.Failing) == mostFailing {
			break
		}
		c, _ := posture.Find(f.Control)
		p.Failing = append(p.Failing, v1alpha1.FailingControl{Control: f.Control, Result: results[f.Status], Severity: string(c.Severity), Reason: f.Reason})
	}
	for _, r := range report.Results {
		switch r.Status {
		case posture.Pass:
			p.PassedControls = append(p.PassedControls, r.Control)
		case posture.Error:
			p.UnknownControls = append(p.UnknownControls, r.Control)
		case posture.Skip:
			p.ExemptedControls = append(p.ExemptedControls, r.Control)
		}
	}
	switch {
	case last != nil && last.of == subject(o):
		p.HandledRequest = handled(o.server)
	case o.server.Status.Posture != nil:
		p.HandledRequest = o.server.Status.Posture.HandledRequest
	}
	now := metav1.NewTime(o.now)
	p.EvaluatedAt = &now
	if old := o.server.Status.Posture; old != nil && old.EvaluatedAt != nil {
		same := p
		same.EvaluatedAt = old.EvaluatedAt
		if equality.Semantic.DeepEqual(*old, same) {
			return same
		}
	}
	return p
}

// writeStatus writes this controller's part of the status if it differs, and tells about transitions.
func (r *Reconciler) writeStatus(ctx context.Context, o *observed, last *run, sum v1alpha1.PostureStatus) error {
	before := o.server.Status
	now := metav1.NewTime(o.now)
	wanted := []metav1.Condition{verified(o, last)}
	if isolation := isolated(o.server, last); isolation != nil {
		wanted = append(wanted, *isolation)
	}
	after := conditions.Set(before.Conditions, o.server.Generation, now, wanted...)
	if sameConditions(before.Conditions, after) && before.Posture != nil && equality.Semantic.DeepEqual(*before.Posture, sum) {
		return nil
	}
	status := ac.MCPServerStatus().WithConditions(conditions.Configurations(after)...).WithPosture(postureConfiguration(sum))
	desired := ac.MCPServer(o.server.Name, o.server.Namespace).WithUID(o.server.UID).WithStatus(status)
	if err := r.Client.Status().Apply(ctx, desired, client.FieldOwner(statusOwner), client.ForceOwnership); err != nil {
		return client.IgnoreNotFound(err)
	}
	r.tell(o, after, sum)
	return nil
}

func postureConfiguration(p v1alpha1.PostureStatus) *ac.PostureStatusApplyConfiguration {
	out := ac.PostureStatus().WithScore(*p.Score).WithCoverage(*p.Coverage).WithPassed(*p.Passed).WithFailed(*p.Failed).
		WithWarned(*p.Warned).WithUnknown(*p.Unknown).WithExempted(*p.Exempted).WithEvaluatedAt(*p.EvaluatedAt).
		WithPassedControls(p.PassedControls...).WithUnknownControls(p.UnknownControls...).WithExemptedControls(p.ExemptedControls...)
	if p.HandledRequest != "" {
		out.WithHandledRequest(p.HandledRequest)
	}
	for _, f := range p.Failing {
		out.WithFailing(ac.FailingControl().WithControl(f.Control).WithResult(f.Result).WithSeverity(f.Severity).WithReason(f.Reason))
	}
	return out
}

// sameConditions says whether the conditions of this controller are what they should be.
func sameConditions(before, after []metav1.Condition) bool {
	for _, kind := range []string{v1alpha1.ConditionVerified, v1alpha1.ConditionIsolatedOnFailure} {
		if !equality.Semantic.DeepEqual(meta.FindStatusCondition(before, kind), meta.FindStatusCondition(after, kind)) {
			return false
		}
	}
	return true
}

// tell emits an event for each control that begins or ceases to fail, and for the condition.
func (r *Reconciler) tell(o *observed, after []metav1.Condition, sum v1alpha1.PostureStatus) {
	old := o.server.Status
	if conditions.Changed(old.Conditions, after, v1alpha1.ConditionVerified) && (meta.FindStatusCondition(old.Conditions, v1alpha1.ConditionVerified) != nil || after[0].Status == metav1.ConditionFalse) {
		kind := corev1.EventTypeNormal
		if after[0].Status == metav1.ConditionFalse {
			kind = corev1.EventTypeWarning
		}
		r.Events.Eventf(o.server, nil, kind, after[0].Reason, "Verify", "%s", note(after[0].Message))
	}
	r.tellIsolation(o, after)
	if old.Posture == nil {
		return // nothing has changed: this is the beginning
	}
	failed := func(p *v1alpha1.PostureStatus) map[string]string {
		all := map[string]string{}
		if p != nil {
			for _, f := range p.Failing {
				if f.Result == "Fail" {
					all[f.Control] = f.Reason
				}
			}
		}
		return all
	}
	before, now := failed(old.Posture), failed(&sum)
	for _, c := range posture.Catalogue() {
		// The control is the action, too: events with the same reason and action would be one, with the first one's text.
		reason, fails := now[c.ID]
		_, failedBefore := before[c.ID]
		switch {
		case fails && !failedBefore:
			r.Events.Eventf(o.server, nil, corev1.EventTypeWarning, "ControlFailed", c.ID, "%s", note(fmt.Sprintf("%s (%s): %s. %s", c.ID, c.Severity, reason, c.Remediation)))
		case failedBefore && !fails && len(sum.Failing) < mostFailing:
			r.Events.Eventf(o.server, nil, corev1.EventTypeNormal, "ControlRecovered", c.ID, "%s (%s) does not fail any more", c.ID, c.Severity)
		}
	}
}

// note bounds the text of an event: the API refuses more than 1024 characters.
func note(text string) string {
	if runes := []rune(text); len(runes) > 1000 {
		return string(runes[:1000]) + "…"
	}
	return text
}
