package mcpserver

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	ac "github.com/bartizan-dev/bartizan/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/authority"
	"github.com/bartizan-dev/bartizan/controllers/internal/conditions"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/isolation"
)

// statusOwner is the field owner of the status of MCPServers. What package verification writes there is its own.
const statusOwner = "bartizan-mcpserver"

// summarize is the status that follows from a reconcile. It is pure.
func summarize(o *observed, p plan, a applied, d distribution, s Settings) v1alpha1.MCPServerStatus {
	findings := map[string]finding{
		v1alpha1.ConditionCertificatesReady:    certificates(o),
		v1alpha1.ConditionSecretsReady:         secrets(o),
		v1alpha1.ConditionWorkloadReady:        workload(o, p, a),
		v1alpha1.ConditionConfigurationInForce: configuration(o, d),
		v1alpha1.ConditionIsolated:             isolated(o, p, d),
	}
	if len(o.issuers) > 0 {
		findings[v1alpha1.ConditionTokensReady] = tokens(o)
	}
	ready(findings, o, a)
	old := o.server.Status
	status := v1alpha1.MCPServerStatus{
		ObservedGeneration: o.server.Generation,
		Conditions:         conditions.Set(old.Conditions, o.server.Generation, metav1.NewTime(o.now), asConditions(findings)...),
		URL:                manifests.URL(o.server),
		Clients:            count(len(o.who.Clients)),
		Replicas:           new(int32),
		ReadyReplicas:      new(int32),
		Selector:           manifests.SelectorString(o.server.Name),
		Image:              old.Image,
		Gate:               &v1alpha1.GateStatus{Generation: p.generation, Acknowledged: count(d.acknowledged)},
	}
	if o.caBundle != "" {
		status.CABundle = &v1alpha1.CABundleRef{ConfigMapName: manifests.CABundleName(o.server.Name), Key: manifests.CABundleKey}
	}
	if o.deployment != nil {
		status.Replicas, status.ReadyReplicas = &o.deployment.Status.Replicas, &o.deployment.Status.ReadyReplicas
		status.Gate.Image = gateImage(o)
		if rolledOut(o.deployment) {
			status.Image = serverImage(o)
		}
	}
	if leaf := leaf(o.certificateSecret); leaf != nil {
		end := metav1.NewTime(leaf.NotAfter)
		status.Gate.CertificateNotAfter = &end
	}
	return status
}

func count(n int) *int32 {
	small := int32(min(n, 1<<31-1))
	return &small
}

func gateImage(o *observed) string {
	for _, c := range o.deployment.Spec.Template.Spec.InitContainers {
		if c.Name == manifests.GateContainer {
			return c.Image
		}
	}
	return ""
}

func serverImage(o *observed) string {
	for _, c := range o.deployment.Spec.Template.Spec.Containers {
		if c.Name == manifests.ServerContainer {
			return c.Image
		}
	}
	return ""
}

// ready adds Ready, Reconciling and Stalled to the findings about the parts.
func ready(findings map[string]finding, o *observed, a applied) {
	switch {
	case a.stalled != nil:
		findings[v1alpha1.ConditionStalled] = yes(a.stalled.Reason, a.stalled.Message)
		findings[v1alpha1.ConditionReady] = no(a.stalled.Reason, a.stalled.Message)
		return
	case a.pending != nil:
		findings[v1alpha1.ConditionReconciling] = yes(a.pending.Reason, a.pending.Message)
		findings[v1alpha1.ConditionReady] = no(a.pending.Reason, a.pending.Message)
		return
	}
	for _, part := range parts {
		f := findings[part]
		if f.status == metav1.ConditionTrue || f.reason == reasonSuspended {
			continue
		}
		findings[v1alpha1.ConditionReconciling] = yes(f.reason, f.message)
		findings[v1alpha1.ConditionReady] = no(f.reason, f.message)
		return
	}
	if f := findings[v1alpha1.ConditionTokensReady]; o.keyless() {
		findings[v1alpha1.ConditionReconciling] = yes(f.reason, f.message)
		findings[v1alpha1.ConditionReady] = no(f.reason, f.message)
		return
	}
	if suspended(o.server) {
		findings[v1alpha1.ConditionReady] = yes(reasonSuspended, "no pod runs while spec.suspend is true; keys, certificates and policies go on being kept")
		return
	}
	findings[v1alpha1.ConditionReady] = yes(reasonReady, "the server runs behind its gate, and everything that this MCPServer says is in force")
}

func certificates(o *observed) finding {
	name := manifests.CertificateName(o.server.Name)
	leaf := leaf(o.certificateSecret)
	switch {
	case !o.certManager && leaf != nil && o.now.Before(leaf.NotAfter):
		return no(reasonCertManagerMissing, fmt.Sprintf("this cluster has no cert-manager (cert-manager.io/v1) any more, so that nothing renews the certificate in Secret %s: it is valid until %s; install it, and this server goes on by itself", name, timeText(leaf.NotAfter)))
	case !o.certManager:
		return no(reasonCertManagerMissing, "this cluster has no cert-manager (cert-manager.io/v1), which issues the gate's certificate: install it, and this server goes on by itself")
	case leaf != nil && !o.now.Before(leaf.NotAfter):
		return no(reasonExpired, fmt.Sprintf("the certificate in Secret %s has ended; see Certificate %s for why it was not renewed", name, name))
	case distrusted(o):
		return no(reasonNotTrusted, fmt.Sprintf("no authority of namespace %s vouches for the certificate in Secret %s, so that callers refuse it; the Secret is deleted, and cert-manager issues it again, when Secret %s has an authority: see Certificate %s", o.server.Namespace, name, o.authority.Issuer, o.authority.Issuer))
	case leaf != nil && o.certificate != nil && !o.now.Before(overdue(o, leaf)):
		return no(reasonRenewalOverdue, fmt.Sprintf("the certificate in Secret %s should have been renewed by %s and is valid until %s: %s", name, timeText(overdue(o, leaf)), timeText(leaf.NotAfter), whyNotIssued(o.certificate)))
	case leaf != nil && o.certificate != nil:
		return yes(reasonIssued, fmt.Sprintf("the serving certificate is in Secret %s%s", name, succession(o)))
	}
	group, kind, issuer := issuerOf(o)
	if o.issuer == nil && kind == "Issuer" && group == "cert-manager.io" {
		if o.server.Spec.TLS != nil && o.server.Spec.TLS.IssuerRef != nil {
			return no(reasonIssuerNotFound, fmt.Sprintf("spec.tls.issuerRef: there is no Issuer %s in namespace %s; create it, or leave issuerRef out for the namespace's private authority", issuer, o.server.Namespace))
		}
		return no(reasonIssuing, fmt.Sprintf("waiting for the namespace's private authority, Issuer %s", issuer))
	}
	if o.issuer != nil {
		for _, c := range o.issuer.Status.Conditions {
			if string(c.Type) == "Ready" && string(c.Status) == string(metav1.ConditionFalse) {
				return no(reasonIssuerNotReady, fmt.Sprintf("Issuer %s is not ready (%s): %s", issuer, c.Reason, c.Message))
			}
		}
	}
	if o.certificate == nil {
		return no(reasonIssuing, fmt.Sprintf("Certificate %s is not there yet", name))
	}
	return no(reasonIssuing, fmt.Sprintf("waiting for cert-manager to issue Certificate %s by %s %s: %s", name, kind, issuer, whyNotIssued(o.certificate)))
}

// timeText is a time as messages have it: one that does not change while nothing else does.
func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// overdue is when a certificate that nobody renewed is a trouble: a quarter of the time for it is over.
func overdue(o *observed, leaf *x509.Certificate) time.Time {
	renewBefore := leaf.NotAfter.Sub(leaf.NotBefore) / 3
	if set := o.certificate.Spec.RenewBefore; set != nil {
		renewBefore = set.Duration
	}
	return leaf.NotAfter.Add(-renewBefore * 3 / 4)
}

// whyNotIssued is what cert-manager says of its last attempt.
func whyNotIssued(c *certmanager.Certificate) string {
	for _, condition := range c.Status.Conditions {
		if condition.Type == certmanager.CertificateConditionIssuing && string(condition.Status) == string(metav1.ConditionFalse) {
			return fmt.Sprintf("cert-manager says %s: %s", condition.Reason, condition.Message)
		}
	}
	return fmt.Sprintf("see the conditions of Certificate %s, and whether cert-manager runs", c.Name)
}

// succession says which authority follows that of the certificate.
func succession(o *observed) string {
	switch {
	case ownIssuer(o.server):
		return ""
	case o.authority.Loss != "" && o.authority.Next != "":
		return fmt.Sprintf("; %s; that is %s, whose Certificate says how far it is in its annotation %s", o.authority.Loss, o.authority.Next, authority.AnnotationRollover)
	case o.authority.Loss != "":
		return "; " + o.authority.Loss
	case o.authority.Next != "":
		return fmt.Sprintf("; authority %s is followed by %s, whose Certificate says how far that is in its annotation %s", o.authority.Issuer, o.authority.Next, authority.AnnotationRollover)
	case o.certificate.Spec.IssuerRef.Name != "" && o.certificate.Spec.IssuerRef.Name != o.authority.Issuer:
		return fmt.Sprintf("; it is about to come from authority %s", o.authority.Issuer)
	}
	return ""
}

// leaf is the serving certificate, nil while there is none that can be used.
func leaf(secret *corev1.Secret) *x509.Certificate {
	if !usable(secret) {
		return nil
	}
	return authority.Leaf(secret.Data[corev1.TLSCertKey])
}

func secrets(o *observed) finding {
	if len(o.groups) == 0 {
		return yes(reasonNotNeeded, "spec.secrets is empty")
	}
	if !o.externalSecrets {
		return no(reasonExternalMissing, "this cluster has no external-secrets (external-secrets.io/v1), which brings spec.secrets, or the operator runs without it (--without-apis): install it, and this server goes on by itself")
	}
	for _, g := range o.groups {
		if synced(g) {
			continue
		}
		name, store := manifests.ExternalSecretName(o.server.Name, g.spec.Name), g.spec.StoreRef.Name
		field := fmt.Sprintf("spec.secrets[%s]", g.spec.Name)
		if g.store == nil && g.spec.StoreRef.Kind != v1alpha1.SecretStoreCluster {
			return no(reasonStoreNotFound, fmt.Sprintf("%s.storeRef: there is no SecretStore %s in namespace %s; create it", field, store, o.server.Namespace))
		}
		if g.store != nil {
			for _, c := range g.store.Status.Conditions {
				if string(c.Type) == "Ready" && c.Status == corev1.ConditionFalse {
					return no(reasonStoreNotReady, fmt.Sprintf("%s.storeRef: SecretStore %s is not ready (%s): %s", field, store, c.Reason, c.Message))
				}
			}
		}
		if g.externalSecret != nil {
			for _, c := range g.externalSecret.Status.Conditions {
				if string(c.Type) == "Ready" && c.Status == corev1.ConditionFalse {
					return no(reasonSyncFailed, fmt.Sprintf("%s: ExternalSecret %s is not synced (%s): %s", field, name, c.Reason, c.Message))
				}
			}
		}
		if key := missingKey(g); g.secret != nil && key != "" {
			return no(reasonSyncing, fmt.Sprintf("%s: Secret %s has no key %q yet", field, name, key))
		}
		return no(reasonSyncing, fmt.Sprintf("%s: waiting for external-secrets to sync ExternalSecret %s", field, name))
	}
	return yes(reasonSynced, "every group of spec.secrets is synced")
}

// synced says whether a group has all of its values and external-secrets has nothing to complain about.
func synced(g group) bool {
	if missingKey(g) != "" || g.externalSecret == nil {
		return false
	}
	for _, c := range g.externalSecret.Status.Conditions {
		if string(c.Type) == "Ready" {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func workload(o *observed, p plan, a applied) finding {
	name := o.server.Name
	switch {
	case o.deployment == nil && p.blocked != "":
		return no(reasonWaiting, p.blocked)
	case o.deployment == nil:
		return no(reasonProgressing, fmt.Sprintf("Deployment %s is not there yet", name))
	case suspended(o.server):
		if o.deployment.Status.Replicas > 0 || liveReplicas(o) > 0 {
			return no(reasonProgressing, "spec.suspend is true; the pods are ending")
		}
		return no(reasonSuspended, "spec.suspend is true: no pod runs")
	case a.held && available(o):
		return yes(reasonUpdatePending, "all pods are available; they move to the operator's current gate when it is this server's turn")
	case a.stalled != nil && available(o):
		return yes(reasonAvailable, "all pods of the last accepted spec are available")
	case rolledOut(o.deployment) && !a.rewritten:
		return yes(reasonAvailable, "all pods are available")
	}
	if why := failing(o.pods); why != "" {
		return no(reasonPodsFailing, why)
	}
	for _, c := range o.deployment.Status.Conditions {
		switch {
		case string(c.Type) == "ReplicaFailure" && c.Status == corev1.ConditionTrue:
			return no(reasonPodsFailing, fmt.Sprintf("Deployment %s cannot make pods: %s", name, c.Message))
		case string(c.Type) == "Progressing" && c.Status == corev1.ConditionFalse:
			return no(reasonDeadlineExceeded, fmt.Sprintf("Deployment %s made no progress in time; its pods' events and logs say why", name))
		}
	}
	if p.blocked != "" {
		return no(reasonWaiting, p.blocked)
	}
	return no(reasonProgressing, fmt.Sprintf("Deployment %s is bringing its pods up", name))
}

func available(o *observed) bool {
	return o.deployment.Status.AvailableReplicas >= liveReplicas(o)
}

// failing says why containers do not run, as far as their states tell without numbers that change.
func failing(pods []corev1.Pod) string {
	for i := range pods {
		for _, c := range append(append([]corev1.ContainerStatus{}, pods[i].Status.InitContainerStatuses...), pods[i].Status.ContainerStatuses...) {
			if w := c.State.Waiting; w != nil && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" && w.Reason != "" {
				return fmt.Sprintf("container %s of the pods does not run (%s); see the pods' events and logs", c.Name, w.Reason)
			}
		}
	}
	return ""
}

func configuration(o *observed, d distribution) finding {
	switch {
	case d.generation == "":
		return unknown(reasonDistributing, "the gates' configuration is not made yet")
	case d.ready == 0 && suspended(o.server):
		return unknown(reasonSuspended, "no gate runs while spec.suspend is true")
	case d.ready == 0:
		return unknown(reasonNoReadyGate, "no gate is ready")
	case d.complete():
		return yes(reasonAcknowledged, "every ready gate runs the newest configuration")
	case d.problem != "":
		return no(reasonConfigurationRefused, "a gate refuses the newest configuration and goes on with the one before: "+d.problem)
	case d.acknowledged+len(d.silent) == d.ready:
		return no(reasonGatesUnreadable, fmt.Sprintf("%d of %d ready gates do not answer at their status port, Pod %s first; a network policy of another namespace or an expired certificate may be why", len(d.silent), d.ready, d.silent[0]))
	default:
		return no(reasonDistributing, fmt.Sprintf("%d of %d ready gates run the newest configuration", d.acknowledged, d.ready))
	}
}

func isolated(o *observed, p plan, d distribution) finding {
	if p.surroundings.PodLabels != nil {
		if found := isolation.Openings(p.surroundings); len(found) > 0 {
			return no(reasonOpened, strings.Join(found, "; "))
		}
	}
	if o.networkPolicy == nil {
		return unknown(reasonProgressing, "the network policy is not there yet")
	}
	if len(d.listeners) > 0 {
		return yes(reasonListensOnAll, "only the network policy keeps others from the server's own listeners ("+strings.Join(d.listeners, ", ")+"); have the server listen on 127.0.0.1")
	}
	return yes(reasonIsolated, "nothing opens the pods beyond what this MCPServer says")
}

// own is a status without what the controllers of packages verification and definitions write.
func own(status v1alpha1.MCPServerStatus) v1alpha1.MCPServerStatus {
	status.Posture, status.Tools = nil, nil
	status.Conditions = slices.DeleteFunc(slices.Clone(status.Conditions), func(c metav1.Condition) bool {
		return c.Type == v1alpha1.ConditionVerified || c.Type == v1alpha1.ConditionIsolatedOnFailure || c.Type == v1alpha1.ConditionDefinitionsPinned
	})
	return status
}

// writeStatus writes the status if it differs, and tells about transitions.
func (r *Reconciler) writeStatus(ctx context.Context, o *observed, status v1alpha1.MCPServerStatus) error {
	if equality.Semantic.DeepEqual(own(o.server.Status), status) {
		return nil
	}
	content, err := json.Marshal(status)
	if err != nil {
		return err
	}
	desired := ac.MCPServer(o.server.Name, o.server.Namespace).WithUID(o.server.UID).WithStatus(ac.MCPServerStatus())
	if err := json.Unmarshal(content, desired.Status); err != nil {
		return err
	}
	err = r.Client.Status().Apply(ctx, desired, client.FieldOwner(statusOwner), client.ForceOwnership)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	r.tell(o, status.Conditions)
	return nil
}

// tell emits events for conditions that changed their status, or their reason while they are not true.
func (r *Reconciler) tell(o *observed, after []metav1.Condition) {
	before := o.server.Status.Conditions
	stalled := meta.IsStatusConditionTrue(after, v1alpha1.ConditionStalled)
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionIsolated} {
		c := meta.FindStatusCondition(after, kind)
		if c == nil || !conditions.Changed(before, after, kind) {
			continue
		}
		severity := corev1.EventTypeNormal
		switch {
		case kind == v1alpha1.ConditionReady && stalled, kind == v1alpha1.ConditionIsolated && c.Status == metav1.ConditionFalse:
			severity = corev1.EventTypeWarning
		case kind == v1alpha1.ConditionIsolated && !meta.IsStatusConditionFalse(before, kind):
			continue // nothing was wrong before
		}
		r.Events.Eventf(o.server, nil, severity, c.Reason, "Reconcile", "%s", c.Message)
	}
}
