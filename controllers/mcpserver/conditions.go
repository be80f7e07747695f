package mcpserver

import (
	"k8s.io/apimachinery/pkg/api/meta"
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
	reasonRightsNotGrantable   = "RightsNotGrantable"
	reasonConsentMissing       = "ServiceAccountNotConsenting"
	reasonAccountNotFound      = "ServiceAccountNotFound"
	reasonApplyFailed          = "ApplyFailed"
)

// parts are the conditions that Ready is made of, in the order in which a person would look at them.
var parts = []string{
	v1alpha1.ConditionCertificatesReady,
	v1alpha1.ConditionSecretsReady,
	v1alpha1.ConditionWorkloadReady,
	v1alpha1.ConditionConfigurationInForce,
	v1alpha1.ConditionIsolated,
}

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

// set puts findings into conditions, with the times of those that did not change. Reconciling and Stalled are there only
// while they are true, as kstatus has it.
func set(conditions []metav1.Condition, generation int64, now metav1.Time, findings map[string]finding) []metav1.Condition {
	updated := make([]metav1.Condition, 0, len(findings))
	for i := range conditions {
		if _, found := findings[conditions[i].Type]; found {
			updated = append(updated, conditions[i])
		}
	}
	order := append([]string{v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled}, parts...)
	for _, kind := range order {
		f, found := findings[kind]
		if !found {
			continue
		}
		meta.SetStatusCondition(&updated, metav1.Condition{
			Type: kind, Status: f.status, Reason: f.reason, Message: shorten(f.message), ObservedGeneration: generation, LastTransitionTime: now,
		})
	}
	return updated
}

// maxMessage bounds a condition's message, in bytes: the API allows 32 KiB, people read less.
const maxMessage = 2048

func shorten(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	cut := maxMessage - len(" …")
	for cut > 0 && message[cut]&0xC0 == 0x80 {
		cut--
	}
	return message[:cut] + " …"
}
