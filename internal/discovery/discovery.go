// Package discovery judges by evidence which workloads of a cluster are MCP servers that no gate guards: by images, commands,
// names of variables and ports, paths, labels and names, and by the custom resources of other projects. It is pure, and it looks
// at no value of a variable.
package discovery

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// Confidence is how sure a finding is.
type Confidence string

// The confidences, from the surest.
const (
	// High: there is hardly another explanation.
	High Confidence = "High"
	// Medium: it looks like one.
	Medium Confidence = "Medium"
	// Low: something about it has the name.
	Low Confidence = "Low"
)

// AtLeast says whether one confidence is as high as another.
func (c Confidence) AtLeast(least Confidence) bool {
	rank := map[Confidence]int{Low: 1, Medium: 2, High: 3}
	return rank[c] >= rank[least]
}

// Input is what was seen of a cluster.
type Input struct {
	Workloads []Workload
	Services  []Service
	// Resources are custom resources of other projects that declare an MCP server.
	Resources []Resource
	// Servers are the MCPServers of Bartizan, as "<namespace>/<name>". What carries the label of one is judged by its posture.
	Servers map[string]bool
}

// Workload is something with containers.
type Workload struct {
	Kind, Namespace, Name string
	// Labels are those of its pods.
	Labels     map[string]string
	Containers []Container
	// Answered are the addresses at which one of its pods answered MCP's handshake, as "<port><path>".
	Answered []string
	// HostNetwork: its pods have the network of their node.
	HostNetwork bool
}

// Container is what is looked at of a container.
type Container struct {
	Name, Image string
	// Digest is that of the image that runs, as sha256:…; "" where it is not known.
	Digest string
	// Words are command and arguments.
	Words []string
	// Command is how many of the words are the command.
	Command int
	// Variables are the names of variables; their values are nobody's business here.
	Variables []string
	Ports     []Port
	// Paths are those of HTTP probes.
	Paths []string
}

// Port is a port of a container or of a Service.
type Port struct {
	Name, Protocol string
	Number         int32
}

// Service leads to workloads.
type Service struct {
	Namespace, Name string
	Labels          map[string]string
	Selector        map[string]string
	Ports           []Port
}

// Resource is a custom resource that declares an MCP server.
type Resource struct {
	Project
	Namespace, Name string
	Image           string
	Stdio           bool
	Port            int32
}

// Evidence is one reason to take something for an MCP server.
type Evidence struct {
	// Kind is where it was seen: resource, handshake, image, command, variable, port, path, label, name.
	Kind string `json:"kind"`
	// Text says what was seen. Names in it are of strangers, and made harmless.
	Text   string `json:"text"`
	weight int
}

// Finding is a workload or resource that is, or looks like, an MCP server without a gate.
type Finding struct {
	Namespace  string     `json:"namespace"`
	Kind       string     `json:"kind"`
	Name       string     `json:"name"`
	Confidence Confidence `json:"confidence"`
	Evidence   []Evidence `json:"evidence"`
	// Advice says how to bring it under a gate.
	Advice string `json:"advice"`

	workload *Workload
	resource *Resource
}

// String names what was found.
func (f *Finding) String() string {
	return fmt.Sprintf("%s %s/%s", f.Kind, inventory.Clean(f.Namespace, 63), inventory.Clean(f.Name, 100))
}

// Find returns what is or looks like an MCP server without a gate, the surest first.
func Find(in Input) []Finding {
	var all []Finding
	declared := map[string]bool{}
	for i := range in.Resources {
		r := &in.Resources[i]
		// Each of these projects names a server's workloads after its resource.
		declared[r.Namespace+"/"+r.Name] = true
		all = append(all, Finding{
			Namespace: r.Namespace, Kind: r.Kind + "." + r.Group, Name: r.Name, Confidence: High, resource: r,
			Evidence: []Evidence{{Kind: "resource", Text: r.Title + " runs it", weight: certain}},
			Advice:   r.advice(),
		})
	}
	seen := map[string]bool{}
	for i := range in.Workloads {
		w := &in.Workloads[i]
		key := w.Kind + " " + w.Namespace + "/" + w.Name
		if seen[key] || declared[w.Namespace+"/"+w.Name] || in.managed(w) {
			continue
		}
		seen[key] = true
		evidence := w.evidence(in.leading(w))
		confidence, ok := judge(evidence)
		if !ok {
			continue
		}
		all = append(all, Finding{
			Namespace: w.Namespace, Kind: w.Kind, Name: w.Name, Confidence: confidence, Evidence: evidence, Advice: w.advice(), workload: w,
		})
	}
	slices.SortFunc(all, func(a, b Finding) int {
		surer := map[Confidence]int{High: 0, Medium: 1, Low: 2}
		return cmp.Or(surer[a.Confidence]-surer[b.Confidence], strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name), strings.Compare(a.Kind, b.Kind))
	})
	return all
}

// managed says whether a workload is an MCPServer's. The label alone is anybody's to write.
func (in *Input) managed(w *Workload) bool {
	name := w.Labels[v1alpha1.LabelServer]
	return name != "" && in.Servers[w.Namespace+"/"+name] &&
		slices.ContainsFunc(w.Containers, func(c Container) bool { return c.Name == v1alpha1.GateContainer })
}

// leading are the Services that lead to a workload.
func (in *Input) leading(w *Workload) (all []*Service) {
	for i := range in.Services {
		s := &in.Services[i]
		if s.Namespace != w.Namespace || len(s.Selector) == 0 {
			continue
		}
		selects := true
		for key, value := range s.Selector {
			selects = selects && w.Labels[key] == value
		}
		if selects {
			all = append(all, s)
		}
	}
	return all
}

// What evidence is needed for a confidence. Each kind of evidence counts once, by the best of it.
const (
	certain = 100
	high    = 70
	medium  = 50
	low     = 30
)

func judge(evidence []Evidence) (Confidence, bool) {
	sum := 0
	for _, e := range evidence {
		sum += e.weight
	}
	switch {
	case sum >= high:
		return High, true
	case sum >= medium:
		return Medium, true
	case sum >= low:
		return Low, true
	}
	return "", false
}
