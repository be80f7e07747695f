package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/discovery"
)

// TestDiscover: the views name what was found, why, and what to do; what a stranger named harms no terminal; drafts are MCPServers.
func TestDiscover(t *testing.T) {
	found := discovery.Find(discovery.Input{Workloads: []discovery.Workload{
		{Kind: "Deployment", Namespace: "tools", Name: "files", Containers: []discovery.Container{{
			Name: "main", Image: "node:20", Words: []string{"npx", "-y", "@modelcontextprotocol/server-filesystem", "/data"}, Command: 1, Variables: []string{"TOKEN"},
		}}},
		{Kind: "Pod", Namespace: "tools", Name: "evil\x1b[2J", Containers: []discovery.Container{{Image: "mcp/evil\x1b[2J\u202e"}}},
	}})
	show := func(format string) string {
		t.Helper()
		var out bytes.Buffer
		if err := (&plugin{out: &out, err: &out}).showFound(found, format); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(out.String(), "\x1b\u202e") {
			t.Errorf("%s: a terminal would obey:\n%q", format, out.String())
		}
		return out.String()
	}
	table := show("table")
	for _, want := range []string{"CONFIDENCE", "files", "High", "@modelcontextprotocol/server-filesystem", "write an MCPServer", "Deployment tools/files"} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in\n%s", want, table)
		}
	}
	var parsed []discovery.Finding
	if err := json.Unmarshal([]byte(show("json")), &parsed); err != nil || len(parsed) != 2 || parsed[0].Evidence[0].Text == "" {
		t.Errorf("%v %+v", err, parsed)
	}
	drafts := 0
	yamls := show("yaml")
	if !strings.Contains(yamls, "nobody can see") {
		t.Errorf("no word on what was left out:\n%s", yamls)
	}
	for _, d := range documents([]byte(yamls)) {
		if !bytes.Contains(d.content, []byte("apiVersion")) {
			continue
		}
		server := &v1alpha1.MCPServer{}
		if err := yaml.UnmarshalStrict(d.content, server); err != nil {
			t.Errorf("%v in\n%s", err, d.content)
			continue
		}
		drafts++
		if server.Name == "files" && (server.Spec.Transport.Type != v1alpha1.TransportStdio || !strings.Contains(string(d.content), "TOKEN")) {
			t.Errorf("%s", d.content)
		}
	}
	if drafts != 1 {
		t.Errorf("%d drafts", drafts)
	}
	if err := (&plugin{}).showFound(nil, "sarif"); err == nil {
		t.Error("a format that is none is taken")
	}
}
