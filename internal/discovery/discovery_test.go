package discovery_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/discovery"
)

var want = regexp.MustCompile(`(?m)^# want: (.+)$`)

// workload reads a manifest of any kind that has pods.
func workload(t *testing.T, manifest string) discovery.Workload {
	t.Helper()
	var any struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
	}
	if err := yaml.Unmarshal([]byte(manifest), &any); err != nil {
		t.Fatalf("%v in\n%s", err, manifest)
	}
	read := func(into interface{}) {
		if err := yaml.UnmarshalStrict([]byte(manifest), into); err != nil {
			t.Fatalf("%s: %v", any.Name, err)
		}
	}
	var template corev1.PodTemplateSpec
	switch any.Kind {
	case "Pod":
		pod := &corev1.Pod{}
		read(pod)
		return discovery.FromPod(pod)
	case "Deployment":
		o := &appsv1.Deployment{}
		read(o)
		template = o.Spec.Template
	case "StatefulSet":
		o := &appsv1.StatefulSet{}
		read(o)
		template = o.Spec.Template
	case "DaemonSet":
		o := &appsv1.DaemonSet{}
		read(o)
		template = o.Spec.Template
	case "Job":
		o := &batchv1.Job{}
		read(o)
		template = o.Spec.Template
	case "CronJob":
		o := &batchv1.CronJob{}
		read(o)
		template = o.Spec.JobTemplate.Spec.Template
	default:
		t.Fatalf("unexpected kind %q", any.Kind)
	}
	return discovery.FromTemplate(any.Kind, any.Namespace, any.Name, &template)
}

// TestCorpus: what is one is found by the evidence that is named, and nothing else is.
func TestCorpus(t *testing.T) {
	content, err := os.ReadFile("testdata/corpus.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found, clean := 0, 0
	for manifest := range strings.SplitSeq(string(content), "\n---\n") {
		said := want.FindStringSubmatch(manifest[strings.LastIndex(manifest, "# want"):])
		w := workload(t, manifest)
		findings := discovery.Find(discovery.Input{Workloads: []discovery.Workload{w}})
		if said[1] == "nothing" {
			clean++
			if len(findings) > 0 {
				t.Errorf("%s: a false alarm: %+v", w.Name, findings)
			}
			continue
		}
		found++
		fields := strings.Fields(said[1])
		if len(findings) != 1 || string(findings[0].Confidence) != fields[0] {
			t.Errorf("%s: want %s: %+v", w.Name, said[1], findings)
			continue
		}
		var kinds []string
		for _, e := range findings[0].Evidence {
			kinds = append(kinds, e.Kind)
		}
		slices.Sort(kinds)
		expected := fields[1:]
		slices.Sort(expected)
		if !slices.Equal(kinds, expected) {
			t.Errorf("%s: evidence %q, want %q: %+v", w.Name, kinds, expected, findings[0].Evidence)
		}
	}
	if found < 10 || clean < 10 {
		t.Errorf("%d servers and %d others are no corpus", found, clean)
	}
}

func server(name string, labels map[string]string) discovery.Workload {
	return discovery.Workload{Kind: "Deployment", Namespace: "tools", Name: name, Labels: labels, Containers: []discovery.Container{{
		Name: "main", Image: "ghcr.io/example/files-mcp-server:1", Words: []string{"/server", "--root", "/data"}, Command: 1,
		Ports: []discovery.Port{{Name: "metrics", Number: 9090}, {Name: "mcp", Number: 8000}},
	}}}
}

// TestManaged: what carries the label of an MCPServer that is there is judged by that one's posture; the label alone hides nothing.
func TestManaged(t *testing.T) {
	in := discovery.Input{Workloads: []discovery.Workload{server("files", map[string]string{"bartizan.dev/server": "files"})}}
	if got := discovery.Find(in); len(got) != 1 {
		t.Errorf("a label of no MCPServer hides it: %+v", got)
	}
	in.Servers = map[string]bool{"other/files": true}
	if got := discovery.Find(in); len(got) != 1 {
		t.Errorf("the MCPServer of another namespace hides it: %+v", got)
	}
	in.Servers["tools/files"] = true
	if got := discovery.Find(in); len(got) != 1 {
		t.Errorf("the label hides what has no gate: %+v", got)
	}
	in.Workloads[0].Containers = append(in.Workloads[0].Containers, discovery.Container{Name: v1alpha1.GateContainer})
	if got := discovery.Find(in); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestServices: a Service that leads to pods speaks for them, one of another namespace or without a selector does not.
func TestServices(t *testing.T) {
	app := "kgateway.dev/mcp"
	w := discovery.Workload{Kind: "Deployment", Namespace: "tools", Name: "files", Labels: map[string]string{"app": "files"}, Containers: []discovery.Container{{Name: "main", Image: "registry.example/files:1"}}}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "tools", Name: "files-mcp"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "files"}, Ports: []corev1.ServicePort{{Port: 80, AppProtocol: &app}}},
	}
	for _, test := range []struct {
		change func()
		want   int
	}{
		{func() {}, 1},
		{func() { service.Namespace = "other" }, 0},
		{func() { service.Namespace, service.Spec.Selector = "tools", nil }, 0},
		{func() { service.Spec.Selector = map[string]string{"app": "files", "x": "y"} }, 0},
	} {
		test.change()
		got := discovery.Find(discovery.Input{Workloads: []discovery.Workload{w}, Services: []discovery.Service{discovery.FromService(service)}})
		if len(got) != test.want || test.want == 1 && got[0].Confidence != discovery.High {
			t.Errorf("%+v: %+v", service, got)
		}
	}
}

// TestProjects: objects of other projects are found whatever their pods look like, and are told once.
func TestProjects(t *testing.T) {
	for _, manifest := range []string{
		`{apiVersion: toolhive.stacklok.dev/v1beta1, kind: MCPServer, metadata: {name: osv, namespace: tools}, spec: {image: ghcr.io/stackloklabs/osv-mcp/server, transport: streamable-http, mcpPort: 8080}}`,
		`{apiVersion: kagent.dev/v1alpha1, kind: MCPServer, metadata: {name: osv, namespace: tools}, spec: {transportType: stdio, deployment: {image: "node:20", cmd: npx, port: 3000}}}`,
		`{apiVersion: mcp.x-k8s.io/v1alpha1, kind: MCPServer, metadata: {name: osv, namespace: tools}, spec: {source: {type: ContainerImage, containerImage: {ref: "quay.io/example/osv:1"}}, config: {port: 8000}}}`,
		`{apiVersion: toolhive.stacklok.dev/v1beta1, kind: VirtualMCPServer, metadata: {name: osv, namespace: tools}, spec: {}}`,
		`{apiVersion: kagent.dev/v1alpha1, kind: MCPServer, metadata: {name: osv, namespace: tools}, spec: {deployment: nonsense}}`,
	} {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(manifest), object); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(discovery.Projects, func(p discovery.Project) bool {
			return p.Group == object.GroupVersionKind().Group && p.Kind == object.GetKind() && slices.Contains(p.Versions, object.GroupVersionKind().Version)
		})
		if i < 0 {
			t.Fatalf("no project has %s", manifest)
		}
		got := discovery.Find(discovery.Input{
			Resources: []discovery.Resource{discovery.Projects[i].Read(object)},
			Workloads: []discovery.Workload{server("osv", nil)},
		})
		if len(got) != 1 || got[0].Confidence != discovery.High || !strings.Contains(got[0].Advice, "docs/moving.md") {
			t.Errorf("%s: %+v", manifest, got)
		}
	}
}

// TestDraft: what is drafted has the digest that runs, and no secret.
func TestDraft(t *testing.T) {
	at := "sha256:" + strings.Repeat("a", 64)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "tools", Name: "files-6d4cf56db6-x", Labels: map[string]string{"pod-template-hash": "6d4cf56db6"}, OwnerReferences: []metav1.OwnerReference{{
			Kind: "ReplicaSet", Name: "files-6d4cf56db6", Controller: new(true),
		}}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: "proxy", Image: "envoyproxy/envoy:v1.35"},
			{
				Name: "server", Image: "ghcr.io/example/files-mcp-server:1", Command: []string{"/server"}, Args: []string{"--root", "/data"},
				Env: []corev1.EnvVar{{Name: "LOG_LEVEL", Value: "never shown"}}, Ports: []corev1.ContainerPort{{ContainerPort: 8000}},
			},
		}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "server", ImageID: "ghcr.io/example/files-mcp-server@" + at}}},
	}
	draft := func() (*v1alpha1.MCPServer, string) {
		t.Helper()
		got := discovery.Find(discovery.Input{Workloads: []discovery.Workload{discovery.FromPod(pod)}})
		if len(got) != 1 || got[0].String() != "Deployment tools/files" {
			t.Fatalf("%+v", got)
		}
		server, todo := got[0].Draft()
		return server, strings.Join(todo, "\n")
	}
	server, todo := draft()
	if server.Spec.Image != "ghcr.io/example/files-mcp-server:1@"+at || server.Spec.Transport.Port != 8000 || !slices.Equal(server.Spec.Args, []string{"--root", "/data"}) {
		t.Errorf("%+v", server.Spec)
	}
	if !strings.Contains(todo, "LOG_LEVEL") || strings.Contains(todo, "never shown") {
		t.Errorf("%s", todo)
	}
	pod.Spec.Containers[1].Args = []string{"--token", "s3cr3t-and-more"}
	pod.Status = corev1.PodStatus{}
	server, todo = draft()
	if said := fmt.Sprint(server.Spec, todo); strings.Contains(said, "s3cr3t") || len(server.Spec.Args) > 0 || !strings.Contains(todo, "looks like a secret") || !strings.Contains(todo, "crane digest") {
		t.Errorf("%s", said)
	}
}

// TestAnswered: who answers the handshake is one, whatever it is called.
func TestAnswered(t *testing.T) {
	w := discovery.Workload{Kind: "Pod", Namespace: "tools", Name: "x", Answered: []string{"8080/mcp"}}
	if got := discovery.Find(discovery.Input{Workloads: []discovery.Workload{w}}); len(got) != 1 || got[0].Confidence != discovery.High {
		t.Errorf("%+v", got)
	}
}

// FuzzFind: nothing that a stranger writes breaks a line, steers a terminal or fills memory.
func FuzzFind(f *testing.F) {
	f.Add("mcp-server", "ghcr.io/x/mcp-server:1", "npx -y @modelcontextprotocol/server-x", "app")
	f.Add("\x1b[2Jmcp", "mcp/\u202e", "uvx mcp-server-\n", "mcp.example/\x00")
	f.Fuzz(func(t *testing.T, name, image, line, label string) {
		w := discovery.Workload{Kind: "Pod", Namespace: name, Name: name, Labels: map[string]string{label: name}, Containers: []discovery.Container{{
			Name: name, Image: image, Words: []string{line, name}, Command: 1, Variables: []string{name}, Ports: []discovery.Port{{Name: name, Protocol: label}}, Paths: []string{line},
		}}}
		for _, finding := range discovery.Find(discovery.Input{Workloads: []discovery.Workload{w}}) {
			said := finding.String() + finding.Advice
			for _, e := range finding.Evidence {
				said += e.Text
			}
			if strings.ContainsAny(said, "\x1b\n\r\u202e\x00") || len(said) > 8000 {
				t.Errorf("%q", said)
			}
			finding.Draft()
		}
	})
}
