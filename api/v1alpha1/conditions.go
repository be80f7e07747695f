package v1alpha1

// Conditions shared by the kinds of this API. Ready, Reconciling and Stalled follow kstatus: Reconciling and Stalled are
// present only while they are true.
const (
	// ConditionReady says that the object is as its spec says, and in force.
	ConditionReady = "Ready"
	// ConditionReconciling says that work is under way towards the spec.
	ConditionReconciling = "Reconciling"
	// ConditionStalled says that no further progress is possible before somebody changes something.
	ConditionStalled = "Stalled"
)

// Conditions of an MCPServer, one for each thing that Ready needs.
const (
	// ConditionCertificatesReady says that the serving certificate is issued and valid.
	ConditionCertificatesReady = "CertificatesReady"
	// ConditionSecretsReady says that every secret group was synced from its store.
	ConditionSecretsReady = "SecretsReady"
	// ConditionIsolated says that nothing opens the pods beyond what this MCPServer asks for.
	ConditionIsolated = "Isolated"
	// ConditionTokensReady says that the keys of every token issuer are known and were fetched when they last should be. It is
	// there only with token issuers. Ready needs it until the keys are known; from then on the last good ones are kept.
	ConditionTokensReady = "TokensReady"
	// ConditionWorkloadReady says that the server's pods are available.
	ConditionWorkloadReady = "WorkloadReady"
	// ConditionConfigurationInForce says that every ready gate reports the newest configuration.
	ConditionConfigurationInForce = "ConfigurationInForce"
	// ConditionDefinitionsPinned says that all that the server offers is what was pinned. It is there only while
	// spec.tools.pinning is Audit or Enforce. Ready does not need it.
	ConditionDefinitionsPinned = "DefinitionsPinned"
	// ConditionVerified says that the server was attacked and every attack failed. Ready does not need it.
	ConditionVerified = "Verified"
	// ConditionIsolatedOnFailure says that the network is closed to the server's callers, because attacks on it succeeded. It is there
	// where spec.verification.onFailure is Isolate.
	ConditionIsolatedOnFailure = "IsolatedOnFailure"
)

// Conditions of an MCPClient.
const (
	// ConditionCredentialsIssued says that the client has a key and a certificate for each namespace of servers that
	// grants it anything.
	ConditionCredentialsIssued = "CredentialsIssued"
	// ConditionRotationSucceeded says that no key is overdue for its replacement. It is Unknown while a new key is on its way.
	ConditionRotationSucceeded = "RotationSucceeded"
)
