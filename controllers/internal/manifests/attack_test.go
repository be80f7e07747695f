package manifests

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	rbacvalidation "k8s.io/component-helpers/auth/rbac/validation"
	psa "k8s.io/pod-security-admission/api"
	psapolicy "k8s.io/pod-security-admission/policy"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// TestNoSpecBreaksThePosture builds thousands of random servers, hostile ones among them. Each is either refused, or what
// is built of it keeps every promise.
func TestNoSpecBreaksThePosture(t *testing.T) {
	const rounds = 2000
	built := 0
	for seed := range uint64(rounds) {
		if attack(t, seed) {
			built++
		}
	}
	// The test is worth something only as long as both happen often.
	if built < rounds/10 || built > rounds*9/10 {
		t.Errorf("%d of %d servers were built; the generator is out of balance", built, rounds)
	}
}

func FuzzNoSpecBreaksThePosture(f *testing.F) {
	for seed := range uint64(16) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { attack(t, seed) })
}

// attack builds one random server and says whether it was not refused.
func attack(t *testing.T, seed uint64) bool {
	t.Helper()
	p := params(newDice(seed).server())
	before := p.Server.DeepCopy()
	children, err := Build(p)
	if diff := cmp.Diff(before, p.Server); diff != "" {
		t.Fatalf("seed %d: Build changes the server, which is in a cache (-before +after):\n%s", seed, diff)
	}
	problems := Validate(p.Server, p.Options)
	if (err != nil) != (len(problems) > 0) {
		t.Fatalf("seed %d: Validate finds %v, and Build says %v", seed, problems, err)
	}
	if err != nil {
		return false
	}
	again, err := Build(params(before))
	if err != nil || !reflect.DeepEqual(children, again) {
		t.Fatalf("seed %d: a second Build gives something else (%v):\n%s", seed, err, cmp.Diff(children, again))
	}
	w := witness{t: t, seed: seed, p: p, c: children, deployment: into[apps.Deployment](t, children.Deployment)}
	w.gateIsThere()
	w.serverSeesNothingOfTheGate()
	w.nothingReachesTheServer()
	w.noTokenUnlessAsked()
	w.podSecurityIsRestricted()
	w.selectorsHoldThePods()
	w.rightsAreGrantable()
	w.childrenAreOwnedAndDistinct()
	w.gateObeysItsConfiguration()
	return true
}

type witness struct {
	t          *testing.T
	seed       uint64
	p          Params
	c          Children
	deployment *apps.Deployment
}

func (w witness) errorf(format string, args ...any) {
	w.t.Helper()
	w.t.Errorf("seed %d: %s", w.seed, fmt.Sprintf(format, args...))
}

func (w witness) pod() *core.PodSpec { return &w.deployment.Spec.Template.Spec }

// gateIsThere: one gate, one server, nothing else.
func (w witness) gateIsThere() {
	pod := w.pod()
	expected := 1
	if w.stdio() {
		expected = 2
	}
	if len(pod.InitContainers) != expected || len(pod.Containers) != 1 || len(pod.EphemeralContainers) != 0 {
		w.errorf("there are containers beside the gate and the server")
		return
	}
	gate := pod.InitContainers[0]
	if gate.Name != GateContainer || gate.Image != testImage || gate.RestartPolicy == nil || *gate.RestartPolicy != core.ContainerRestartPolicyAlways {
		w.errorf("the init container is not the gate as a sidecar")
	}
	if gate.StartupProbe == nil || gate.LivenessProbe == nil || gate.ReadinessProbe == nil || gate.Lifecycle == nil {
		w.errorf("the gate has no probes or does not drain")
	}
	if pod.Containers[0].Name != ServerContainer || pod.Containers[0].Image != w.p.Server.Spec.Image || pod.Containers[0].Lifecycle == nil {
		w.errorf("the container is not the server")
	}
	if *pod.TerminationGracePeriodSeconds <= gateconfig.DrainSeconds {
		w.errorf("the grace period ends before the drain")
	}
}

// serverSeesNothingOfTheGate: not its key, configuration or socket, and no Secret but those of the spec.
func (w witness) serverSeesNothingOfTheGate() {
	own := map[string]bool{}
	for _, group := range w.p.Server.Spec.Secrets {
		own[ExternalSecretName(w.p.Server.Name, group.Name)] = true
	}
	own[GateSecretName(w.p.Server.Name)], own[CertificateName(w.p.Server.Name)] = false, false
	volumes := map[string]core.Volume{}
	for _, v := range w.pod().Volumes {
		if _, twice := volumes[v.Name]; twice {
			w.errorf("two volumes are named %s", v.Name)
		}
		volumes[v.Name] = v
	}
	for _, m := range w.pod().Containers[0].VolumeMounts {
		v, ok := volumes[m.Name]
		if !ok {
			w.errorf("the server mounts %s, which is not there", m.Name)
		}
		if m.Name == gateVolume || m.Name == gateRunVolume {
			w.errorf("the server mounts %s of the gate", m.Name)
		}
		if v.Secret != nil && (!own[v.Secret.SecretName] || m.SubPath != "" || !m.ReadOnly) {
			w.errorf("the server mounts Secret %s", v.Secret.SecretName)
		}
		if v.Projected != nil && m.Name != tokenVolume {
			w.errorf("the server mounts the projected volume %s", m.Name)
		}
	}
	for _, e := range w.pod().Containers[0].Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil && !own[e.ValueFrom.SecretKeyRef.Name] {
			w.errorf("the server gets a value of Secret %s", e.ValueFrom.SecretKeyRef.Name)
		}
	}
	for _, m := range w.pod().InitContainers[0].VolumeMounts {
		if m.Name != gateVolume && m.Name != gateRunVolume && (m.Name != stdioSocketVolume || !m.ReadOnly || !w.stdio()) {
			w.errorf("the gate mounts %s", m.Name)
		}
	}
	w.childrenAreBehindASocket(volumes)
	if len(w.pod().Containers[0].EnvFrom) != 0 || w.pod().ShareProcessNamespace != nil {
		w.errorf("the server shares more than it should")
	}
}

func (w witness) stdio() bool { return w.p.Server.Spec.Transport.Type == v1alpha1.TransportStdio }

// childrenAreBehindASocket: a Stdio server runs as children of the binary that only the gate's image brings, and which its own
// container cannot change; nobody but this container and the gate's has the socket, and the gate dials nothing else.
func (w witness) childrenAreBehindASocket(volumes map[string]core.Volume) {
	config, err := GateConfig(w.p.Server, "", access.Result{}, gateconfig.Status{}, nil)
	if err != nil {
		w.errorf("no configuration: %v", err)
		return
	}
	server := w.pod().Containers[0]
	if !w.stdio() {
		if config.Upstream.Socket != "" || config.Upstream.Port != w.p.Server.Spec.Transport.Port || volumes[stdioSocketVolume].Name != "" || volumes[stdioBinVolume].Name != "" {
			w.errorf("a server with a port has parts of one without")
		}
		return
	}
	if config.Upstream.Socket != gateconfig.StdioSocket || config.Upstream.Port != 0 {
		w.errorf("the gate dials something else than the socket")
	}
	i := slices.Index(server.Command, "--")
	if i < 2 || server.Command[0] != gateconfig.InstalledBinary || server.Command[1] != "stdio" ||
		!slices.Equal(server.Command[i+1:], w.p.Server.Spec.Command) || !slices.Equal(server.Args, w.p.Server.Spec.Args) {
		w.errorf("the server's container runs %q %q", server.Command, server.Args)
	}
	mounts := map[string]string{}
	for _, c := range slices.Concat(w.pod().InitContainers, w.pod().Containers) {
		for _, m := range c.VolumeMounts {
			if m.Name == stdioBinVolume || m.Name == stdioSocketVolume {
				mounts[c.Name+" "+m.Name] = fmt.Sprintf("%s %t", m.MountPath, m.ReadOnly)
			}
		}
	}
	if diff := cmp.Diff(map[string]string{
		InstallContainer + " " + stdioBinVolume:   gateconfig.InstallDirectory + " false",
		ServerContainer + " " + stdioBinVolume:    gateconfig.InstallDirectory + " true",
		ServerContainer + " " + stdioSocketVolume: gateconfig.StdioDirectory + " false",
		GateContainer + " " + stdioSocketVolume:   gateconfig.StdioDirectory + " true",
	}, mounts); diff != "" {
		w.errorf("the mounts of binary and socket (-want +got):\n%s", diff)
	}
	for _, name := range []string{stdioBinVolume, stdioSocketVolume} {
		if v := volumes[name]; v.EmptyDir == nil || v.EmptyDir.Medium != core.StorageMediumMemory {
			w.errorf("volume %s is not in memory", name)
		}
	}
	if install := w.pod().InitContainers[1]; install.Name != InstallContainer || install.Image != testImage || install.RestartPolicy != nil {
		w.errorf("the binary does not come from the gate's image")
	}
}

// nothingReachesTheServer: no port, Service or rule but to the gate.
func (w witness) nothingReachesTheServer() {
	if ports := w.pod().Containers[0].Ports; len(ports) != 0 {
		w.errorf("the server has container ports %v", ports)
	}
	service := into[core.Service](w.t, w.c.Service)
	for _, p := range service.Spec.Ports {
		if p.TargetPort.IntValue() != gateconfig.GatePort || p.NodePort != 0 {
			w.errorf("the Service leads to port %s", p.TargetPort.String())
		}
	}
	if service.Spec.Type != core.ServiceTypeClusterIP || service.Spec.PublishNotReadyAddresses || len(service.Spec.ExternalIPs) != 0 {
		w.errorf("the Service is open to more than the cluster and ready pods")
	}
	policy := into[networking.NetworkPolicy](w.t, w.c.NetworkPolicy)
	if !slices.Equal(policy.Spec.PolicyTypes, []networking.PolicyType{networking.PolicyTypeIngress, networking.PolicyTypeEgress}) {
		w.errorf("the policy does not deny both ways")
	}
	for _, rule := range policy.Spec.Ingress {
		w.ingress(rule)
	}
	for _, rule := range policy.Spec.Egress {
		if len(rule.To) == 0 {
			w.errorf("an egress rule allows every address")
		}
		for _, peer := range rule.To {
			w.peerIsSomebody(peer)
		}
	}
}

func (w witness) ingress(rule networking.NetworkPolicyIngressRule) {
	if len(rule.From) == 0 || len(rule.Ports) != 1 {
		w.errorf("an ingress rule has %d peers and %d ports", len(rule.From), len(rule.Ports))
		return
	}
	port := rule.Ports[0]
	if port.Port == nil || port.EndPort != nil || port.Protocol == nil || *port.Protocol != core.ProtocolTCP {
		w.errorf("an ingress rule is not about one TCP port")
		return
	}
	for _, peer := range rule.From {
		w.peerIsSomebody(peer)
		switch port.Port.IntValue() {
		case gateconfig.GatePort:
		case gateconfig.StatusPort:
			if peer.NamespaceSelector.MatchLabels[core.LabelMetadataName] != "bartizan-system" || len(peer.PodSelector.MatchLabels) == 0 {
				w.errorf("somebody else than the operator reaches the status port")
			}
		default:
			w.errorf("an ingress rule opens port %s", port.Port.String())
		}
	}
}

func (w witness) peerIsSomebody(peer networking.NetworkPolicyPeer) {
	if peer == (networking.NetworkPolicyPeer{}) {
		w.errorf("a peer is everybody")
	}
}

// noTokenUnlessAsked: and then only in the server's container.
func (w witness) noTokenUnlessAsked() {
	pod := w.pod()
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		w.errorf("the pod mounts a token by itself")
	}
	if w.c.ServiceAccount != nil {
		account := into[core.ServiceAccount](w.t, w.c.ServiceAccount)
		if account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken || account.Annotations[AnnotationConsent] != "" {
			w.errorf("the ServiceAccount gives its token away")
		}
	}
	asked := w.p.Server.Spec.KubernetesAccess != nil
	for _, v := range pod.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			if source.ServiceAccountToken != nil && (!asked || v.Name != tokenVolume) {
				w.errorf("volume %s has a token", v.Name)
			}
		}
	}
	for _, m := range pod.InitContainers[0].VolumeMounts {
		if m.Name == tokenVolume {
			w.errorf("the gate has a token")
		}
	}
	if (w.c.Role != nil || w.c.RoleBinding != nil) && !asked {
		w.errorf("there is a Role that nobody asked for")
	}
}

// evaluator judges pods by the restricted Pod Security Standard.
var evaluator = func() psapolicy.Evaluator {
	e, err := psapolicy.NewEvaluator(psapolicy.DefaultChecks(), nil)
	if err != nil {
		panic(err)
	}
	return e
}()

func (w witness) podSecurityIsRestricted() {
	template := w.deployment.Spec.Template
	for _, version := range []psa.Version{psa.LatestVersion(), psa.MajorMinorVersion(1, 29), psa.MajorMinorVersion(1, 36)} {
		results := evaluator.EvaluatePod(psa.LevelVersion{Level: psa.LevelRestricted, Version: version}, &template.ObjectMeta, &template.Spec)
		for _, r := range results {
			if !r.Allowed {
				w.errorf("PSS restricted %s: %s: %s", version, r.ForbiddenReason, r.ForbiddenDetail)
			}
		}
	}
	for _, c := range slices.Concat(template.Spec.Containers, template.Spec.InitContainers) {
		if c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
			w.errorf("container %s can write to its root filesystem", c.Name)
		}
		for _, name := range []core.ResourceName{core.ResourceCPU, core.ResourceMemory} {
			limit, limited := c.Resources.Limits[name]
			if request := c.Resources.Requests[name]; !limited || request.Cmp(limit) > 0 {
				w.errorf("container %s: %s is not limited, or less than requested", c.Name, name)
			}
		}
	}
}

// selectorsHoldThePods: what isolates and protects the pods selects them, whatever labels the user gives.
func (w witness) selectorsHoldThePods() {
	pod := labels.Set(w.deployment.Spec.Template.Labels)
	for name, selector := range map[string]*metav1.LabelSelector{
		"Deployment":    w.deployment.Spec.Selector,
		"NetworkPolicy": &into[networking.NetworkPolicy](w.t, w.c.NetworkPolicy).Spec.PodSelector,
		"Service":       {MatchLabels: into[core.Service](w.t, w.c.Service).Spec.Selector},
	} {
		s, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil || s.Empty() || !s.Matches(pod) {
			w.errorf("%s does not select the pods", name)
		}
	}
	for key, value := range Labels(w.p.Server.Name) {
		if pod[key] != value {
			w.errorf("label %s of the pods is %q", key, pod[key])
		}
	}
}

func (w witness) rightsAreGrantable() {
	if w.c.Role == nil {
		return
	}
	role := into[rbac.Role](w.t, w.c.Role)
	if ok, uncovered := rbacvalidation.Covers(w.p.Options.GrantableRules, role.Rules); !ok {
		w.errorf("the Role grants %v", uncovered)
	}
	binding := into[rbac.RoleBinding](w.t, w.c.RoleBinding)
	if len(binding.Subjects) != 1 || w.c.ServiceAccount == nil || binding.Subjects[0].Name != *w.c.ServiceAccount.Name || binding.Subjects[0].Namespace != w.p.Server.Namespace {
		w.errorf("the RoleBinding binds somebody else than the operator's ServiceAccount")
	}
}

func (w witness) childrenAreOwnedAndDistinct() {
	seen := map[string]bool{}
	for _, child := range all(w.c) {
		m := into[metav1.PartialObjectMetadata](w.t, withoutRest(w.t, child))
		key := m.Kind + "/" + m.Name
		// An ExternalSecret and a Certificate are also a Secret of their own name.
		if seen[key] || m.Namespace != w.p.Server.Namespace || strings.HasPrefix(m.Name, operatorPrefix) {
			w.errorf("%s is there twice, in another namespace, or has a name of the operator's own", key)
		}
		seen[key] = true
		if m.Kind == "ExternalSecret" || m.Kind == "Certificate" {
			key = "Secret/" + m.Name
			if seen[key] {
				w.errorf("%s is there twice", key)
			}
			seen[key] = true
		}
		if len(m.OwnerReferences) != 1 || m.OwnerReferences[0].UID != w.p.Server.UID || m.OwnerReferences[0].Controller == nil || m.Labels[LabelManagedBy] != ManagedBy {
			w.errorf("%s is not marked as owned by its server", key)
		}
	}
}

// gateObeysItsConfiguration: a gate would obey the configuration of every server that is built.
func (w witness) gateObeysItsConfiguration() {
	config, err := GateConfig(w.p.Server, "", access.Result{}, gateconfig.Status{}, nil)
	if err == nil {
		_, err = Seal(config)
	}
	if err != nil {
		w.errorf("%v", err)
	}
}

// all are the children that are there.
func all(c Children) []any {
	var children []any
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		switch field := v.Field(i); field.Kind() {
		case reflect.Slice:
			for j := range field.Len() {
				children = append(children, field.Index(j).Interface())
			}
		default:
			if !field.IsNil() {
				children = append(children, field.Interface())
			}
		}
	}
	return children
}

// withoutRest is kind and metadata of a child.
func withoutRest(t testing.TB, child any) any {
	t.Helper()
	content, err := json.Marshal(child)
	if err != nil {
		t.Fatal(err)
	}
	var parts map[string]any
	if err := json.Unmarshal(content, &parts); err != nil {
		t.Fatal(err)
	}
	return map[string]any{"apiVersion": parts["apiVersion"], "kind": parts["kind"], "metadata": parts["metadata"]}
}

// TestUnvalidatedSpecs: the policy is also built for a server that Validate refuses, and even a pod template of such a
// server would be selected by it.
func TestUnvalidatedSpecs(t *testing.T) {
	for seed := range uint64(500) {
		p := params(newDice(seed).server())
		p.Peers = nil
		network, err := NetworkPolicy(p)
		if err != nil {
			continue
		}
		w := witness{t: t, seed: seed, p: p}
		for _, rule := range into[networking.NetworkPolicy](t, network).Spec.Ingress {
			w.ingress(rule)
		}
		for _, rule := range into[networking.NetworkPolicy](t, network).Spec.Egress {
			if len(rule.To) == 0 {
				w.errorf("an egress rule allows every address")
			}
			for _, peer := range rule.To {
				w.peerIsSomebody(peer)
			}
		}
		if p.Server.Spec.Pod != nil {
			p.Server.Spec.Pod.Labels = map[string]string{LabelServer: "other"}
		}
		template, err := podTemplate(p)
		if err != nil {
			continue
		}
		if !labels.SelectorFromSet(Selector(p.Server.Name)).Matches(labels.Set(template.Labels)) {
			w.errorf("the pod has the labels %v", template.Labels)
		}
	}
}
