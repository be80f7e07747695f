package discovery

import (
	"cmp"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Project is another project's kind of object that declares an MCP server.
type Project struct {
	// Title is the project's name.
	Title string
	// Group, Kind and Resource are of its API; Versions the newest first.
	Group, Kind, Resource string
	Versions              []string
	// image, transport and port are where its objects have them.
	image, transport, port []string
}

// Projects are those that are known.
var Projects = []Project{
	{
		Title: "ToolHive", Group: "toolhive.stacklok.dev", Kind: "MCPServer", Resource: "mcpservers", Versions: []string{"v1beta1", "v1alpha1"},
		image: []string{"spec", "image"}, transport: []string{"spec", "transport"}, port: []string{"spec", "mcpPort"},
	},
	{
		Title: "ToolHive", Group: "toolhive.stacklok.dev", Kind: "MCPRemoteProxy", Resource: "mcpremoteproxies", Versions: []string{"v1beta1", "v1alpha1"},
	},
	{
		Title: "ToolHive", Group: "toolhive.stacklok.dev", Kind: "VirtualMCPServer", Resource: "virtualmcpservers", Versions: []string{"v1beta1", "v1alpha1"},
	},
	{
		Title: "kmcp", Group: "kagent.dev", Kind: "MCPServer", Resource: "mcpservers", Versions: []string{"v1alpha1"},
		image: []string{"spec", "deployment", "image"}, transport: []string{"spec", "transportType"}, port: []string{"spec", "deployment", "port"},
	},
	{
		Title: "the MCP lifecycle operator", Group: "mcp.x-k8s.io", Kind: "MCPServer", Resource: "mcpservers", Versions: []string{"v1alpha1"},
		image: []string{"spec", "source", "containerImage", "ref"}, port: []string{"spec", "config", "port"},
	},
}

// Read reads an object of a project. Fields that are not there, or are something else, stay empty.
func (p Project) Read(object *unstructured.Unstructured) Resource {
	r := Resource{Project: p, Namespace: object.GetNamespace(), Name: object.GetName()}
	if p.image != nil {
		r.Image, _, _ = unstructured.NestedString(object.Object, p.image...)
	}
	if p.transport != nil {
		transport, _, _ := unstructured.NestedString(object.Object, p.transport...)
		r.Stdio = transport == "stdio"
	}
	if p.port != nil {
		if port, _, _ := unstructured.NestedInt64(object.Object, p.port...); port > 0 && port < 1<<16 {
			r.Port = int32(port)
		}
	}
	return r
}

// moving is the page that says field by field how to move a server.
const moving = "docs/moving.md"

func (r *Resource) advice() string {
	if r.Image == "" {
		return fmt.Sprintf("it leads to servers that run elsewhere: write an MCPServer for each of those that runs in the cluster (%s), then delete the %s", moving, r.Kind)
	}
	return fmt.Sprintf("write an MCPServer with the image %s by its digest and the transport %s (%s says where each field goes), move its callers, and delete the %s of %s",
		clean(r.Image), transport(r.Stdio, r.Port), moving, r.Kind, r.Title)
}

func transport(stdio bool, port int32) string {
	if stdio {
		return "Stdio"
	}
	return fmt.Sprintf("StreamableHTTP at port %d", cmp.Or(port, 8080))
}
