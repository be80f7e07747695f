package discovery

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// collector keeps the best evidence of each kind.
type collector struct{ best []Evidence }

func (c *collector) add(kind string, weight int, format string, args ...any) {
	if weight == 0 {
		return
	}
	e := Evidence{Kind: kind, Text: fmt.Sprintf(format, args...), weight: weight}
	for i := range c.best {
		if c.best[i].Kind == kind {
			if weight > c.best[i].weight {
				c.best[i] = e
			}
			return
		}
	}
	c.best = append(c.best, e)
}

// evidence is all that speaks for a workload, the strongest first.
func (w *Workload) evidence(services []*Service) []Evidence {
	c := &collector{}
	for _, at := range w.Answered {
		c.add("handshake", certain, "it answers MCP's handshake at %s", clean(at))
	}
	c.add("name", named(w.Name, 30, 20), "its name is %s", clean(w.Name))
	c.labels(w.Labels)
	for i := range w.Containers {
		c.container(&w.Containers[i])
	}
	for _, s := range services {
		c.add("name", named(s.Name, 30, 20), "the Service %s leads to it", clean(s.Name))
		c.labels(s.Labels)
		for _, p := range s.Ports {
			c.port(p)
		}
	}
	slices.SortStableFunc(c.best, func(a, b Evidence) int { return b.weight - a.weight })
	return c.best
}

func (c *collector) container(of *Container) {
	c.add("name", named(of.Name, 30, 20), "its container is %s", clean(of.Name))
	c.add("image", image(of.Image), "its image is %s", clean(of.Image))
	for _, v := range of.Variables {
		c.add("variable", variable(v), "it has the variable %s", clean(v))
	}
	for _, p := range of.Ports {
		c.port(p)
	}
	for _, p := range of.Paths {
		if p == "/mcp" || strings.HasPrefix(p, "/mcp/") {
			c.add("path", 20, "its probe asks for %s", clean(p))
		}
	}
	program, weight := command(of.Words)
	c.add("command", weight, "it runs %s", clean(program))
	if speaks(of.Words) {
		c.add("transport", 50, "its arguments name the Streamable HTTP transport")
	}
}

func (c *collector) port(p Port) {
	name := tokens(p.Name)
	// Istio's Mesh Configuration Protocol is gRPC, and MCP is not.
	if slices.Contains(name, "mcp") && !slices.Contains(name, "grpc") {
		c.add("port", 30, "its port is called %s", clean(p.Name))
	}
	if slices.Contains(tokens(p.Protocol), "mcp") {
		c.add("port", 50, "the protocol of its port is %s", clean(p.Protocol))
	}
}

// tellingLabels are those whose value says what something is.
var tellingLabels = []string{
	"app", "name", "component", "role", "type", "k8s-app", "app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component",
	"app.kubernetes.io/part-of", "helm.sh/chart",
}

func (c *collector) labels(labels map[string]string) {
	for _, key := range tellingLabels {
		c.add("label", named(labels[key], 40, 20), "it has the label %s=%s", key, clean(labels[key]))
	}
	if labels["toolhive"] == "true" {
		c.add("label", high, "ToolHive runs it (label toolhive=true)")
	}
	keys := make([]string, 0, len(labels))
	for key := range labels {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		domain, _, ok := strings.Cut(key, "/")
		if first := strings.Split(domain, "."); ok && (slices.Contains(first, "mcp") || slices.Contains(first, "modelcontextprotocol")) {
			c.add("label", 50, "it has the label %s", clean(key))
		}
	}
}

var separators = regexp.MustCompile(`[^a-z0-9]+`)

func tokens(s string) []string {
	return separators.Split(strings.ToLower(s), -1)
}

// others are words that say that something has to do with MCP servers and is none.
var others = []string{
	"inspector", "client", "clients", "operator", "controller", "registry", "sdk", "host", "config", "conf", "json", "yaml", "yml", "toml",
	"url", "urls", "uri", "endpoint", "endpoints", "servers", "discovery", "inventory", "catalog", "docs", "ui", "dashboard", "exporter",
	"log", "txt", "md", "sql", "db", "csv", "gz", "tar", "zip", "pem",
}

// named weighs a name: that of an MCP server, or one with MCP in it.
func named(name string, server, any int) int {
	words := tokens(name)
	if slices.ContainsFunc(words, func(w string) bool { return slices.Contains(others, w) }) {
		return 0
	}
	switch has := func(w string) bool { return slices.Contains(words, w) }; {
	case has("mcpserver") || has("modelcontextprotocol") || has("mcp") && has("server"):
		return server
	case has("mcp") || has("fastmcp") || has("supergateway"):
		return any
	}
	return 0
}

func image(image string) int {
	name, _, _ := strings.Cut(image, "@")
	if slash, colon := strings.LastIndex(name, "/"), strings.LastIndex(name, ":"); colon > slash {
		name = name[:colon]
	}
	parts := strings.Split(strings.ToLower(name), "/")
	base := parts[len(parts)-1]
	if slices.ContainsFunc(tokens(base), func(w string) bool { return slices.Contains(others, w) }) {
		return 0
	}
	switch {
	case len(parts) == 2 && parts[0] == "mcp", len(parts) == 3 && parts[0] == "docker.io" && parts[1] == "mcp":
		return 70 // Docker's own collection of MCP servers
	case slices.Contains(parts, "modelcontextprotocol"):
		return 60
	case base == "mcp":
		return 50
	case base == "server" && len(parts) > 1:
		return named(parts[len(parts)-2]+"-server", 60, 0)
	}
	return named(base, 60, 45)
}

func variable(name string) int {
	words := tokens(name)
	// Whoever is told the address of an MCP server is its client.
	if slices.ContainsFunc(words, func(w string) bool { return slices.Contains(others, w) }) {
		return 0
	}
	switch {
	case words[0] == "fastmcp", name == "MCP_TRANSPORT", name == "MCP_SERVER_NAME", name == "MCP_SERVER_PORT", name == "MCP_SERVER_HOST", name == "MCP_SERVER_TRANSPORT":
		return 40
	case words[0] == "mcp" && len(words) > 1:
		return 20
	}
	return 0
}

// mostWords bounds what is looked at of a command line.
const mostWords = 256

var (
	runners = []string{"npx", "uvx", "bunx", "pnpx", "pipx", "uv", "npm", "pnpm", "deno", "bun"}
	// before are flags and words after which comes what is run.
	before = []string{"-y", "--yes", "-m", "-c", "-lc", "-ec", "--from", "--package", "-p", "--stdio", "run", "exec", "x", "dlx"}
	// version is what follows the name of a package.
	version = regexp.MustCompile(`(?:\[[^\]]*\])?(?:[=~<>]=.*|@[^/]*)?$`)
)

// fields are the words of a command line, those of a script for a shell, too.
func fields(words []string) (all []string) {
	for _, w := range words {
		for f := range strings.FieldsSeq(w) {
			if all = append(all, strings.Trim(f, `"';&|()`)); len(all) == mostWords {
				return all
			}
		}
	}
	return all
}

// command weighs what is run, which is not what is a flag, the value of one, or an address. It returns the word that speaks for it.
func command(words []string) (program string, weight int) {
	runner := false
	previous := ""
	for _, w := range fields(words) {
		value := strings.HasPrefix(previous, "-") && !strings.Contains(previous, "=") && !slices.Contains(before, previous)
		previous = w
		if strings.HasPrefix(w, "-") && w != "-" {
			continue
		}
		if value && !strings.HasPrefix(w, "@modelcontextprotocol/") || strings.Contains(w, "://") {
			continue
		}
		base := path.Base(w)
		runner = runner || slices.Contains(runners, base)
		if strings.HasPrefix(w, "@") {
			base = w // a package with its scope
		}
		found := 0
		switch name := version.ReplaceAllString(base, ""); {
		case strings.HasPrefix(name, "@modelcontextprotocol/server-"):
			found = 80
		default:
			found = named(name, 60, 45)
		}
		if found > 0 && runner {
			found = min(found+15, 80)
		}
		if found > weight {
			program, weight = w, found
		}
	}
	return program, weight
}

// speaks says whether arguments choose the Streamable HTTP transport.
func speaks(words []string) bool {
	return slices.ContainsFunc(fields(words), func(w string) bool {
		w = strings.ToLower(w)
		if strings.Contains(w, "://") {
			return false
		}
		_, value, ok := strings.Cut(w, "=")
		if !ok {
			value = w
		}
		value = strings.TrimLeft(value, "-")
		return value == "streamable-http" || value == "streamable_http" || value == "streamablehttp" || value == "streamable"
	})
}

func clean(text string) string { return inventory.Clean(text, 120) }
