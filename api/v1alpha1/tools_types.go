package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PinningMode says what becomes of definitions that no pin names.
// +kubebuilder:validation:Enum=Off;Audit;Enforce
type PinningMode string

// The modes of pinning.
const (
	// PinningOff: pins are not looked at.
	PinningOff PinningMode = "Off"
	// PinningAudit: what no pin names is reported, and can be used.
	PinningAudit PinningMode = "Audit"
	// PinningEnforce: what no pin names is in quarantine: nobody sees it, and calls of it are refused.
	PinningEnforce PinningMode = "Enforce"
)

// DefinitionKind is a kind of definition that a server gives.
// +kubebuilder:validation:Enum=Tool;Prompt;ResourceTemplate;Instructions
type DefinitionKind string

// The kinds of definitions that can be pinned.
const (
	DefinitionTool         DefinitionKind = "Tool"
	DefinitionPrompt       DefinitionKind = "Prompt"
	DefinitionTemplate     DefinitionKind = "ResourceTemplate"
	DefinitionInstructions DefinitionKind = "Instructions"
)

// Tools limits the server's tools, whatever the policies say.
type Tools struct {
	// forbidden are the names of tools that nobody may call or see, with * for any characters but / and ** for any. They match
	// in every spelling: upper case, other Unicode forms, letters that look alike. A name that mixes scripts is forbidden, too,
	// where anything is.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=set
	// +optional
	Forbidden []string `json:"forbidden,omitempty"`
	// pinning says what becomes of tools, prompts, resource templates and instructions that no pin names. With Enforce nothing
	// is called either before the gate itself has listed what the server process offers, and arguments must match the tool's
	// input schema.
	// +kubebuilder:default=Off
	// +optional
	Pinning PinningMode `json:"pinning,omitempty"`
	// pins are the definitions that were approved. A name may have several, for example while replicas move from one image to
	// the next.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1024
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	// +listMapKey=sha256
	// +optional
	Pins []Pin `json:"pins,omitempty"`
}

// Pin approves one definition as a whole.
type Pin struct {
	// kind of the definition.
	// +kubebuilder:default=Tool
	// +optional
	Kind DefinitionKind `json:"kind,omitempty"`
	// name of the tool or prompt, the uriTemplate of a resource template, and "instructions" for the server's instructions.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +required
	Name string `json:"name,omitempty"`
	// sha256 is the hex SHA-256 of the definition in its canonical form (RFC 8785), with everything in it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	// +required
	SHA256 string `json:"sha256,omitempty"`
}

// ToolsStatus sums up what the server offers, as its gates have listed it.
type ToolsStatus struct {
	// digest names the whole of what the gates have listed; empty before the first listing.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Digest string `json:"digest,omitempty"`
	// changedAt is when digest last changed.
	// +optional
	ChangedAt *metav1.Time `json:"changedAt,omitempty"`
	// tools is the number of tools that the server offers.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Tools *int32 `json:"tools,omitempty"`
	// prompts is the number of its prompts.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Prompts *int32 `json:"prompts,omitempty"`
	// resources is the number of resources.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Resources *int32 `json:"resources,omitempty"`
	// templates is the number of resource templates.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Templates *int32 `json:"templates,omitempty"`
	// pinned is the number of definitions that a pin names.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Pinned *int32 `json:"pinned,omitempty"`
	// unpinned is the number of definitions that no pin names, those in quarantine among them.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Unpinned *int32 `json:"unpinned,omitempty"`
	// quarantined are definitions that nobody may use, because spec.tools.pinning is Enforce and no pin names them: up to 32.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Quarantined []UnpinnedDefinition `json:"quarantined,omitempty"`
	// risky are the names of tools that write, run commands, or reach files or networks as far as their definitions tell: up to 32.
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=atomic
	// +optional
	Risky []string `json:"risky,omitempty"`
	// configMapName is the ConfigMap with the definitions themselves.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ConfigMapName string `json:"configMapName,omitempty"`
}

// UnpinnedDefinition is a definition that no pin names.
type UnpinnedDefinition struct {
	// kind of the definition.
	// +required
	Kind DefinitionKind `json:"kind,omitempty"`
	// name of the definition, cut at 256 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +required
	Name string `json:"name,omitempty"`
	// sha256 is the hash of the present definition; a pin with it approves it.
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	// +required
	SHA256 string `json:"sha256,omitempty"`
	// reason is Changed where another definition of that name is pinned, Unknown where none is, and Unusable where the gate
	// cannot compile the input schema.
	// +kubebuilder:validation:Enum=Changed;Unknown;Unusable
	// +required
	Reason string `json:"reason,omitempty"`
}
