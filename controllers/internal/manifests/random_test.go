package manifests

import (
	"fmt"
	"math/rand/v2"
	"strings"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// dice makes random MCPServers. Most of what it picks is right, so that many servers can be built; the rest is what an
// attacker, a careless user or an old CRD would leave in a spec.
type dice struct{ *rand.Rand }

func newDice(seed uint64) dice { return dice{rand.New(rand.NewPCG(seed, 1))} }

// one in n.
func (d dice) one(n int) bool { return d.IntN(n) == 0 }

// mostly picks a good value, and one in 60 times a bad one.
func mostly[T any](d dice, good []T, bad ...T) T {
	if len(bad) > 0 && d.one(60) {
		return bad[d.IntN(len(bad))]
	}
	return good[d.IntN(len(good))]
}

// some makes up to n values.
func some[T any](d dice, n int, value func(i int) T) []T {
	var all []T
	for i := range d.IntN(n + 1) {
		all = append(all, value(i))
	}
	return all
}

// maybe makes a value or none.
func maybe[T any](d dice, value func() T) *T {
	if d.one(2) {
		return nil
	}
	v := value()
	return &v
}

func (d dice) server() *v1alpha1.MCPServer {
	return &v1alpha1.MCPServer{
		ObjectMeta: metav1.ObjectMeta{
			Name:      mostly(d, []string{"a", "github", strings.Repeat("n", 63)}, "bartizan", "bartizan-ca", "", "A_b", strings.Repeat("n", 64), "9lives"),
			Namespace: "team-a",
			UID:       types.UID("00000000-0000-0000-0000-000000000001"),
		},
		Spec: v1alpha1.MCPServerSpec{
			Image: mostly(d, []string{"r.example/a@sha256:" + strings.Repeat("0", 64), "localhost:5000/a/b:1@sha256:" + strings.Repeat("f", 64)},
				"r.example/a:latest", "a@sha256:1", "", "a b@sha256:"+strings.Repeat("0", 64), "r.example/a@sha256:"+strings.Repeat("0", 64)+"\n"),
			Command: some(d, 2, func(int) string { return "/server" }),
			Args:    some(d, 2, func(i int) string { return fmt.Sprintf("--flag=%d", i) }),
			Env: some(d, 3, func(i int) v1alpha1.EnvVar {
				value := "x"
				return mostly(d, []v1alpha1.EnvVar{
					{Name: fmt.Sprintf("V%d", i), Value: &value}, {Name: fmt.Sprintf("V%d", i), FieldPath: "status.podIP"},
					{Name: fmt.Sprintf("V%d", i), ConfigMapKeyRef: &v1alpha1.ConfigMapKeyRef{Name: "c", Key: "k"}},
				}, v1alpha1.EnvVar{Name: "0", Value: &value}, v1alpha1.EnvVar{Name: "F", FieldPath: "spec.containers"}, v1alpha1.EnvVar{Name: "V0"}, v1alpha1.EnvVar{Name: "S0"})
			}),
			Resources:        maybe(d, d.resources),
			Replicas:         maybe(d, func() int32 { return d.Int32N(5) }),
			Suspend:          maybe(d, func() bool { return d.one(2) }),
			Pod:              maybe(d, d.pod),
			Transport:        d.transport(),
			Endpoint:         maybe(d, d.endpoint),
			Authentication:   maybe(d, func() v1alpha1.Authentication { return v1alpha1.Authentication{} }),
			TLS:              maybe(d, d.tls),
			Secrets:          some(d, 3, d.secrets),
			Network:          maybe(d, d.network),
			KubernetesAccess: maybe(d, d.access),
			Limits: maybe(d, func() v1alpha1.Limits {
				return v1alpha1.Limits{RequestBytes: mostly(d, []string{"", "1Mi", "64Ki"}, "x", "1", "1Gi", "-1Mi"), Depth: mostly(d, []int32{0, 8, 64}, -1, 7, 5000)}
			}),
		},
	}
}

func (d dice) resources() core.ResourceRequirements {
	list := func() core.ResourceList {
		l := core.ResourceList{}
		for _, name := range []core.ResourceName{core.ResourceCPU, core.ResourceMemory, core.ResourceEphemeralStorage} {
			if d.one(2) {
				l[name] = resource.MustParse(mostly(d, []string{"1", "2Gi", "10m", "0"}, "-1"))
			}
		}
		if d.one(4) {
			name := mostly(d, []core.ResourceName{"example.com/gpu", "hugepages-2Mi"}, "pods", "storage", "kubernetes.io/x", "a b/c", "requests.example.com/gpu", "hugepages-", "hugepages-x")
			l[name] = resource.MustParse(mostly(d, []string{"2Mi", "4Mi"}, "10m", "1", "-1"))
		}
		return l
	}
	r := core.ResourceRequirements{Limits: list()}
	if d.one(3) {
		r.Requests = list()
	}
	if d.one(60) {
		r.Claims = []core.ResourceClaim{{Name: "gpu"}}
	}
	return r
}

func (d dice) transport() v1alpha1.Transport {
	if d.one(4) {
		return v1alpha1.Transport{
			Type:     v1alpha1.TransportStdio,
			Port:     mostly(d, []int32{0}, 8080),
			Path:     mostly(d, []string{""}, "/mcp"),
			Sessions: mostly(d, []v1alpha1.SessionMode{"", v1alpha1.SessionsStateful, v1alpha1.SessionsStateless}),
			Stdio: maybe(d, func() v1alpha1.Stdio {
				return v1alpha1.Stdio{
					Children:    mostly(d, []v1alpha1.StdioChildren{"", v1alpha1.StdioPerPrincipal, v1alpha1.StdioShared}, "Nobody"),
					MaxChildren: mostly(d, []int32{0, 1, 256}, -1, 257),
					IdleTimeout: mostly(d, []string{"", "10s", "1h"}, "x", "9s", "25h", "-1m"),
					ChildMemory: mostly(d, []string{"", "64Mi"}, "x", "1", "1Ti"),
				}
			}),
		}
	}
	return v1alpha1.Transport{
		Type:     v1alpha1.TransportStreamableHTTP,
		Port:     mostly(d, []int32{1, 80, 443, 8080, 15442, 65535}, gateconfig.GatePort, gateconfig.StatusPort, gateconfig.ProbePort, 0, -1, 70000),
		Path:     mostly(d, []string{"", "/", "/mcp", "/a/b"}, "/mcp/", "//", "/../x", "mcp", "/%2e", "/a\nb"),
		Sessions: mostly(d, []v1alpha1.SessionMode{"", v1alpha1.SessionsStateful, v1alpha1.SessionsStateless}),
	}
}

func (d dice) endpoint() v1alpha1.Endpoint {
	return v1alpha1.Endpoint{
		URL: mostly(d, []string{"", "https://mcp.example/github", "https://MCP.example:8443", "https://192.0.2.1/", "https://a.example:443/x"},
			"http://a.example", "https://u:p@a.example", "https://a.example/?q=1", "https://a.example/a/../b", "https://a.example/%2e%2e", "https://[::1]/", "https://", ":", "https://a_b.example", "https://a.example:99999"),
		Hosts: some(d, 2, func(int) string {
			return mostly(d, []string{"b.example", "b.example:8443", "192.0.2.2", "192.0.2.2:1"}, "B.example", "b.example:0x1", "a b", "*.example", "b.example:99999", "1.2.3", strings.Repeat("l", 64)+".example")
		}),
		Origins: some(d, 1, func(int) string {
			return mostly(d, []string{"https://c.example", "http://localhost:3000"}, "https://c.example/", "null", "*", "https://-", "https://c.example:")
		}),
	}
}

func (d dice) tls() v1alpha1.TLS {
	t := v1alpha1.TLS{
		Duration:    mostly(d, []string{"", "24h", "2160h"}, "x", "1m", "9000h", "-24h"),
		RenewBefore: mostly(d, []string{"", "8h", "1h"}, "x", "1s", "24h", "-1h"),
		DNSNames:    some(d, 2, func(int) string { return mostly(d, []string{"d.example", "*.d.example"}, "*", "d..example", "1.2.3") }),
	}
	if d.one(3) {
		t.IssuerRef = &v1alpha1.IssuerRef{
			Name: "corporate", Kind: mostly(d, []string{"", "Issuer"}, "ClusterIssuer", "clusterissuer", "AWSPCAClusterIssuer"),
			Group: mostly(d, []string{"", "cert-manager.io"}, "evil.example"),
		}
	}
	return t
}

func (d dice) secrets(i int) v1alpha1.SecretGroup {
	return v1alpha1.SecretGroup{
		Name:            mostly(d, []string{fmt.Sprintf("g%d", i), strings.Repeat("g", 60) + fmt.Sprint(i)}, "tls", "gate", "g0", "ca-1", "G", ""),
		StoreRef:        v1alpha1.SecretStoreRef{Name: mostly(d, []string{"vault"}, "", "V"), Kind: mostly(d, []v1alpha1.SecretStoreKind{"", "SecretStore"}, "ClusterSecretStore", "x")},
		RefreshInterval: mostly(d, []string{"", "1h"}, "x", "1s"),
		Data: append(some(d, 2, func(j int) v1alpha1.SecretData {
			ref := v1alpha1.RemoteRef{Key: mostly(d, []string{"k"}, "")}
			return mostly(d, []v1alpha1.SecretData{{RemoteRef: ref, File: fmt.Sprintf("f%d", j)}, {RemoteRef: ref, Env: fmt.Sprintf("S%d%d", i, j)}},
				v1alpha1.SecretData{RemoteRef: ref, File: "../../etc/passwd"}, v1alpha1.SecretData{RemoteRef: ref, File: "..data"}, v1alpha1.SecretData{RemoteRef: ref},
				v1alpha1.SecretData{RemoteRef: ref, File: "a", Env: "B"}, v1alpha1.SecretData{RemoteRef: ref, Env: "V0"}, v1alpha1.SecretData{RemoteRef: ref, Env: "A=B"})
		}), v1alpha1.SecretData{RemoteRef: v1alpha1.RemoteRef{Key: "k"}, File: "last"}),
	}
}

func (d dice) peers() []networking.NetworkPolicyPeer {
	all := some(d, 2, func(int) networking.NetworkPolicyPeer {
		return mostly(d, []networking.NetworkPolicyPeer{
			{PodSelector: &metav1.LabelSelector{}},
			{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}},
			{IPBlock: &networking.IPBlock{CIDR: "192.0.2.0/24", Except: []string{"192.0.2.1/32"}}},
		}, networking.NetworkPolicyPeer{}, networking.NetworkPolicyPeer{IPBlock: &networking.IPBlock{CIDR: "everything"}},
			networking.NetworkPolicyPeer{IPBlock: &networking.IPBlock{CIDR: "192.0.2.0/24", Except: []string{"10.0.0.0/8"}}},
			networking.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}}})
	})
	if d.one(60) {
		return all
	}
	return append(all, networking.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}})
}

func (d dice) network() v1alpha1.Network {
	return v1alpha1.Network{
		Ingress: some(d, 2, func(int) v1alpha1.NetworkIngress { return v1alpha1.NetworkIngress{From: d.peers()} }),
		Egress: some(d, 2, func(int) v1alpha1.NetworkEgress {
			return v1alpha1.NetworkEgress{To: d.peers(), Ports: some(d, 2, func(int) networking.NetworkPolicyPort {
				port, named, end := intstr.FromInt32(d.Int32N(1000)+1), intstr.FromString("http"), int32(2000)
				low := int32(0)
				return mostly(d, []networking.NetworkPolicyPort{{Port: &port}, {Port: &port, EndPort: &end}, {Port: &named}}, networking.NetworkPolicyPort{EndPort: &end}, networking.NetworkPolicyPort{Port: &port, EndPort: &low})
			})}
		}),
		Internet: mostly(d, []v1alpha1.InternetAccess{"", v1alpha1.InternetDenied, v1alpha1.InternetAllowed}, "Sometimes"),
	}
}

func (d dice) access() v1alpha1.KubernetesAccess {
	if d.one(3) {
		return v1alpha1.KubernetesAccess{ServiceAccountName: mostly(d, []string{"mine"}, "Mine", "a/b")}
	}
	return v1alpha1.KubernetesAccess{Rules: append(some(d, 2, func(int) rbac.PolicyRule {
		return mostly(d, []rbac.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}},
			rbac.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}, rbac.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"*"}},
			rbac.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}, rbac.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods/exec"}, Verbs: []string{"get"}},
			rbac.PolicyRule{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"impersonate"}}, rbac.PolicyRule{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}, rbac.PolicyRule{})
	}), rbac.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"get"}, ResourceNames: []string{"web"}})}
}

func (d dice) pod() v1alpha1.PodSettings {
	size := resource.MustParse(mostly(d, []string{"1Mi"}, "0", "-1"))
	return v1alpha1.PodSettings{
		Labels: mostly(d, []map[string]string{nil, {"team": "a"}},
			map[string]string{LabelServer: "other"}, map[string]string{LabelManagedBy: "me"}, map[string]string{"a b": "c"}, map[string]string{"a": "b c"}),
		Annotations: mostly(d, []map[string]string{nil, {"example.com/a": "b"}},
			map[string]string{"container.apparmor.security.beta.kubernetes.io/server": "unconfined"}, map[string]string{"container.apparmor.security.beta.kubernetes.io/gate": "unconfined"},
			map[string]string{"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}, map[string]string{AnnotationInputs: "mine"}, map[string]string{"Container.AppArmor.Security.Beta.Kubernetes.io/server": "unconfined"}),
		Volumes: []v1alpha1.Volume{
			{Name: mostly(d, []string{"tmp"}, gateVolume, gateRunVolume, tokenVolume, "T"), EmptyDir: &v1alpha1.EmptyDir{SizeLimit: &size}},
			mostly(d, []v1alpha1.Volume{{Name: "c", ConfigMap: &v1alpha1.ConfigMapVolume{Name: "c"}}, {Name: "d", PersistentVolumeClaim: &v1alpha1.ClaimVolume{ClaimName: "d"}}},
				v1alpha1.Volume{Name: "tmp", ConfigMap: &v1alpha1.ConfigMapVolume{Name: "c"}}, v1alpha1.Volume{Name: "n"}, v1alpha1.Volume{}),
		},
		VolumeMounts: some(d, 2, func(i int) v1alpha1.VolumeMount {
			return v1alpha1.VolumeMount{
				Name:      mostly(d, []string{"tmp"}, gateVolume, gateRunVolume, "bartizan-secret-g0", "missing", ""),
				MountPath: mostly(d, []string{fmt.Sprintf("/m%d", i), fmt.Sprintf("/var/m%d", i)}, "/", "/var/run/secrets", "/var/run/secrets/mcp/g0", "//run/secrets/x", "/var/run/../run/secrets/kubernetes.io", "relative", "/proc/1", "/m0/", "/a:b"),
				SubPath:   mostly(d, []string{"", "s"}, "..", "/abs", "a/../../b"),
				Mode:      mostly(d, []v1alpha1.VolumeMode{"", v1alpha1.VolumeReadOnly, v1alpha1.VolumeReadWrite}, "x"),
			}
		}),
		ImagePullSecrets: some(d, 1, func(int) string { return mostly(d, []string{"registry"}, "R", "") }),
		NodeSelector:     mostly(d, []map[string]string{nil, {"kubernetes.io/os": "linux"}}, map[string]string{"a b": ""}),
		Tolerations:      some(d, 1, func(int) core.Toleration { return core.Toleration{Operator: core.TolerationOpExists} }),
		TopologySpreadConstraints: some(d, 1, func(int) core.TopologySpreadConstraint {
			return core.TopologySpreadConstraint{MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: core.DoNotSchedule}
		}),
		SecurityContext: maybe(d, func() v1alpha1.PodSecurity {
			id := func() *int64 {
				return maybe(d, func() int64 { return mostly(d, []int64{1, 1000, gateUser}, 0, -1, 1<<40) })
			}
			return v1alpha1.PodSecurity{RunAsUser: id(), RunAsGroup: id(), FSGroup: id()}
		}),
		Probes: maybe(d, func() v1alpha1.Probes {
			return v1alpha1.Probes{Startup: d.probe(), Readiness: d.probe(), Liveness: d.probe()}
		}),
		ServiceAccountAnnotations: mostly(d, []map[string]string{nil, {"example.com/role": "x"}}, map[string]string{AnnotationConsent: "other"}, map[string]string{"": ""}),
	}
}

func (d dice) probe() *core.Probe {
	if d.one(2) {
		return nil
	}
	p := mostly(d, []core.ProbeHandler{{Exec: &core.ExecAction{Command: []string{"/check"}}}, {HTTPGet: &core.HTTPGetAction{Port: intstr.FromInt32(9090)}}},
		core.ProbeHandler{}, core.ProbeHandler{HTTPGet: &core.HTTPGetAction{Host: "169.254.169.254", Port: intstr.FromInt32(80)}}, core.ProbeHandler{HTTPGet: &core.HTTPGetAction{Port: intstr.FromInt32(gateconfig.StatusPort)}},
		core.ProbeHandler{TCPSocket: &core.TCPSocketAction{Host: "10.0.0.1", Port: intstr.FromInt32(9090)}}, core.ProbeHandler{TCPSocket: &core.TCPSocketAction{Port: intstr.FromString("mcp")}}, core.ProbeHandler{GRPC: &core.GRPCAction{Port: 8080}},
		core.ProbeHandler{Exec: &core.ExecAction{}, GRPC: &core.GRPCAction{Port: 1}})
	return &core.Probe{ProbeHandler: p, PeriodSeconds: mostly(d, []int32{0, 5}, -5)}
}
