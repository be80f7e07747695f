package manifests

import (
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// TestValidate has one case for each thing that can be wrong, with what the user reads.
func TestValidate(t *testing.T) {
	pod := func(s *v1alpha1.MCPServer) *v1alpha1.PodSettings {
		s.Spec.Pod = ptr.To(v1alpha1.PodSettings{})
		return s.Spec.Pod
	}
	tmp := v1alpha1.Volume{Name: "tmp", EmptyDir: &v1alpha1.EmptyDir{SizeLimit: ptr.To(resource.MustParse("1Mi"))}}
	group := func(data ...v1alpha1.SecretData) v1alpha1.SecretGroup {
		for i := range data {
			data[i].RemoteRef.Key = "k"
		}
		return v1alpha1.SecretGroup{Name: "g", StoreRef: v1alpha1.SecretStoreRef{Name: "vault"}, Data: data}
	}
	for name, tc := range map[string]struct {
		change  func(*v1alpha1.MCPServer)
		reason  string
		message string // after "MCPServer team-a/clock: "
	}{
		"image by tag": {func(s *v1alpha1.MCPServer) { s.Spec.Image = "registry.example/clock:latest" }, ReasonImageNotPinned,
			"spec.image: \"registry.example/clock:latest\" is not an image by digest; write registry/name@sha256: and the 64 digits of the digest, which `crane digest` or the registry tells"},
		"image by a short digest": {func(s *v1alpha1.MCPServer) { s.Spec.Image = "registry.example/clock@sha256:abc" }, ReasonImageNotPinned, ""},
		"name reserved":           {func(s *v1alpha1.MCPServer) { s.Name = "bartizan-ca" }, ReasonNameReserved, ""},
		"name too long":           {func(s *v1alpha1.MCPServer) { s.Name = strings.Repeat("n", 64) }, ReasonNameTooLong, ""},
		"name no label":           {func(s *v1alpha1.MCPServer) { s.Name = "a.b" }, ReasonNameInvalid, ""},
		"port of the gate": {func(s *v1alpha1.MCPServer) { s.Spec.Transport.Port = 15444 }, ReasonPortConflict,
			"spec.transport.port: 15444 is the gate's own port; have the server listen on another, outside 15443 to 15445"},
		"path with a slash at its end": {func(s *v1alpha1.MCPServer) { s.Spec.Transport.Path = "/mcp/" }, ReasonEndpointInvalid,
			"spec.transport.path: \"/mcp/\" has an empty, '.' or '..' segment, or a character that URLs encode; write a plain path such as /mcp, without a slash at its end"},
		"stdio without a command": {stdioOf(func(s *v1alpha1.MCPServer) { s.Spec.Command = nil }), ReasonTransportInvalid,
			"spec.command: it is empty; with transport.type Stdio, write the command that a child process runs"},
		"stdio with a port":           {stdioOf(func(s *v1alpha1.MCPServer) { s.Spec.Transport.Port = 8080 }), ReasonTransportInvalid, ""},
		"stdio with a path":           {stdioOf(func(s *v1alpha1.MCPServer) { s.Spec.Transport.Path = "/mcp" }), ReasonTransportInvalid, ""},
		"stdio for nobody":            {stdioOf(func(s *v1alpha1.MCPServer) { s.Spec.Transport.Stdio.Children = "Nobody" }), ReasonTransportInvalid, ""},
		"stdio with too many":         {stdioOf(func(s *v1alpha1.MCPServer) { s.Spec.Transport.Stdio.MaxChildren = 257 }), ReasonTransportInvalid, ""},
		"stdio that is idle too soon": {stdioOf(func(s *v1alpha1.MCPServer) { s.Spec.Transport.Stdio.IdleTimeout = "1s" }), ReasonTransportInvalid, ""},
		"stdio without memory":        {stdioOf(func(s *v1alpha1.MCPServer) { s.Spec.Transport.Stdio.ChildMemory = "1" }), ReasonTransportInvalid, ""},
		"stdio with a probe of a port": {stdioOf(func(s *v1alpha1.MCPServer) {
			s.Spec.Pod = &v1alpha1.PodSettings{Probes: &v1alpha1.Probes{Liveness: &core.Probe{ProbeHandler: core.ProbeHandler{TCPSocket: &core.TCPSocketAction{Port: intstr.FromInt32(9000)}}}}}
		}), ReasonProbeInvalid, ""},
		"mount over the socket": {func(s *v1alpha1.MCPServer) {
			s.Spec.Pod = &v1alpha1.PodSettings{Volumes: []v1alpha1.Volume{tmp}, VolumeMounts: []v1alpha1.VolumeMount{{Name: "tmp", MountPath: "/run/bartizan-stdio"}}}
		}, ReasonMountPathInvalid, ""},
		"children without stdio":    {func(s *v1alpha1.MCPServer) { s.Spec.Transport.Stdio = &v1alpha1.Stdio{} }, ReasonTransportInvalid, ""},
		"transport of another type": {func(s *v1alpha1.MCPServer) { s.Spec.Transport.Type = "SSE" }, ReasonTransportInvalid, ""},
		"endpoint with a query":     {func(s *v1alpha1.MCPServer) { s.Spec.Endpoint = &v1alpha1.Endpoint{URL: "https://a.example/?x"} }, ReasonEndpointInvalid, ""},
		"endpoint host":             {func(s *v1alpha1.MCPServer) { s.Spec.Endpoint = &v1alpha1.Endpoint{Hosts: []string{"a.example:99999"}} }, ReasonEndpointInvalid, ""},
		"endpoint origin": {func(s *v1alpha1.MCPServer) {
			s.Spec.Endpoint = &v1alpha1.Endpoint{Origins: []string{"https://a.example/"}}
		}, ReasonEndpointInvalid, ""},
		"cluster issuer": {func(s *v1alpha1.MCPServer) {
			s.Spec.TLS = &v1alpha1.TLS{IssuerRef: &v1alpha1.IssuerRef{Kind: "ClusterIssuer", Name: "x"}}
		}, ReasonClusterScopedIssuer,
			"spec.tls.issuerRef.kind: ClusterIssuer.cert-manager.io is cluster-scoped, and no security profile allows it here; use an Issuer of namespace team-a, or leave issuerRef out for the namespace's private authority"},
		"unknown issuer": {func(s *v1alpha1.MCPServer) {
			s.Spec.TLS = &v1alpha1.TLS{IssuerRef: &v1alpha1.IssuerRef{Group: "x.example", Kind: "Thing", Name: "x"}}
		}, ReasonIssuerNotAllowed, ""},
		"duration":          {func(s *v1alpha1.MCPServer) { s.Spec.TLS = &v1alpha1.TLS{Duration: "1y"} }, ReasonCertificateInvalid, ""},
		"renewal too early": {func(s *v1alpha1.MCPServer) { s.Spec.TLS = &v1alpha1.TLS{Duration: "8h"} }, ReasonCertificateInvalid, ""},
		"cluster store": {func(s *v1alpha1.MCPServer) {
			s.Spec.Secrets = []v1alpha1.SecretGroup{group(v1alpha1.SecretData{File: "a"})}
			s.Spec.Secrets[0].StoreRef.Kind = "ClusterSecretStore"
		}, ReasonClusterScopedStore,
			"spec.secrets[g].storeRef.kind: ClusterSecretStore is cluster-scoped, and no security profile allows it here; use a SecretStore of namespace team-a"},
		"group named like the gate's Secret": {func(s *v1alpha1.MCPServer) {
			s.Spec.Secrets = []v1alpha1.SecretGroup{group(v1alpha1.SecretData{File: "a"})}
			s.Spec.Secrets[0].Name = "gate"
		}, ReasonNameReserved, "spec.secrets[gate]: its Secret clock-gate is the one that the operator makes for the gate; rename the group"},
		"two files of one name": {func(s *v1alpha1.MCPServer) {
			s.Spec.Secrets = []v1alpha1.SecretGroup{group(v1alpha1.SecretData{File: "a"}, v1alpha1.SecretData{File: "a"})}
		}, ReasonDuplicateSecretTarget, `spec.secrets[g].data: "a" is the target of two values; rename one`},
		"file and variable of one name": {func(s *v1alpha1.MCPServer) {
			s.Spec.Secrets = []v1alpha1.SecretGroup{group(v1alpha1.SecretData{File: "a"}, v1alpha1.SecretData{Env: "a"})}
		}, ReasonDuplicateSecretTarget, ""},
		"variable of the spec": {func(s *v1alpha1.MCPServer) {
			s.Spec.Env = []v1alpha1.EnvVar{{Name: "TOKEN", Value: ptr.To("x")}}
			s.Spec.Secrets = []v1alpha1.SecretGroup{group(v1alpha1.SecretData{Env: "TOKEN"})}
		}, ReasonDuplicateSecretTarget, "spec.secrets[g].data: environment variable TOKEN is also set by spec.env; remove one of them"},
		"file outside its folder": {func(s *v1alpha1.MCPServer) {
			s.Spec.Secrets = []v1alpha1.SecretGroup{group(v1alpha1.SecretData{File: "../x"})}
		}, ReasonSecretInvalid, ""},
		"field of a pod": {func(s *v1alpha1.MCPServer) { s.Spec.Env = []v1alpha1.EnvVar{{Name: "A", FieldPath: "spec.volumes"}} }, ReasonEnvInvalid, ""},
		"ingress from everybody": {func(s *v1alpha1.MCPServer) {
			s.Spec.Network = &v1alpha1.Network{Ingress: []v1alpha1.NetworkIngress{{}}}
		}, ReasonNetworkInvalid, "spec.network.ingress[0].from: it is empty, which to Kubernetes means everybody; name who"},
		"egress to nobody": {func(s *v1alpha1.MCPServer) {
			s.Spec.Network = &v1alpha1.Network{Egress: []v1alpha1.NetworkEgress{{To: []networking.NetworkPolicyPeer{{}}}}}
		}, ReasonNetworkInvalid, "spec.network.egress[0].to: a peer names nobody; set podSelector, namespaceSelector or ipBlock"},
		"rights": {func(s *v1alpha1.MCPServer) {
			s.Spec.KubernetesAccess = &v1alpha1.KubernetesAccess{Rules: []rbac.PolicyRule{{APIGroups: []string{"", "apps"}, Resources: []string{"secrets"}, Verbs: []string{"get", "delete"}, ResourceNames: []string{"x"}}}}
		}, ReasonRightsNotGrantable,
			`spec.kubernetesAccess.rules[0]: the operator may not grant "get secrets/x", "delete secrets/x", "get secrets.apps/x", 1 more; have it added to the operator's grantable rules, or bind a ServiceAccount of your own to it and name that in spec.kubernetesAccess.serviceAccountName`},
		"rights outside namespaces": {func(s *v1alpha1.MCPServer) {
			s.Spec.KubernetesAccess = &v1alpha1.KubernetesAccess{Rules: []rbac.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}}}
		}, ReasonRightsNotGrantable, ""},
		"no rights at all": {func(s *v1alpha1.MCPServer) { s.Spec.KubernetesAccess = &v1alpha1.KubernetesAccess{} }, ReasonRightsNotGrantable, ""},
		"rate of clients":  {func(s *v1alpha1.MCPServer) { s.Spec.Limits = &v1alpha1.Limits{PerClient: &v1alpha1.ClientRate{}} }, ReasonLimitsInvalid, ""},
		"rate of tools": {func(s *v1alpha1.MCPServer) {
			s.Spec.Limits = &v1alpha1.Limits{PerTool: &v1alpha1.ClientRate{RPS: 1, Burst: -1}}
		}, ReasonLimitsInvalid, ""},
		"endless answers": {func(s *v1alpha1.MCPServer) { s.Spec.Limits = &v1alpha1.Limits{AnswerWithin: "25h"} }, ReasonLimitsInvalid,
			`spec.limits.answerWithin: "25h" is no duration between 1s and 24h`},
		"answers at once": {func(s *v1alpha1.MCPServer) { s.Spec.Limits = &v1alpha1.Limits{AnswerWithin: "0s"} }, ReasonLimitsInvalid, ""},
		"no time":         {func(s *v1alpha1.MCPServer) { s.Spec.Limits = &v1alpha1.Limits{AnswerWithin: "soon"} }, ReasonLimitsInvalid, ""},
		"forbidden":       {func(s *v1alpha1.MCPServer) { s.Spec.Tools = &v1alpha1.Tools{Forbidden: []string{"a[b]"}} }, ReasonLimitsInvalid, ""},
		"request bytes":   {func(s *v1alpha1.MCPServer) { s.Spec.Limits = &v1alpha1.Limits{RequestBytes: "1Gi"} }, ReasonLimitsInvalid, ""},
		"requests above limits": {func(s *v1alpha1.MCPServer) {
			s.Spec.Resources = &core.ResourceRequirements{
				Limits:   core.ResourceList{core.ResourceCPU: resource.MustParse("1")},
				Requests: core.ResourceList{core.ResourceCPU: resource.MustParse("2")},
			}
		}, ReasonResourcesInvalid, "spec.resources.requests[cpu]: 2 is more than the limit 1; raise the limit or lower the request"},
		"own label": {func(s *v1alpha1.MCPServer) { pod(s).Labels = map[string]string{LabelServer: "x"} }, ReasonMetadataInvalid, ""},
		"AppArmor": {func(s *v1alpha1.MCPServer) {
			pod(s).Annotations = map[string]string{"container.apparmor.security.beta.kubernetes.io/server": "unconfined"}
		}, ReasonMetadataInvalid, ""},
		"forged consent": {func(s *v1alpha1.MCPServer) {
			pod(s).ServiceAccountAnnotations = map[string]string{AnnotationConsent: "x"}
		}, ReasonMetadataInvalid, ""},
		"reserved volume": {func(s *v1alpha1.MCPServer) { v := tmp; v.Name = gateVolume; pod(s).Volumes = []v1alpha1.Volume{v} }, ReasonNameReserved, ""},
		"mount without volume": {func(s *v1alpha1.MCPServer) {
			pod(s).VolumeMounts = []v1alpha1.VolumeMount{{Name: "tmp", MountPath: "/tmp"}}
		}, ReasonVolumeMountWithoutVolume,
			`spec.pod.volumeMounts[/tmp]: there is no volume "tmp" in spec.pod.volumes; add it or correct the name`},
		"mount over secrets": {func(s *v1alpha1.MCPServer) {
			p := pod(s)
			p.Volumes, p.VolumeMounts = []v1alpha1.Volume{tmp}, []v1alpha1.VolumeMount{{Name: "tmp", MountPath: "//var//run/secrets/mcp"}}
		}, ReasonMountPathInvalid, ""},
		"mount through a parent": {func(s *v1alpha1.MCPServer) {
			p := pod(s)
			p.Volumes, p.VolumeMounts = []v1alpha1.Volume{tmp}, []v1alpha1.VolumeMount{{Name: "tmp", MountPath: "/var/x/../run/secrets"}}
		}, ReasonMountPathInvalid, ""},
		"two mounts at one path": {func(s *v1alpha1.MCPServer) {
			p := pod(s)
			p.Volumes, p.VolumeMounts = []v1alpha1.Volume{tmp}, []v1alpha1.VolumeMount{{Name: "tmp", MountPath: "/tmp"}, {Name: "tmp", MountPath: "/tmp/"}}
		}, ReasonMountPathInvalid, ""},
		"root": {func(s *v1alpha1.MCPServer) {
			pod(s).SecurityContext = &v1alpha1.PodSecurity{RunAsUser: ptr.To(int64(0))}
		}, ReasonRunsAsRoot,
			"spec.pod.securityContext.runAsUser: 0 is root or no id at all; use a number from 1 to 2147483647"},
		"probe of the server's port": {func(s *v1alpha1.MCPServer) {
			pod(s).Probes = &v1alpha1.Probes{Readiness: &core.Probe{ProbeHandler: core.ProbeHandler{HTTPGet: &core.HTTPGetAction{Path: "/mcp", Port: intstr.FromInt32(8080)}}}}
		}, ReasonProbeInvalid,
			"spec.pod.probes.readiness.httpGet.port: the kubelet cannot reach the server's port, which is open on 127.0.0.1 only; use exec, or remove the probe: the gate checks that port by itself"},
		"probe of the gate": {func(s *v1alpha1.MCPServer) {
			pod(s).Probes = &v1alpha1.Probes{Liveness: &core.Probe{ProbeHandler: core.ProbeHandler{TCPSocket: &core.TCPSocketAction{Port: intstr.FromInt32(15443)}}}}
		}, ReasonProbeInvalid, ""},
		"probe of another host": {func(s *v1alpha1.MCPServer) {
			pod(s).Probes = &v1alpha1.Probes{Startup: &core.Probe{ProbeHandler: core.ProbeHandler{HTTPGet: &core.HTTPGetAction{Host: "169.254.169.254", Port: intstr.FromInt32(80)}}}}
		}, ReasonProbeInvalid, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := server(t, "minimal")
			tc.change(s)
			problems := Validate(s, params(s).Options)
			if len(problems) != 1 || problems[0].Reason != tc.reason {
				t.Fatalf("got %+v, want one problem with reason %s", problems, tc.reason)
			}
			message, named := strings.CutPrefix(problems[0].Message, "MCPServer "+s.Namespace+"/"+s.Name+": ")
			if !named || !strings.HasPrefix(message, "spec.") && !strings.HasPrefix(message, "metadata.") {
				t.Errorf("the message names no object and field: %s", problems[0].Message)
			}
			if tc.message != "" && message != tc.message {
				t.Errorf("got  %s\nwant %s", message, tc.message)
			}
			if _, err := Build(params(s)); err == nil || err.Error() != problems.Error() {
				t.Errorf("Build says %v", err)
			}
		})
	}
}

func TestValidateAccepts(t *testing.T) {
	for _, name := range servers(t) {
		s := server(t, name)
		if problems := Validate(s, params(s).Options); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
	}
	s := server(t, "issuer")
	s.Spec.TLS.IssuerRef = &v1alpha1.IssuerRef{Group: "pca.example", Kind: "PrivateIssuer", Name: "x"}
	if problems := Validate(s, Options{Issuers: []schema.GroupKind{{Group: "pca.example", Kind: "PrivateIssuer"}}}); len(problems) > 0 {
		t.Errorf("an issuer that the operator knows to be namespaced: %v", problems)
	}
}

// stdioOf makes a server a Stdio server, and changes it.
func stdioOf(change func(*v1alpha1.MCPServer)) func(*v1alpha1.MCPServer) {
	return func(s *v1alpha1.MCPServer) {
		s.Spec.Command = []string{"/server"}
		s.Spec.Transport = v1alpha1.Transport{Type: v1alpha1.TransportStdio, Stdio: &v1alpha1.Stdio{}}
		change(s)
	}
}

// TestValidateFindsEverything: a user who mends a spec is told all that is wrong with it at once.
func TestValidateFindsEverything(t *testing.T) {
	s := server(t, "minimal")
	s.Spec.Image = "x"
	s.Spec.Transport.Port = 15443
	s.Spec.Limits = &v1alpha1.Limits{Depth: 1}
	var reasons []string
	for _, p := range Validate(s, Options{}) {
		reasons = append(reasons, p.Reason)
	}
	if got, want := strings.Join(reasons, " "), "ImageNotPinned PortConflict LimitsInvalid"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
