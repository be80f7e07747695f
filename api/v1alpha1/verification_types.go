package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AnnotationVerificationRequestedAt on an MCPServer asks for a verification: when its value changes, there is one at once. It
// is no part of the spec, so a repository that the MCPServer comes from does not set it back.
const AnnotationVerificationRequestedAt = "bartizan.dev/verification-requested-at"

// FailureReaction says what becomes of a server on which attacks succeed.
// +kubebuilder:validation:Enum=Report;Isolate
type FailureReaction string

// The reactions to attacks that succeed.
const (
	FailureReport  FailureReaction = "Report"
	FailureIsolate FailureReaction = "Isolate"
)

// Verification says how the operator attacks the server to show that its controls hold.
// +kubebuilder:validation:XValidation:rule="!has(self.isolateAfter) || (has(self.onFailure) && self.onFailure == 'Isolate')",message="verification.isolateAfter is for onFailure: Isolate"
type Verification struct {
	// interval is how often every gate of the server is attacked. It also is when something changed.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s))+$') && duration(self) >= duration('10s') && duration(self) <= duration('168h')",message="verification.interval must be between 10s and 168h, in h, m and s"
	// +kubebuilder:default="1h"
	// +optional
	Interval string `json:"interval,omitempty"`
	// onFailure is what becomes of the server when an attack on a critical control succeeds. Report tells it in conditions,
	// events and metrics. Isolate does so, too, and closes the network to the server's callers once as many runs in a row
	// as isolateAfter says have found it so; the operator still reaches the gates, and opens the network again after a run in which
	// no such attack succeeds, or when this is Report again. Connections that are open may stay so: that is up to the network.
	// +kubebuilder:default=Report
	// +optional
	OnFailure FailureReaction `json:"onFailure,omitempty"`
	// isolateAfter is how many runs in a row must find that an attack on a critical control succeeds. Between them there are
	// seconds, whatever the interval is. 3 when it is absent.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	IsolateAfter *int32 `json:"isolateAfter,omitempty"`
	// exemptions take controls out of the posture, until a day, with somebody who answers for it.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=map
	// +listMapKey=control
	// +optional
	Exemptions []Exemption `json:"exemptions,omitempty"`
}

// Exemption takes a control out of the posture.
type Exemption struct {
	// control is the id of the control, such as ENC-6.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^[A-Z]{3,5}-[1-9][0-9]?$`
	// +required
	Control string `json:"control,omitempty"`
	// owner answers for it: a team or an address.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Owner string `json:"owner,omitempty"`
	// reason says why.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +required
	Reason string `json:"reason,omitempty"`
	// notAfter is when the control counts again.
	// +required
	NotAfter metav1.Time `json:"notAfter,omitzero"`
}

// PostureStatus sums up the security controls of a server, as they were when something about them last changed.
type PostureStatus struct {
	// score is 0 to 100: what passed, by severity, out of what was evaluated; at most 40 while a critical control fails.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +required
	Score *int32 `json:"score,omitempty"`
	// coverage is 0 to 100: how much of what applies was evaluated, by severity. The rest is unknown.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +required
	Coverage *int32 `json:"coverage,omitempty"`
	// passed is the number of controls that hold.
	// +kubebuilder:validation:Minimum=0
	// +required
	Passed *int32 `json:"passed,omitempty"`
	// failed is the number of controls that do not.
	// +kubebuilder:validation:Minimum=0
	// +required
	Failed *int32 `json:"failed,omitempty"`
	// warned is the number of controls that hold in part.
	// +kubebuilder:validation:Minimum=0
	// +required
	Warned *int32 `json:"warned,omitempty"`
	// unknown is the number of controls for which there is no evidence.
	// +kubebuilder:validation:Minimum=0
	// +required
	Unknown *int32 `json:"unknown,omitempty"`
	// exempted is the number of controls that do not apply, or that somebody answers for.
	// +kubebuilder:validation:Minimum=0
	// +required
	Exempted *int32 `json:"exempted,omitempty"`
	// failing are the controls that failed or hold in part, the most severe first.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=control
	// +optional
	Failing []FailingControl `json:"failing,omitempty"`
	// passedControls are the ids of the controls that hold.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=96
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=16
	// +listType=set
	// +optional
	PassedControls []string `json:"passedControls,omitempty"`
	// unknownControls are the ids of the controls for which there is no evidence.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=96
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=16
	// +listType=set
	// +optional
	UnknownControls []string `json:"unknownControls,omitempty"`
	// exemptedControls are the ids of the controls that do not apply, or that somebody answers for.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=96
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=16
	// +listType=set
	// +optional
	ExemptedControls []string `json:"exemptedControls,omitempty"`
	// handledRequest is the value of the annotation bartizan.dev/verification-requested-at that was last acted on.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	HandledRequest string `json:"handledRequest,omitempty"`
	// evaluatedAt is when anything of this last changed.
	// +optional
	EvaluatedAt *metav1.Time `json:"evaluatedAt,omitempty"`
}

// ControlResult is what became of a control that does not hold.
// +kubebuilder:validation:Enum=Fail;Warn
type ControlResult string

// FailingControl is a control that does not hold.
type FailingControl struct {
	// control is the id of the control; docs/posture.md has all.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	// +required
	Control string `json:"control,omitempty"`
	// result is Fail, or Warn where it holds in part.
	// +required
	Result ControlResult `json:"result,omitempty"`
	// severity of the control.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	// +required
	Severity string `json:"severity,omitempty"`
	// reason says why, in one sentence.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Reason string `json:"reason,omitempty"`
}
