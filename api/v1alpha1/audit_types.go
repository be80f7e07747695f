package v1alpha1

// AuditArguments says what the audit log has of the arguments of calls.
// +kubebuilder:validation:Enum=None;Hash;Full
type AuditArguments string

// What the audit log can have of arguments.
const (
	AuditArgumentsNone AuditArguments = "None"
	AuditArgumentsHash AuditArguments = "Hash"
	AuditArgumentsFull AuditArguments = "Full"
)

// Audit says what the audit log has beyond who asked for what and what became of it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.redact) || self.arguments == 'Full'",message="audit.redact is for arguments: Full; otherwise no argument is shown"
type Audit struct {
	// arguments says what is logged of the arguments of calls: None; Hash, a keyed hash by which equal arguments are known to
	// be equal within one boot of a gate; or Full, all but what looks like a secret. No rule finds every secret: Full makes
	// the log as confidential as the data behind the server.
	// +kubebuilder:default=None
	// +optional
	Arguments AuditArguments `json:"arguments,omitempty"`
	// redact are parts of the names of arguments whose values Full does not show, in whatever case and with or without - and _
	// between words. Names with password, secret, token, key and the like in them are never shown.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z0-9_.-]*[A-Za-z0-9][A-Za-z0-9_.-]*$`
	// +listType=set
	// +optional
	Redact []string `json:"redact,omitempty"`
}
