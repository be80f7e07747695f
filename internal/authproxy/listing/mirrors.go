package listing

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
)

// maxMirrors bounds the arguments of one tool that are compared with headers: each is looked for. A tool with more takes no arguments.
const maxMirrors = 64

// mirrors are the arguments that an input schema has callers repeat in headers: those that properties alone lead to (MCP
// 2026-07-28, "Schema Extension"). Clients know of no others, and leave out tools that declare any.
func mirrors(schema []byte) (all []message.Mirror) {
	var document any
	if !strings.Contains(string(schema), "x-mcp-header") || json.Unmarshal(schema, &document) != nil {
		return nil
	}
	if collect(document, nil, &all); len(all) > maxMirrors {
		// All arguments in the header without a name: nobody has that one.
		return []message.Mirror{{}}
	}
	return all
}

func collect(schema any, path []string, all *[]message.Mirror) {
	members, _ := schema.(map[string]any)
	if name, ok := members["x-mcp-header"].(string); ok && name != "" && len(path) > 0 {
		*all = append(*all, message.Mirror{Header: message.MirrorHeader(name), Path: slices.Clone(path)})
	}
	properties, _ := members["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		collect(properties[name], append(path, name), all)
	}
}
