package mcpclient

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	acv1alpha1 "github.com/bartizan-dev/bartizan/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/controllers/internal/conditions"
	"github.com/bartizan-dev/bartizan/internal/keys"
)

// FieldOwner is the one writer of an MCPClient's status.
const FieldOwner = "bartizan-mcpclient"

// Reasons of conditions.
const (
	reasonReady              = "Ready"
	reasonIssued             = "Issued"
	reasonIssuing            = "Issuing"
	reasonNoGrant            = "NoGrant"
	reasonNotGranted         = "ServersNotGranted"
	reasonCertManagerMissing = "CertManagerMissing"
	reasonNotTrusted         = "CertificateNotTrusted"
	reasonChildConflict      = "ChildConflict"
	reasonChildDeleting      = "ChildBeingDeleted"
	reasonSelectorInvalid    = "SelectorInvalid"
	reasonCABundleMissing    = "ServerCABundleMissing"
	reasonInsufficient       = "CredentialsInsufficient"
	reasonStoreUnused        = "StoreUnused"
	reasonBelowProfile       = "BelowSecurityProfile"
)

// trouble is why the client is not ready. Lasting trouble needs somebody to change something.
type trouble struct {
	reason, message string
	lasting         bool
}

// writeStatus writes the status that follows from a look, unless it is already there, and tells of what changed.
func (r *Reconciler) writeStatus(ctx context.Context, in *input, all []*credential) error {
	before := in.client.Status
	after := status(in, all)
	if apiequality.Semantic.DeepEqual(normal(before), normal(after)) {
		return nil
	}
	// The records of keys are state: they are written over those that were read, never over others.
	configuration := acv1alpha1.MCPClient(in.client.Name, in.client.Namespace).
		WithUID(in.client.UID).
		WithResourceVersion(in.client.ResourceVersion).
		WithStatus(statusConfiguration(after))
	if err := r.Client.Status().Apply(ctx, configuration, client.FieldOwner(FieldOwner), client.ForceOwnership); err != nil {
		return err
	}
	r.tell(in, all, before, after)
	return nil
}

// status is the status that follows from a look.
func status(in *input, all []*credential) v1alpha1.MCPClientStatus {
	after := v1alpha1.MCPClientStatus{ObservedGeneration: in.client.Generation}
	for _, g := range in.grants {
		s := v1alpha1.ClientServerStatus{Namespace: g.Namespace, Name: g.Name, State: g.State}
		if g.State == v1alpha1.ServerGranted {
			for _, granted := range in.granted[g.Namespace] {
				if granted.Name == g.Name {
					s.URL = granted.URL
				}
			}
		}
		after.Servers = append(after.Servers, s)
	}
	for _, cred := range all {
		credential := v1alpha1.ClientCredential{
			Namespace:    cred.servers,
			SecretName:   SecretName(in.client.Name, cred.servers),
			NextRotation: optionalTime(cred.step.Due),
		}
		if access.UsesCertificates(in.client) {
			credential.CertificateSecretName = CertificateSecretName(in.client.Name, cred.servers)
		}
		for _, k := range cred.step.Records {
			credential.Keys = append(credential.Keys, v1alpha1.ClientKey{
				ID: k.ID, SHA256: k.SHA256, State: v1alpha1.KeyState(k.State), IssuedAt: metav1.NewTime(k.IssuedAt), NotAfter: metav1.NewTime(k.NotAfter),
				ActivatedAt: optionalTime(k.ActivatedAt), ReplacedAt: optionalTime(k.ReplacedAt), LastUsed: lastUsed(in, cred, k.ID),
			})
		}
		after.Credentials = append(after.Credentials, credential)
	}
	for _, servers := range slices.Sorted(maps.Keys(in.lingering)) {
		after.Credentials = append(after.Credentials, in.lingering[servers])
	}
	after.Conditions = conditions.Set(in.client.Status.Conditions, in.client.Generation, metav1.NewTime(in.now).Rfc3339Copy(), summarise(in, all)...)
	return after
}

// summarise makes the conditions.
func summarise(in *input, all []*credential) []metav1.Condition {
	var out []metav1.Condition
	issuing := troubles(in, all)
	switch {
	case len(issuing) > 0:
		out = append(out, conditions.False(v1alpha1.ConditionCredentialsIssued, issuing[0].reason, messages(issuing)))
	case len(all) == 0:
		out = append(out, conditions.False(v1alpha1.ConditionCredentialsIssued, reasonNoGrant, "no server grants this client anything yet"))
	default:
		out = append(out, conditions.True(v1alpha1.ConditionCredentialsIssued, reasonIssued,
			credentialNames(in.client)+" there for each namespace of servers: "+strings.Join(in.namespaces(), ", ")))
	}
	if rotation, ok := rotated(in, all); ok {
		out = append(out, rotation)
		if rotation.Reason == reasonScheduleInvalid {
			issuing = append([]trouble{{rotation.Reason, rotation.Message, true}}, issuing...)
		}
	}
	if _, err := selector(in.client); err != nil {
		issuing = append([]trouble{{reasonSelectorInvalid, fmt.Sprintf("spec.podSelector: %v; the network stays closed for the client's pods until it is mended", err), true}}, issuing...)
	}
	for _, v := range in.floor.Client(in.client) {
		issuing = append([]trouble{{reasonBelowProfile, v.Message, true}}, issuing...)
	}
	issuing = append(issuing, insufficient(in)...)
	issuing = append(issuing, unusedStores(in.client)...)
	issuing = append(issuing, ungranted(in)...)
	if len(issuing) == 0 {
		return append(out, conditions.True(v1alpha1.ConditionReady, reasonReady, "every server of the spec grants this client something, and its credentials are there"))
	}
	slices.SortStableFunc(issuing, func(a, b trouble) int { return cmp.Compare(rank(a), rank(b)) })
	first, text := issuing[0], messages(issuing)
	out = append(out, conditions.False(v1alpha1.ConditionReady, first.reason, text))
	if first.lasting {
		return append(out, conditions.True(v1alpha1.ConditionStalled, first.reason, text))
	}
	return append(out, conditions.True(v1alpha1.ConditionReconciling, first.reason, text))
}

// credentialNames is what a client has for each namespace of servers, as the beginning of a sentence.
func credentialNames(c *v1alpha1.MCPClient) string {
	switch {
	case !access.UsesCertificates(c):
		return "a key is"
	case !access.UsesKeys(c):
		return "a certificate is"
	default:
		return "a key and a certificate are"
	}
}

func rank(t trouble) int {
	if t.lasting {
		return 0
	}
	return 1
}

// troubles are why credentials are missing, the lasting ones first.
func troubles(in *input, all []*credential) []trouble {
	var lasting, passing []trouble
	if slices.ContainsFunc(all, func(c *credential) bool { return c.certificate == certificateNoAPI }) {
		lasting = append(lasting, trouble{reasonCertManagerMissing, "client certificates need cert-manager, which the cluster does not have; install it, and they are issued by themselves", true})
	}
	for _, cred := range all {
		switch {
		case cred.conflict != "":
			lasting = append(lasting, trouble{reasonChildConflict,
				fmt.Sprintf("%s exists and does not belong to this client; it is left alone: delete or rename it, or rename the client", cred.conflict), true})
		case cred.deleting:
			passing = append(passing, trouble{reasonChildDeleting, fmt.Sprintf("an earlier object for the servers of namespace %s is being deleted", cred.servers), false})
		case access.UsesKeys(in.client) && (held(cred.secret) == nil || !slices.ContainsFunc(cred.step.Records, func(k keys.Record) bool { return k.State == keys.Current })):
			if p := cred.store.problem; p != nil && sources(cred.store.spec) {
				lasting = append(lasting, trouble{p.reason, p.message, p.lasting})
				break
			}
			if sources(cred.store.spec) {
				passing = append(passing, trouble{reasonIssuing, fmt.Sprintf("the key for the servers of namespace %s is awaited from ExternalSecret %s/%s; see its status",
					cred.servers, in.client.Namespace, SourceName(in.client.Name, cred.servers)), false})
				break
			}
			passing = append(passing, trouble{reasonIssuing, fmt.Sprintf("the key for the servers of namespace %s is being made", cred.servers), false})
		}
		if cred.certificate == certificatePending && cred.conflict == "" {
			passing = append(passing, trouble{reasonIssuing,
				fmt.Sprintf("Certificate %s/%s is not ready; see its status and that of its Issuer beside it", in.client.Namespace, CertificateName(in.client.Name, cred.servers)), false})
		}
		if cred.certificate == certificateDistrusted {
			passing = append(passing, trouble{reasonNotTrusted,
				fmt.Sprintf("no authority of namespace %[1]s vouches for the certificate in Secret %[1]s/%[2]s, so that gates refuse it; the Secret is deleted, and cert-manager issues it again, when the namespace has an authority: see the Certificates bartizan-ca-<number> there",
					in.client.Namespace, CertificateSecretName(in.client.Name, cred.servers)), false})
		}
		for _, s := range in.granted[cred.servers] {
			if s.CABundle == "" {
				passing = append(passing, trouble{reasonCABundleMissing,
					fmt.Sprintf("MCPServer %s/%s has no CA bundle yet; see its condition CertificatesReady", cred.servers, s.Name), false})
			}
		}
	}
	return append(lasting, passing...)
}

// insufficient are the servers that demand a credential that the client does not have.
func insufficient(in *input) []trouble {
	var out []trouble
	for _, g := range in.grants {
		if g.State != v1alpha1.ServerGranted {
			continue
		}
		if missing := access.Missing(in.client, g.Server); missing != "" {
			out = append(out, trouble{reasonInsufficient, missing + "; it refuses every request until one of the two is changed", true})
		}
	}
	return out
}

// unusedStores are stores for namespaces of which the client wants no server.
func unusedStores(c *v1alpha1.MCPClient) []trouble {
	var out []trouble
	for _, store := range c.Spec.APIKey.Stores {
		if !slices.ContainsFunc(c.Spec.Servers, func(s v1alpha1.ServerRef) bool { return s.Namespace == store.Namespace }) {
			out = append(out, trouble{reasonStoreUnused, fmt.Sprintf("spec.apiKey.stores[%s]: spec.servers has no server of that namespace; correct one of the two", store.Namespace), true})
		}
	}
	return out
}

// ungranted are the servers of the spec that grant the client nothing.
func ungranted(in *input) []trouble {
	var out []trouble
	for _, g := range in.grants {
		switch g.State {
		case v1alpha1.ServerNotFound:
			out = append(out, trouble{reasonNotGranted, fmt.Sprintf("there is no MCPServer %s/%s that this operator sees", g.Namespace, g.Name), false})
		case v1alpha1.ServerNotGranted:
			out = append(out, trouble{reasonNotGranted, fmt.Sprintf("no MCPAccessPolicy in namespace %s gives this client anything on MCPServer %s; ask the owner of the server", g.Namespace, g.Name), false})
		}
	}
	for _, servers := range slices.Sorted(maps.Keys(in.lingering)) {
		out = append(out, trouble{reasonNotGranted, fmt.Sprintf("the credentials for namespace %s, which nothing there accepts now, are kept until %s",
			servers, in.lingering[servers].UngrantedSince.Add(lingers).UTC().Format(time.RFC3339)), false})
	}
	return out
}

// shown bounds how many troubles a message names.
const shown = 4

func messages(all []trouble) string {
	texts := make([]string, 0, len(all))
	for _, t := range all {
		texts = append(texts, t.message)
	}
	return some(texts)
}

// tell makes events of what changed.
func (r *Reconciler) tell(in *input, all []*credential, before, after v1alpha1.MCPClientStatus) {
	event := func(kind, reason, action, format string, args ...any) {
		r.Recorder.Eventf(in.client, nil, kind, reason, action, format, args...)
	}
	for _, cred := range all {
		for _, k := range cred.step.Records {
			old := keys.State("")
			if i := slices.IndexFunc(cred.before, func(b keys.Record) bool { return b.ID == k.ID }); i >= 0 {
				old = cred.before[i].State
			}
			switch {
			case k.State == old:
			case k.State == keys.Pending:
				event(corev1.EventTypeNormal, "KeyPending", "RotateKey", "key %s for the servers of namespace %s is on its way to their gates", k.ID, cred.servers)
			case k.State == keys.Current:
				rotationSeconds.Observe(max(0, in.now.Sub(k.IssuedAt).Seconds()))
				event(corev1.EventTypeNormal, "KeyCurrent", "IssueKey", "key %s for the servers of namespace %s is in Secret %s", k.ID, cred.servers, SecretName(in.client.Name, cred.servers))
			case k.State == keys.Draining && cred.step.Reason == keys.ReasonSecretLost:
				event(corev1.EventTypeWarning, "KeyLost", "ReplaceKey", "Secret %s does not hold key %s for the servers of namespace %s any more: it gets a new one, and this one is accepted for the overlap", SecretName(in.client.Name, cred.servers), k.ID, cred.servers)
			case k.State == keys.Retired && old == keys.Current:
				event(corev1.EventTypeWarning, "KeyReplaced", "ReplaceKey", "key %s for the servers of namespace %s is refused from now on, without an overlap: %s", k.ID, cred.servers, cmp.Or(cred.step.Reason, "Expired"))
			case k.State == keys.Retired && old != "":
				event(corev1.EventTypeNormal, "KeyRetired", "RetireKey", "key %s for the servers of namespace %s is refused from now on", k.ID, cred.servers)
			case k.State == keys.Revoked:
				event(corev1.EventTypeWarning, "KeyRevoked", "RevokeKey", "key %s for the servers of namespace %s is refused from now on", k.ID, cred.servers)
			}
		}
	}
	for _, old := range before.Credentials {
		if !slices.ContainsFunc(after.Credentials, func(c v1alpha1.ClientCredential) bool { return c.Namespace == old.Namespace }) {
			event(corev1.EventTypeNormal, "CredentialsRemoved", "RemoveCredentials", "no server of namespace %s grants this client anything any more; its credentials for it are removed", old.Namespace)
		}
	}
	for _, c := range after.Conditions {
		if c.Type == v1alpha1.ConditionRotationSucceeded && c.Status == metav1.ConditionFalse && conditions.Changed(before.Conditions, after.Conditions, c.Type) {
			event(corev1.EventTypeWarning, "Rotation"+c.Reason, "RotateKey", "%s", c.Message)
		}
		if (c.Type == v1alpha1.ConditionReady && c.Status == metav1.ConditionTrue || c.Type == v1alpha1.ConditionStalled) && conditions.Changed(before.Conditions, after.Conditions, c.Type) {
			kind := corev1.EventTypeNormal
			if c.Type == v1alpha1.ConditionStalled {
				kind = corev1.EventTypeWarning
			}
			event(kind, c.Reason, "Reconcile", "%s", c.Message)
		}
	}
}

// normal is a status with its lists in one order, which an apply does not promise to keep.
func normal(s v1alpha1.MCPClientStatus) *v1alpha1.MCPClientStatus {
	s = *s.DeepCopy()
	slices.SortFunc(s.Conditions, func(a, b metav1.Condition) int { return cmp.Compare(a.Type, b.Type) })
	slices.SortFunc(s.Servers, func(a, b v1alpha1.ClientServerStatus) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(s.Credentials, func(a, b v1alpha1.ClientCredential) int { return cmp.Compare(a.Namespace, b.Namespace) })
	for i := range s.Credentials {
		slices.SortFunc(s.Credentials[i].Keys, func(a, b v1alpha1.ClientKey) int { return cmp.Compare(a.ID, b.ID) })
	}
	return &s
}

func statusConfiguration(s v1alpha1.MCPClientStatus) *acv1alpha1.MCPClientStatusApplyConfiguration {
	out := acv1alpha1.MCPClientStatus().
		WithObservedGeneration(s.ObservedGeneration).
		WithConditions(conditions.Configurations(s.Conditions)...)
	for _, server := range s.Servers {
		c := acv1alpha1.ClientServerStatus().WithNamespace(server.Namespace).WithName(server.Name).WithState(server.State)
		if server.URL != "" {
			c.WithURL(server.URL)
		}
		out.WithServers(c)
	}
	for _, credential := range s.Credentials {
		c := acv1alpha1.ClientCredential().
			WithNamespace(credential.Namespace).
			WithSecretName(credential.SecretName)
		if credential.CertificateSecretName != "" {
			c.WithCertificateSecretName(credential.CertificateSecretName)
		}
		for _, k := range credential.Keys {
			key := acv1alpha1.ClientKey().
				WithID(k.ID).WithSHA256(k.SHA256).WithState(k.State).WithIssuedAt(k.IssuedAt).WithNotAfter(k.NotAfter)
			key.ActivatedAt, key.ReplacedAt, key.LastUsed = k.ActivatedAt, k.ReplacedAt, k.LastUsed
			c.WithKeys(key)
		}
		c.NextRotation, c.UngrantedSince = credential.NextRotation, credential.UngrantedSince
		out.WithCredentials(c)
	}
	return out
}
