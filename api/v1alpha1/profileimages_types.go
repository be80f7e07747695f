package v1alpha1

// ProfileImages is the floor of the servers' images. Where images may come from is refused at admission; the rest is known only of
// images that run, and shows in the servers' posture.
//
// +kubebuilder:validation:MinProperties=1
type ProfileImages struct {
	// registries are the only ones that images may be of, each a registry or a folder of one: registry.example/team. An image has
	// to be written with its registry.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:items:Pattern=`^[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?(/[a-z0-9._-]+)*$`
	// +listType=set
	// +optional
	Registries []string `json:"registries,omitempty"`
	// maximumAge is how old an image may be (UPD-2), by its label org.opencontainers.image.created, which an SbomReport of Trivy
	// operator tells.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s))+$') && duration(self) >= duration('24h') && duration(self) <= duration('87600h')",message="images.maximumAge must be between 24h and 87600h, in h, m and s"
	// +optional
	MaximumAge string `json:"maximumAge,omitempty"`
	// vulnerabilities say how long those of a severity, or of a higher one, may have been known (UPD-3). Severities that none of
	// them reaches do not count. Without any, Critical ones count at once and High ones after 720h.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	// +listType=map
	// +listMapKey=severity
	// +optional
	Vulnerabilities []VulnerabilityLimit `json:"vulnerabilities,omitempty"`
	// signatures are the image verification policies of Kyverno whose word counts (UPD-5): those that say something about a pod must
	// all have passed, and one must say something. Who may write policy reports in a namespace can have them say anything.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=source
	// +listMapKey=policy
	// +optional
	Signatures []SignaturePolicy `json:"signatures,omitempty"`
}

// VulnerabilitySeverity is the severity of a vulnerability, as scanners have it.
// +kubebuilder:validation:Enum=Critical;High;Medium;Low
type VulnerabilitySeverity string

// The severities.
const (
	VulnerabilityCritical VulnerabilitySeverity = "Critical"
	VulnerabilityHigh     VulnerabilitySeverity = "High"
	VulnerabilityMedium   VulnerabilitySeverity = "Medium"
	VulnerabilityLow      VulnerabilitySeverity = "Low"
)

// VulnerabilityLimit says how long vulnerabilities may have been known.
type VulnerabilityLimit struct {
	// severity is the least that this is about.
	// +required
	Severity VulnerabilitySeverity `json:"severity,omitempty"`
	// maximumAge is how long ago such a vulnerability may have been published. 0s: it counts at once.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s))+$') && duration(self) <= duration('87600h')",message="maximumAge must be 87600h at most, in h, m and s"
	// +required
	MaximumAge string `json:"maximumAge,omitempty"`
}

// SignatureSource is the kind of policy that verifies signatures, as its reports have it.
// +kubebuilder:validation:Enum=kyverno;KyvernoImageValidatingPolicy
type SignatureSource string

// The sources.
const (
	// SignatureKyverno is a ClusterPolicy of Kyverno with verifyImages.
	SignatureKyverno SignatureSource = "kyverno"
	// SignatureKyvernoImageValidatingPolicy is an ImageValidatingPolicy of Kyverno.
	SignatureKyvernoImageValidatingPolicy SignatureSource = "KyvernoImageValidatingPolicy"
)

// SignaturePolicy names a policy that verifies signatures.
type SignaturePolicy struct {
	// source is kyverno for a ClusterPolicy with verifyImages, or KyvernoImageValidatingPolicy.
	// +required
	Source SignatureSource `json:"source,omitempty"`
	// policy is the name of the policy, which is one of the cluster: those of a namespace are its people's.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	// +required
	Policy string `json:"policy,omitempty"`
}
