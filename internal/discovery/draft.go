package discovery

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/literal"
)

// speaker is the container that the evidence is strongest for.
func (w *Workload) speaker() *Container {
	best, most := &Container{}, -1
	for i := range w.Containers {
		c := &collector{}
		c.container(&w.Containers[i])
		sum := 0
		for _, e := range c.best {
			sum += e.weight
		}
		if sum > most {
			best, most = &w.Containers[i], sum
		}
	}
	return best
}

// stdio says whether a container speaks over standard input and output: then it has no port of its own.
func (c *Container) stdio() bool {
	words := fields(c.Words)
	return len(c.Ports) == 0 && !speaks(c.Words) && (slices.Contains(words, "stdio") || slices.Contains(words, "--transport=stdio") ||
		slices.ContainsFunc(words, func(w string) bool { return slices.Contains(runners, path.Base(w)) }))
}

// port is where the container most likely serves MCP.
func (c *Container) port() int32 {
	for _, p := range c.Ports {
		if slices.Contains(tokens(p.Name), "mcp") {
			return p.Number
		}
	}
	if len(c.Ports) > 0 {
		return c.Ports[0].Number
	}
	return 0
}

func (w *Workload) advice() string {
	c := w.speaker()
	return fmt.Sprintf("write an MCPServer with the image %s by its digest and the transport %s (kubectl mcp discover --output yaml drafts it), move its callers, and delete the %s",
		clean(c.Image), transport(c.stdio(), c.port()), w.Kind)
}

// Draft is an MCPServer for what was found, and what is left for a person to do. Values of variables are not in it, and neither
// are arguments that look like a secret.
func (f *Finding) Draft() (*v1alpha1.MCPServer, []string) {
	server := &v1alpha1.MCPServer{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "MCPServer"},
		ObjectMeta: metav1.ObjectMeta{Namespace: f.Namespace, Name: f.Name},
	}
	var todo []string
	image, port, stdio, known := "", int32(0), false, ""
	if f.resource != nil {
		image, port, stdio = f.resource.Image, f.resource.Port, f.resource.Stdio
		todo = append(todo, "take command, arguments, variables and secrets over from the "+f.resource.Kind+" of "+f.resource.Title+": "+moving)
	} else {
		c := f.workload.speaker()
		image, port, stdio, known = c.Image, c.port(), c.stdio(), c.Digest
		server.Spec.Command, server.Spec.Args = c.Words[:c.Command:c.Command], c.Words[c.Command:]
		for _, words := range []*[]string{&server.Spec.Command, &server.Spec.Args} {
			if secret(*words) {
				*words = nil
				todo = append(todo, "an argument looks like a secret, so the line of it is left out: bring the secret by spec.secrets, and replace it, since it was readable")
			}
		}
		if len(c.Variables) > 0 {
			todo = append(todo, "variables are not taken over, since their values may be secret: spec.env and spec.secrets for "+clean(strings.Join(c.Variables, ", ")))
		}
	}
	server.Spec.Image = image
	if !strings.Contains(image, "@") {
		if known != "" {
			server.Spec.Image = image + "@" + known
		} else {
			todo = append(todo, "the image needs its digest: crane digest "+clean(image))
		}
	}
	if stdio {
		server.Spec.Transport = v1alpha1.Transport{Type: v1alpha1.TransportStdio}
		if len(server.Spec.Command) == 0 {
			todo = append(todo, "spec.command is required with the transport Stdio")
		}
	} else {
		server.Spec.Transport = v1alpha1.Transport{Type: v1alpha1.TransportStreamableHTTP, Port: cmp.Or(port, 8080)}
		if port == 0 {
			todo = append(todo, "8080 is a guess: nothing says at which port it listens")
		}
		todo = append(todo, "have it listen on 127.0.0.1")
	}
	return server, todo
}

func secret(words []string) bool {
	previous := ""
	for _, w := range words {
		if literal.Argument(w) != "" || strings.HasPrefix(previous, "-") && literal.Find(strings.TrimLeft(previous, "-"), w) != "" {
			return true
		}
		previous = w
	}
	return false
}
