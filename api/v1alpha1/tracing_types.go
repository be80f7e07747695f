package v1alpha1

// TracingMode says which requests the gates write spans of.
// +kubebuilder:validation:Enum=Disabled;Sampled
type TracingMode string

// Which requests the gates write spans of.
const (
	TracingDisabled TracingMode = "Disabled"
	TracingSampled  TracingMode = "Sampled"
)

// Tracing has the gates' spans join the traces of their callers.
type Tracing struct {
	// mode says which requests the gates write spans of: Disabled, of none; or Sampled, of those whose caller sends a W3C trace
	// context with the flag that it keeps the trace, in the message's _meta or the request's headers. Spans are lines of OTLP in
	// JSON among the gate's messages on its standard error, for a collector that reads the containers' logs: a gate dials nobody.
	// +kubebuilder:default=Disabled
	// +optional
	Mode TracingMode `json:"mode,omitempty"`
}
