package manifests

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"strconv"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

func TestDeployment(t *testing.T) {
	golden(t, "deployment", []string{"minimal", "everything", "kubernetes-access", "own-serviceaccount", "secrets", "suspended", "stateful", "stdio"},
		func(c Children) any { return c.Deployment })
}

// TestInputs: the hash of the inputs changes with what the user or a secret puts into the pods, and with nothing else.
func TestInputs(t *testing.T) {
	of := func(change func(*Params)) string {
		t.Helper()
		p := params(server(t, "everything"))
		change(&p)
		c, err := Build(p)
		if err != nil {
			t.Fatal(err)
		}
		d := into[apps.Deployment](t, c.Deployment)
		if d.Annotations[AnnotationInputs] != d.Spec.Template.Annotations[AnnotationInputs] {
			t.Error("Deployment and pods disagree")
		}
		return d.Annotations[AnnotationInputs]
	}
	before := of(func(*Params) {})
	for name, change := range map[string]func(*Params){
		"arguments":       func(p *Params) { p.Server.Spec.Args = append(p.Server.Spec.Args, "-v") },
		"environment":     func(p *Params) { p.Server.Spec.Env[0].Value = ptr.To("debug") },
		"secret":          func(p *Params) { p.SecretHashes["github"] = "another" },
		"secret's target": func(p *Params) { p.Server.Spec.Secrets[0].Data[0].File = "key" },
		"label":           func(p *Params) { p.Server.Spec.Pod.Labels["team"] = "b" },
		"access":          func(p *Params) { p.Server.Spec.KubernetesAccess = nil },
		"port":            func(p *Params) { p.Server.Spec.Transport.Port = 8089 },
		"path":            func(p *Params) { p.Server.Spec.Transport.Path = "/elsewhere" },
		"transport": func(p *Params) {
			p.Server.Spec.Transport.Type = v1alpha1.TransportStdio
			p.Server.Spec.Transport.Port, p.Server.Spec.Transport.Path, p.Server.Spec.Pod.Probes = 0, "", nil
		},
	} {
		if of(change) == before {
			t.Errorf("%s: the hash stays the same", name)
		}
	}
	for name, change := range map[string]func(*Params){
		"gate's image":    func(p *Params) { p.GateImage = "registry.example/gate@sha256:" + hex.EncodeToString(make([]byte, 32)) },
		"replicas":        func(p *Params) { p.Server.Spec.Replicas = ptr.To(int32(7)) },
		"store":           func(p *Params) { p.Server.Spec.Secrets[0].StoreRef.Name = "other" },
		"rules":           func(p *Params) { p.Server.Spec.KubernetesAccess.Rules[0].Verbs = []string{"get"} },
		"configuration":   func(p *Params) { p.Gate.Generation = "other" },
		"role annotation": func(p *Params) { p.Server.Spec.Pod.ServiceAccountAnnotations = nil },
		"network":         func(p *Params) { p.Server.Spec.Network = nil },
		"unused hash":     func(p *Params) { p.SecretHashes["gone"] = "x" },
	} {
		if of(change) != before {
			t.Errorf("%s: the hash changes", name)
		}
	}
}

func TestTemplateRevision(t *testing.T) {
	if TemplateRevision("a") == TemplateRevision("b") {
		t.Error("the revision does not follow the gate's image")
	}
}

// TestTemplateVersion fails when the operator's part of the pod template changes under the same TemplateVersion: all servers
// would roll at once when the operator is upgraded.
func TestTemplateVersion(t *testing.T) {
	const file = "testdata/template-version.json"
	type record struct {
		Version int    `json:"version"`
		SHA256  string `json:"sha256"`
	}
	h := sha256.New()
	for _, name := range []string{"minimal", "everything", "secrets", "kubernetes-access"} {
		d := into[apps.Deployment](t, build(t, name).Deployment)
		delete(d.Spec.Template.Labels, LabelTemplateRevision)
		if err := json.NewEncoder(h).Encode(d.Spec.Template); err != nil {
			t.Fatal(err)
		}
	}
	got := record{TemplateVersion, hex.EncodeToString(h.Sum(nil))}
	if *update {
		content, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		write(t, file, append(content, '\n'))
		return
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var want record
	if err := json.Unmarshal(content, &want); err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("the pod template is another than that of TemplateVersion %d; raise TemplateVersion to %s, unless it was never released, and run the test with -update",
			want.Version, strconv.Itoa(want.Version+1))
	}
}

// TestResources: CPU and memory are always limited, and a default gives way.
func TestResources(t *testing.T) {
	list := func(cpu, memory string) core.ResourceList {
		l := core.ResourceList{}
		if cpu != "" {
			l[core.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			l[core.ResourceMemory] = resource.MustParse(memory)
		}
		return l
	}
	for name, tc := range map[string]struct{ requests, limits, wantRequests, wantLimits core.ResourceList }{
		"nothing":         {nil, nil, list("50m", "64Mi"), list("1", "512Mi")},
		"large request":   {list("", "2Gi"), nil, list("50m", "2Gi"), list("1", "2Gi")},
		"small limit":     {nil, list("20m", "16Mi"), list("20m", "16Mi"), list("20m", "16Mi")},
		"everything":      {list("2", "1Gi"), list("4", "2Gi"), list("2", "1Gi"), list("4", "2Gi")},
		"one of the two":  {list("2", ""), nil, list("2", "64Mi"), list("2", "512Mi")},
		"limit of memory": {nil, list("", "4Gi"), list("50m", "64Mi"), list("1", "4Gi")},
	} {
		got := into[core.ResourceRequirements](t, resources(&core.ResourceRequirements{Requests: tc.requests, Limits: tc.limits}))
		if !same(got.Requests, tc.wantRequests) || !same(got.Limits, tc.wantLimits) {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func same(a, b core.ResourceList) bool {
	if len(a) != len(b) {
		return false
	}
	for name, quantity := range a {
		if other, ok := b[name]; !ok || quantity.Cmp(other) != 0 {
			return false
		}
	}
	return true
}

// TestBuildRefusesWhatTheOperatorMayNotGrant: without any grantable rule there is no Role at all.
func TestBuildRefusesWhatTheOperatorMayNotGrant(t *testing.T) {
	p := params(server(t, "kubernetes-access"))
	p.Options.GrantableRules = []rbac.PolicyRule{}
	if c, err := Build(p); err == nil || c.Deployment != nil {
		t.Errorf("built %v", c.Role)
	}
	p.Server.Spec.KubernetesAccess = &v1alpha1.KubernetesAccess{ServiceAccountName: "mine"}
	if _, err := Build(p); err != nil {
		t.Error(err)
	}
}
