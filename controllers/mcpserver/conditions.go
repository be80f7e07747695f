package mcpserver

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// Reasons of conditions. Those of refused specs are in package manifests.
const (
	reasonReady                = "Ready"
	reasonSuspended            = "Suspended"
	reasonIssued               = "Issued"
	reasonIssuing              = "Issuing"
	reasonExpired              = "CertificateExpired"
	reasonNotTrusted           = "CertificateNotTrusted"
	reasonRenewalOverdue       = "RenewalOverdue"
	reasonCertManagerMissing   = "CertManagerMissing"
	reasonIssuerNotFound       = "IssuerNotFound"
	reasonIssuerNotReady       = "IssuerNotReady"
	reasonNotNeeded            = "NotNeeded"
	reasonSynced               = "Synced"
	reasonSyncing              = "Syncing"
	reasonSyncFailed           = "SyncFailed"
	reasonStoreNotFound        = "StoreNotFound"
	reasonStoreNotReady        = "StoreNotReady"
	reasonExternalMissing      = "ExternalSecretsMissing"
	reasonWaiting              = "WaitingForPrerequisites"
	reasonProgressing          = "Progressing"
	reasonAvailable            = "Available"
	reasonUpdatePending        = "UpdatePending"
	reasonDeadlineExceeded     = "ProgressDeadlineExceeded"
	reasonPodsFailing          = "PodsFailing"
	reasonAcknowledged         = "Acknowledged"
	reasonDistributing         = "Distributing"
	reasonConfigurationRefused = "ConfigurationRefused"
	reasonGatesUnreadable      = "GatesUnreadable"
	reasonNoReadyGate          = "NoReadyGate"
	reasonIsolated             = "Isolated"
	reasonOpened               = "Opened"
	reasonListensOnAll         = "ServerListensOnAllAddresses"
	reasonChildConflict        = "ChildConflict"
	reasonChildRefused         = "ChildRefused"
	reasonChildDeleting        = "ChildBeingDeleted"
	reasonChildContended       = "ChildContended"
	reasonRightsNotGrantable   = "RightsNotGrantable"
	reasonConsentMissing       = "ServiceAccountNotConsenting"
	reasonAccountNotFound      = "ServiceAccountNotFound"
	reasonBelowProfile         = "BelowSecurityProfile"
	reasonApplyFailed          = "ApplyFailed"
	reasonKeysKnown            = "KeysKnown"
	reasonFetchingKeys         = "FetchingKeys"
	reasonIssuerRepeated       = "IssuerRepeated"
)

// parts are the conditions that Ready is made of, in the order in which a person would look at them.
var parts = []string{
	v1alpha1.ConditionCertificatesReady,
	v1alpha1.ConditionSecretsReady,
	v1alpha1.ConditionWorkloadReady,
	v1alpha1.ConditionConfigurationInForce,
	v1alpha1.ConditionIsolated,
}

// order is the order of conditions in a status.
var order = append([]string{v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled, v1alpha1.ConditionTokensReady}, parts...)

// finding is what one look at the server found about one condition.
type finding struct {
	status  metav1.ConditionStatus
	reason  string
	message string
}

func yes(reason, message string) finding { return finding{metav1.ConditionTrue, reason, message} }
func no(reason, message string) finding  { return finding{metav1.ConditionFalse, reason, message} }
func unknown(reason, message string) finding {
	return finding{metav1.ConditionUnknown, reason, message}
}

// asConditions returns the findings in their order.
func asConditions(findings map[string]finding) []metav1.Condition {
	var all []metav1.Condition
	for _, kind := range order {
		if f, found := findings[kind]; found {
			all = append(all, metav1.Condition{Type: kind, Status: f.status, Reason: f.reason, Message: f.message})
		}
	}
	return all
}
