package v1alpha1

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
}
