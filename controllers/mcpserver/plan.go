package mcpserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/isolation"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// plan is what a reconcile is going to do. It follows from what was observed and from nothing else.
type plan struct {
	// problems are why the spec cannot be followed. Then the children are not built, and tightening is all that is done.
	problems manifests.Problems
	// tightening is applied first: what it closes is closed before anything opens.
	tightening []apply.Configuration
	// foundation is what pods need before they start; workload is the pods and the way to them; opening is applied last.
	foundation, workload, opening []apply.Configuration
	// blocked says why the workload cannot be applied yet; empty when it can.
	blocked string
	// deployment is the Deployment of the workload.
	deployment *deploymentPlan
	// replicas is how many pods should run.
	replicas int32
	// generation is the generation of the gates' configuration; empty while there is none.
	generation string
	// surroundings judge the isolation.
	surroundings isolation.Surroundings
}

type deploymentPlan struct {
	revision, inputs string
}

// newPlan is pure.
func newPlan(o *observed, s Settings) (plan, error) {
	p := manifests.Params{
		Server: o.server, Options: s.Options, GateImage: s.GateImage, Operator: s.Operator, Monitoring: s.Monitoring, ClusterDomain: s.ClusterDomain, Isolated: keptFromCallers(o.server),
		Issuer: o.authority.Issuer, Longest: o.authority.Longest, CABundle: o.caBundle, Peers: o.who.Peers, DNS: o.dns, APIServer: o.apiServer,
		ClusterRanges: s.ClusterRanges, SecretHashes: map[string]string{},
	}
	for _, g := range o.groups {
		if g.secret != nil {
			p.SecretHashes[g.spec.Name] = manifests.SecretHash(g.spec, g.secret)
		}
	}
	p.Options.Profiled = o.floor.Any()
	problems := append(manifests.Validate(o.server, p.Options), consent(o)...)
	below := below(o)
	if len(problems)+len(below) == 0 {
		made, err := build(o, p)
		if !errors.As(err, &problems) {
			return made, err
		}
	}
	made, err := restricted(o, p, append(below, problems...))
	if err != nil || len(problems) > 0 {
		return made, err
	}
	return made, renewed(o, p, &made)
}

// below is what of the server is below the security profiles of its namespace.
func below(o *observed) manifests.Problems {
	var problems manifests.Problems
	for _, v := range o.floor.Server(o.server) {
		problems = append(problems, manifests.Problem{Reason: reasonBelowProfile, Message: v.Message})
	}
	return problems
}

// renewed has the certificate of a server that is below a profile go on: it may last for months, and authorities are replaced. The
// issuer that a spec brings may be what is below.
func renewed(o *observed, p manifests.Params, made *plan) error {
	if !o.certManager || ownIssuer(o.server) || o.certificate == nil || !ours(o, o.certificate) {
		return nil
	}
	certificate, bundle, err := manifests.Certificates(p)
	if err != nil {
		return err
	}
	made.tightening = append(made.tightening, certificate)
	if bundle != nil {
		made.tightening = append(made.tightening, bundle)
	}
	return nil
}

// forbidden are the tools that nobody may call: by the server, and by the profiles of its namespace.
func forbidden(o *observed) []string {
	all := append(manifests.Forbidden(o.server), o.floor.ForbiddenTools()...)
	slices.Sort(all)
	return slices.Compact(all)
}

// keptFromCallers says whether callers are kept from a server on which attacks succeeded.
func keptFromCallers(server *v1alpha1.MCPServer) bool {
	return server.Spec.Verification != nil && server.Spec.Verification.OnFailure == v1alpha1.FailureIsolate &&
		meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionIsolatedOnFailure)
}

// build plans for a spec without problems.
func build(o *observed, p manifests.Params) (plan, error) {
	config, err := manifests.GateConfig(o.server, p.ClusterDomain, o.who, o.status, o.issuerKeys())
	if err != nil {
		return plan{}, err
	}
	config.Policy.Forbidden, config.Verification = forbidden(o), o.verification
	if o.olderGates {
		config = manifests.ForOlderGates(config)
	}
	if p.Gate, err = manifests.Seal(config); err != nil {
		return plan{}, err
	}
	c, err := manifests.Build(p)
	if err != nil {
		return plan{}, err
	}
	tight, err := manifests.Tightened(o.networkPolicy, c.NetworkPolicy)
	if err != nil {
		return plan{}, err
	}
	made := plan{generation: p.Gate.Generation, blocked: blocked(o)}
	if o.networkPolicy == nil {
		// There is no pod yet that anything could be opened to.
		made.tightening = append(made.tightening, c.NetworkPolicy)
	} else {
		made.tightening = append(made.tightening, tight)
		made.opening = append(made.opening, c.NetworkPolicy)
	}
	if c.ServiceAccount != nil {
		made.foundation = append(made.foundation, c.ServiceAccount)
	}
	if c.Role != nil && c.RoleBinding != nil {
		made.foundation = append(made.foundation, c.Role, c.RoleBinding)
	}
	if o.externalSecrets {
		for _, secret := range c.ExternalSecrets {
			made.foundation = append(made.foundation, secret)
		}
	}
	if o.certManager {
		made.foundation = append(made.foundation, c.Certificate)
	}
	if c.CABundle != nil {
		made.foundation = append(made.foundation, c.CABundle)
	}
	if c.GateSecret != nil {
		made.foundation = append(made.foundation, c.GateSecret)
	}
	made.workload = []apply.Configuration{c.Deployment, c.Service, c.DisruptionBudget}
	made.replicas = *c.Deployment.Spec.Replicas
	made.deployment = &deploymentPlan{
		revision: c.Deployment.Labels[manifests.LabelTemplateRevision],
		inputs:   c.Deployment.Annotations[manifests.AnnotationInputs],
	}
	made.surroundings, err = surroundingsOf(o, p, c.Deployment.Spec.Template.Labels)
	return made, err
}

// restricted plans for a spec with problems: what runs stays as it is and loses what it should not have any more.
func restricted(o *observed, p manifests.Params, problems manifests.Problems) (plan, error) {
	made := plan{problems: problems, replicas: 1}
	switch {
	case suspended(o.server):
		made.replicas = 0
	case o.server.Spec.Replicas != nil:
		made.replicas = *o.server.Spec.Replicas
	}
	if o.networkPolicy != nil && ours(o, o.networkPolicy) {
		// A spec whose network part cannot be built closes nothing.
		if wanted, err := manifests.NetworkPolicy(p); err == nil {
			tight, err := manifests.Tightened(o.networkPolicy, wanted)
			if err != nil {
				return plan{}, err
			}
			made.tightening = append(made.tightening, tight)
		}
	}
	if o.gateSecret != nil && ours(o, o.gateSecret) {
		current, err := gateconfig.Parse(o.gateSecret.Data[gateconfig.ConfigFile])
		if err == nil {
			next := gateconfig.Config{Clients: o.who.Clients, Policy: o.who.Policy, Authorities: o.who.Authorities, Status: o.status, Verification: o.verification, Tools: manifests.Tools(o.server)}
			if forbidden := forbidden(o); valid(forbidden) {
				next.Policy.Forbidden = forbidden
			}
			kept := manifests.Restrict(current, next)
			if o.olderGates {
				kept = manifests.ForOlderGates(kept)
			}
			if p.Gate, err = manifests.Seal(kept); err != nil {
				return plan{}, err
			}
			secret, err := manifests.GateSecret(p)
			if err != nil {
				return plan{}, err
			}
			made.generation = p.Gate.Generation
			made.tightening = append(made.tightening, secret)
		}
	}
	var labels map[string]string
	if o.deployment != nil {
		labels = o.deployment.Spec.Template.Labels
	}
	var err error
	made.surroundings, err = surroundingsOf(o, p, labels)
	return made, err
}

// valid says whether the patterns are such that a gate obeys them.
func valid(forbidden []string) bool {
	_, err := policy.Forbid(forbidden)
	return err == nil
}

// consent finds what is wrong with the ServiceAccount that the spec names: without the consent of whoever made it, an
// MCPServer could be used to run as anybody in the namespace.
func consent(o *observed) manifests.Problems {
	access := o.server.Spec.KubernetesAccess
	if access == nil || access.ServiceAccountName == "" {
		return nil
	}
	name := access.ServiceAccountName
	switch {
	case o.account == nil:
		return manifests.Problems{{Reason: reasonAccountNotFound, Message: fmt.Sprintf(
			"MCPServer %s/%s: spec.kubernetesAccess.serviceAccountName: there is no ServiceAccount %s in the namespace; create it with the annotation %s: %s",
			o.server.Namespace, o.server.Name, name, manifests.AnnotationConsent, o.server.Name)}}
	case o.account.Annotations[manifests.AnnotationConsent] != o.server.Name:
		return manifests.Problems{{Reason: reasonConsentMissing, Message: fmt.Sprintf(
			"MCPServer %s/%s: spec.kubernetesAccess.serviceAccountName: ServiceAccount %s does not consent to this server; annotate it with %s: %s",
			o.server.Namespace, o.server.Name, name, manifests.AnnotationConsent, o.server.Name)}}
	default:
		return nil
	}
}

// blocked says which Secret the pods would wait for. Nothing starts before everything is there.
func blocked(o *observed) string {
	if !usable(o.certificateSecret) {
		return "the pods start when the serving certificate is issued; see condition CertificatesReady"
	}
	for _, g := range o.groups {
		if missingKey(g) != "" {
			return "the pods start when all secrets are synced; see condition SecretsReady"
		}
	}
	return ""
}

func usable(secret *corev1.Secret) bool {
	return secret != nil && len(secret.Data[corev1.TLSCertKey]) > 0 && len(secret.Data[corev1.TLSPrivateKeyKey]) > 0
}

// missingKey is a key that the Secret of a group lacks; the group's name when there is no Secret.
func missingKey(g group) string {
	if g.secret == nil {
		return g.spec.Name
	}
	for _, data := range g.spec.Data {
		key := data.File + data.Env // exactly one is set
		if _, there := g.secret.Data[key]; !there {
			return key
		}
	}
	return ""
}

func suspended(server *v1alpha1.MCPServer) bool {
	return server.Spec.Suspend != nil && *server.Spec.Suspend
}

// ours says whether the server controls an object.
func ours(o *observed, object metav1.Object) bool {
	return metav1.IsControlledBy(object, o.server)
}

// surroundingsOf is what the isolation is judged by. podLabels are those of the pods; nil while there are none.
func surroundingsOf(o *observed, p manifests.Params, podLabels map[string]string) (isolation.Surroundings, error) {
	s := isolation.Surroundings{
		Server: o.server.Name, PodLabels: podLabels, PodPorts: map[string]int32{}, Policies: o.policies, Services: o.services,
		Own: func(object metav1.Object) bool { return ours(o, object) },
	}
	if wanted, err := manifests.NetworkPolicy(p); err == nil {
		content, err := json.Marshal(wanted.Spec)
		if err != nil {
			return s, err
		}
		if err := json.Unmarshal(content, &s.Policy); err != nil {
			return s, err
		}
	} else if o.networkPolicy != nil {
		s.Policy = o.networkPolicy.Spec
	}
	if o.deployment == nil {
		return s, nil
	}
	template := o.deployment.Spec.Template.Spec
	for _, container := range slices.Concat(template.InitContainers, template.Containers) {
		for _, port := range container.Ports {
			if port.Name != "" {
				s.PodPorts[port.Name] = port.ContainerPort
			}
		}
	}
	return s, nil
}
