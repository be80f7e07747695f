package verification

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/isolation"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// snapshot is all that is known about a server. It is pure. What the caches show is as it is now: they are watched.
func snapshot(o *observed, last *run, settings Settings) *posture.Snapshot {
	s := declared.Snapshot(o.server, o.now)
	// What was proven is good for two intervals, and some time in the queue.
	s.StaleAfter = 2*declared.VerificationInterval(o.server) + 5*time.Minute
	s.Clients = posture.See(o.clientFacts(), "MCPClients", o.now)
	s.Grants = posture.Say(o.grants(), "MCPAccessPolicies")
	s.Certificate = o.certificateFact()
	s.Authority = o.authorityFact(last)
	s.Egress = o.egressFact(s.Egress)
	if shared := o.shared(); len(shared) > 0 {
		s.Shared = posture.See(shared, "MCPClients", o.now)
	}
	s.NetworkOpenings = posture.See(o.openings(), "NetworkPolicies of the namespace", o.now)
	s.Detours = o.detoursFact()
	declared.Under(s, o.server, o.floor)
	o.rightFacts(s)
	o.podFacts(s, settings)
	o.inventoryFacts(s, last)
	o.alertFacts(s)
	o.scanFacts(s)
	if o.unmanaged != nil {
		s.Unmanaged = *o.unmanaged
	}
	if len(o.pods) > 0 {
		s.Literals = posture.See(append(slices.Clone(s.Literals.Value), o.podLiterals()...), "MCPServer spec, pods", o.now)
	}
	o.literalFacts(s, last)
	switch {
	case len(o.gates) == 0:
		s.Run.Missing = "no gate is ready"
		s.Listeners.Missing, s.StaleKeys.Missing, s.ServerRequests.Missing, s.Scraped.Missing = s.Run.Missing, s.Run.Missing, s.Run.Missing, s.Run.Missing
	case last != nil:
		o.runFacts(s, last)
	}
	return s
}

// runFacts are what the last run found. What is known to be wrong at one gate counts more than that another one says nothing.
func (o *observed) runFacts(s *posture.Snapshot, last *run) {
	s.Run = posture.Prove(last.Run, "verification from the operator's pod", last.at)
	s.Run.Value.Interval = declared.VerificationInterval(o.server)
	silent := len(last.gates) < len(o.gates)
	if silent {
		const missing = "a gate does not tell its status"
		s.Listeners.Missing, s.StaleKeys.Missing, s.ServerRequests.Missing, s.Scraped.Missing = missing, missing, missing, missing
	}
	if asked := serverRequests(last); !silent || len(asked.Value) > 0 {
		s.ServerRequests = asked
	}
	var stale []string
	for id, since := range last.stale {
		if last.looked().Sub(since) >= confirm {
			stale = append(stale, "key "+id+" is accepted, and no MCPClient has it in use")
		}
	}
	slices.Sort(stale)
	if !silent || len(stale) > 0 {
		s.StaleKeys = posture.See(stale, "status of the gates", last.looked())
	}
	if silent {
		return
	}
	var listeners []string
	audit := posture.Audit{Replicas: len(last.gates), Broken: last.brokenChains()}
	for _, status := range last.gates {
		if status.Audit != nil && status.Audit.Hash != "" {
			audit.Chained++
		}
		if slices.Contains(status.Listeners, "unknown") {
			s.Listeners.Missing = "a gate cannot see the listeners of its pod"
		}
		listeners = append(listeners, status.Listeners...)
	}
	if s.Listeners.Missing != "a gate cannot see the listeners of its pod" {
		slices.Sort(listeners)
		s.Listeners = posture.See(slices.Compact(listeners), "status of the gates", last.looked())
	}
	s.Scraped = o.scrapedFact(last)
	s.Audit = posture.See(audit, "status of the gates", last.looked())
}

// remembered is for how long a server is told that it asked for what nobody granted.
const remembered = 24 * time.Hour

// serverRequests are the kinds of requests of the server that nobody granted.
func serverRequests(last *run) posture.Fact[[]string] {
	var asked []string
	uncounted := false
	for _, status := range last.gates {
		uncounted = uncounted || status.ServerRequests == nil
		for _, r := range status.ServerRequests {
			if last.looked().Sub(r.Last) < remembered {
				asked = append(asked, "the server asked a client for "+r.Kind+", and no MCPAccessPolicy allows that")
			}
		}
	}
	if uncounted && len(asked) == 0 {
		return posture.Unknown[[]string]("a gate does not count what its server asks")
	}
	slices.Sort(asked)
	return posture.See(slices.Compact(asked), "status of the gates", last.looked())
}

// overdue is how long a rotation may take to begin.
const overdue = 15 * time.Minute

// clientFacts are the clients that are granted anything.
func (o *observed) clientFacts() []posture.Client {
	var all []posture.Client
	for _, granted := range o.who.Clients {
		if c := o.clients[granted.Namespace+"/"+granted.Name]; c != nil {
			all = append(all, o.clientFact(c))
		}
	}
	return all
}

func (o *observed) clientFact(c *v1alpha1.MCPClient) posture.Client {
	fact := posture.Client{Name: c.Namespace + "/" + c.Name, MaximumAge: 2160 * time.Hour}
	if c.Spec.Rotation != nil {
		if d, err := time.ParseDuration(c.Spec.Rotation.MaximumAge); err == nil {
			fact.MaximumAge = d
		}
	}
	fact.MaximumAge = o.maximumAge(fact.MaximumAge)
	for _, credential := range c.Status.Credentials {
		if credential.Namespace != o.server.Namespace {
			continue
		}
		fact.Listed = fact.Listed || len(credential.Keys) > 0 || credential.CertificateSecretName != ""
		if due := credential.NextRotation; due != nil && o.now.Sub(due.Time) > overdue {
			fact.RotationFailed = "its rotation was due at " + due.UTC().Format(time.RFC3339) + ", and nothing has begun"
		}
		for _, k := range credential.Keys {
			fact.Keys = append(fact.Keys, posture.Key{
				ID: k.ID, IssuedAt: k.IssuedAt.Time, NotAfter: k.NotAfter.Time,
				Accepted: k.State != v1alpha1.KeyRetired && k.State != v1alpha1.KeyRevoked,
			})
		}
	}
	if rotated := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionRotationSucceeded); rotated != nil && rotated.Status == metav1.ConditionFalse {
		fact.RotationFailed = "its rotation is overdue (" + rotated.Reason + ")"
	}
	return fact
}

// shared are keys of more than one of the clients that name a server of the namespace.
func (o *observed) shared() (found []string) {
	holder := map[string]string{}
	for i := range o.neighbours {
		c := &o.neighbours[i]
		name := c.Namespace + "/" + c.Name
		for _, credential := range c.Status.Credentials {
			if credential.Namespace != o.server.Namespace {
				continue
			}
			for _, key := range credential.Keys {
				for _, same := range []string{"id " + key.ID, "hash " + key.SHA256} {
					if same == "hash " {
						continue
					}
					if other := holder[same]; other != "" && other != name {
						found = append(found, fmt.Sprintf("key %s is of MCPClient %s and of MCPClient %s", key.ID, min(name, other), max(name, other)))
					}
					holder[same] = name
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func (o *observed) grants() []posture.Grant {
	var all []posture.Grant
	for _, rule := range o.who.Policy.Rules {
		all = append(all, posture.Grant{Rule: rule.ID, Tools: rule.Tools})
	}
	return all
}

func (o *observed) certificateFact() posture.Fact[posture.Certificate] {
	if o.certificate == nil {
		return posture.Unknown[posture.Certificate]("there is no Certificate " + manifests.CertificateName(o.server.Name))
	}
	key := o.certificate.Spec.PrivateKey
	if key == nil {
		return posture.See(posture.Certificate{Algorithm: "RSA"}, "Certificate "+o.certificate.Name, o.now)
	}
	return posture.See(posture.Certificate{
		Algorithm: string(key.Algorithm), Bits: key.Size, FreshKeys: key.RotationPolicy == "Always",
	}, "Certificate "+o.certificate.Name, o.now)
}

// openings are what lets others reach the pods, or the pods reach others.
func (o *observed) openings() []string {
	s, policy := o.surroundings()
	found := isolation.ByPolicies(s)
	switch {
	case policy:
		found = append(found, o.loose(s.Policy)...)
	case len(o.pods) > 0:
		found = append(found, "NetworkPolicy "+o.server.Name+" of the MCPServer is missing")
	}
	return found
}

// detours are other ways to the pods, and what else is in them.
func (o *observed) detours() []string {
	s, _ := o.surroundings()
	found := isolation.ByServices(s)
	if o.ways != nil {
		found = append(found, isolation.ByEndpoints(s, o.server.Namespace, o.ways.all)...)
	}
	for i := range o.pods {
		spec := &o.pods[i].Spec
		say := func(format string, args ...any) {
			found = append(found, fmt.Sprintf("Pod %s "+format, append([]any{o.pods[i].Name}, args...)...))
		}
		if !declared.HasGate(&o.pods[i]) {
			say("has no gate, and its label %s has the Service send it callers", v1alpha1.LabelServer)
		}
		if spec.HostNetwork || spec.HostPID || spec.HostIPC {
			say("shares a namespace of its host")
		}
		for _, v := range spec.Volumes {
			if v.HostPath != nil {
				say("mounts a folder of its host")
			}
		}
		for _, c := range spec.EphemeralContainers {
			say("has the ephemeral container %s", c.Name)
		}
		for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
			if c.Name != manifests.ServerContainer && c.Name != manifests.GateContainer && (c.Name != manifests.InstallContainer || o.server.Spec.Transport.Type != v1alpha1.TransportStdio) {
				say("has the container %s, which no MCPServer names", c.Name)
			}
			if slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.HostPort != 0 }) {
				say("has a port of its host")
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// distinct are the different values of something of the pods; empty ones are none.
func (o *observed) distinct(of func(*corev1.Pod) string) []string {
	var all []string
	for i := range o.pods {
		if value := of(&o.pods[i]); value != "" && o.pods[i].DeletionTimestamp == nil && !slices.Contains(all, value) {
			all = append(all, value)
		}
	}
	slices.SortFunc(all, strings.Compare)
	return all
}
