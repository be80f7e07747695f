package inventory

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// corpus are tools of servers that people use: their names, parameters and annotations, and in short what they say of themselves.
var corpus = []struct {
	server, name, says, parameters string
	readOnly                       bool
	want                           string // first letters of the risks: file, network, sensitive, shell (S), write
}{
	{"filesystem", "read_text_file", "Read the complete contents of a file from the file system as text", "path head:integer tail:integer", true, "fs"},
	{"filesystem", "read_multiple_files", "Read the contents of multiple files simultaneously", "paths", true, "fs"},
	{"filesystem", "write_file", "Create a new file or completely overwrite an existing file with new content", "path content", false, "fsw"},
	{"filesystem", "edit_file", "Make line-based edits to a text file", "path edits dryRun:boolean", false, "fsw"},
	{"filesystem", "create_directory", "Create a new directory or ensure a directory exists", "path", false, "fsw"},
	{"filesystem", "list_directory", "Get a detailed listing of all files and directories in a specified path", "path", true, "fs"},
	{"filesystem", "move_file", "Move or rename files and directories", "source destination", false, "fw"},
	{"filesystem", "search_files", "Recursively search for files and directories matching a pattern", "path pattern", true, "fs"},
	{"filesystem", "list_allowed_directories", "Returns the list of directories that this server is allowed to access", "", true, "f"},
	{"memory", "create_entities", "Create multiple new entities in the knowledge graph", "entities", false, "w"},
	{"memory", "delete_observations", "Delete specific observations from entities in the knowledge graph", "deletions", false, "w"},
	{"memory", "read_graph", "Read the entire knowledge graph", "", false, ""},
	{"memory", "search_nodes", "Search for nodes in the knowledge graph based on a query", "query", false, ""},
	{"everything", "echo", "Echoes back the input string", "message", false, "w"},
	{"everything", "get-sum", "Returns the sum of two numbers", "a:number b:number", false, ""},
	{"everything", "get-env", "Returns all environment variables, helpful for debugging", "", false, "s"},
	{"fetch", "fetch", "Fetches a URL from the internet and extracts its contents as markdown", "url max_length:integer raw:boolean", false, "n"},
	{"kubernetes", "pods_list", "List all the Kubernetes pods in the current cluster from all namespaces", "labelSelector", true, ""},
	{"kubernetes", "pods_log", "Get the logs of a Kubernetes Pod", "name namespace container", true, ""},
	{"kubernetes", "pods_delete", "Delete a Kubernetes Pod", "name namespace", false, "w"},
	{"kubernetes", "pods_exec", "Execute a command in a Kubernetes Pod with the provided name and command", "name namespace command container", false, "sSw"},
	{"kubernetes", "pods_run", "Run a Kubernetes Pod with the provided container image", "image name port:number", false, "w"},
	{"kubernetes", "resources_create_or_update", "Create or update a Kubernetes resource", "resource", false, "w"},
	{"kubernetes", "namespaces_list", "List all the Kubernetes namespaces in the current cluster", "", true, ""},
	{"github", "create_issue", "Create a new issue in a GitHub repository", "owner repo title body labels", false, "w"},
	{"github", "list_issues", "List issues in a GitHub repository", "owner repo state", true, ""},
	{"github", "get_file_contents", "Get the contents of a file or directory from a GitHub repository", "owner repo path ref", true, "f"},
	{"github", "push_files", "Push multiple files to a GitHub repository in a single commit", "owner repo branch files message", false, "fw"},
	{"github", "search_code", "Search for code across GitHub repositories", "query", true, ""},
	{"git", "git_status", "Shows the working tree status", "repo_path", true, ""},
	{"git", "git_commit", "Records changes to the repository", "repo_path message", false, "w"},
	{"slack", "slack_post_message", "Post a new message to a Slack channel", "channel_id text", false, "w"},
	{"postgres", "query", "Run a read-only SQL query", "sql", false, ""},
	{"playwright", "browser_navigate", "Navigate to a URL", "url", false, "nw"},
	{"playwright", "browser_click", "Perform click on a web page", "element ref", false, "w"},
	{"desktop", "execute_command", "Execute a terminal command with timeout", "command timeout_ms:number", false, "sSw"},
	{"python", "run_python_code", "Run Python code in a sandbox", "python_code", false, "sSw"},
	{"ssh", "remote-ssh", "Execute ssh commands on the remote server", "command", false, "sSw"},
	{"grafana", "query_prometheus", "Query Prometheus using a PromQL expression", "datasourceUid expr startTime", true, ""},
	{"grafana", "update_dashboard", "Create or update a dashboard", "dashboard folderUid message overwrite:boolean", false, "w"},
	{"time", "get_current_time", "Get current time in a specific timezone", "timezone", true, ""},
}

func definition(t *testing.T, name, says, parameters string, annotations map[string]any) Item {
	t.Helper()
	properties := map[string]any{}
	for _, p := range strings.Fields(parameters) {
		parameter, kind, typed := strings.Cut(p, ":")
		if !typed {
			kind = "string"
		}
		properties[parameter] = map[string]any{"type": kind}
	}
	raw, err := json.Marshal(map[string]any{"name": name, "description": says, "annotations": annotations,
		"inputSchema": map[string]any{"type": "object", "properties": properties}})
	if err != nil {
		t.Fatal(err)
	}
	item, err := NewItem(Tool, raw)
	if err != nil {
		t.Fatal(err)
	}
	return item
}

func TestRisksOfRealTools(t *testing.T) {
	letters := map[Risk]string{File: "f", Network: "n", Sensitive: "s", Shell: "S", Writes: "w"}
	for _, tc := range corpus {
		annotations := map[string]any{}
		if tc.readOnly {
			annotations["readOnlyHint"] = true
		}
		got := ""
		for _, r := range Risks(definition(t, tc.name, tc.says, tc.parameters, annotations)) {
			got += letters[r]
		}
		if got != tc.want {
			t.Errorf("%s %s: %q, want %q", tc.server, tc.name, got, tc.want)
		}
	}
}

// TestRisksAreNotTalkedAway: hints and names that a server chooses to look harmless.
func TestRisksAreNotTalkedAway(t *testing.T) {
	for name, tc := range map[string]struct {
		item Item
		want Risk
	}{
		"delete, read-only":                     {definition(t, "delete_all", "deletes", "", map[string]any{"readOnlyHint": true}), Writes},
		"a shell in camel case":                 {definition(t, "podsExec", "x", "", map[string]any{"readOnlyHint": true}), Shell},
		"a harmless name, a shell in fact":      {definition(t, "helper", "Runs the given shell command", "command", map[string]any{"readOnlyHint": true}), Shell},
		"a harmless name, code in fact":         {definition(t, "helper", "Executes arbitrary code for you", "script", nil), Shell},
		"a harmless name, the passwords":        {definition(t, "helper", "reads /etc/passwd", "", map[string]any{"readOnlyHint": true}), Sensitive},
		"destructive in spite of its name":      {definition(t, "get_rid", "x", "", map[string]any{"destructiveHint": true}), Writes},
		"says that it does not only read":       {definition(t, "get_x", "x", "", map[string]any{"readOnlyHint": false}), Writes},
		"annotations that are not what is said": {Item{Kind: Tool, Name: "run_shell", Definition: []byte(`{"name":"run_shell","annotations":7}`)}, Shell},
	} {
		if !slices.Contains(Risks(tc.item), tc.want) {
			t.Errorf("%s: %v, want %s", name, Risks(tc.item), tc.want)
		}
	}
	if got := Risks(Item{Kind: Prompt, Name: "shell"}); len(got) > 0 {
		t.Errorf("a prompt: %v", got)
	}
}

func TestDiff(t *testing.T) {
	before := `{"name":"a","description":"reads","inputSchema":{"properties":{"x":{"type":"string"},"old":{}},"required":["x"]},"n":9007199254740993}`
	after := `{"name":"a","description":"reads\u001b[31m, and \u202esends","inputSchema":{"properties":{"x":{"type":"number"},"new":{"type":"string"}},"required":["x","new"]},"n":9007199254740992}`
	want := []string{
		`description: "reads" became "reads\u001b[31m, and �sends"`,
		`inputSchema.properties.new was added: {"type":"string"}`,
		`inputSchema.properties.old was removed: {}`,
		`inputSchema.properties.x.type: "string" became "number"`,
		`inputSchema.required: ["x"] became ["x","new"]`,
		`n: 9007199254740993 became 9007199254740992`,
	}
	if got := Diff([]byte(before), []byte(after)); !slices.Equal(got, want) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
	if got := Diff([]byte(before), []byte(before)); len(got) > 0 {
		t.Errorf("the same: %q", got)
	}
	many := map[string]int{}
	for i := range 200 {
		many[strings.Repeat("x", i+1)] = i
	}
	large, _ := json.Marshal(many)
	if got := Diff([]byte(`{}`), large); len(got) != mostDifferences+1 {
		t.Errorf("%d lines", len(got))
	}
	if got := Diff([]byte(`{`), []byte(`{}`)); len(got) != 1 {
		t.Errorf("no JSON: %q", got)
	}
}

// TestDocument: what was approved is remembered after it changed, so that people see how; what a pin no longer names is forgotten.
func TestDocument(t *testing.T) {
	old := definition(t, "get", "gets", "a", nil)
	other := definition(t, "other", "does", "", nil)
	pins := NewPins([]Pin{{Tool, "get", old.SHA256}})
	first := NewDocument(Sort([]Item{old, other}), pins, Document{})
	changed := definition(t, "get", "gets, and tells", "a", nil)
	second := NewDocument(Sort([]Item{changed, other}), pins, first)
	text, err := json.Marshal(second)
	if err != nil {
		t.Fatal(err)
	}
	read, err := ParseDocument(string(text))
	if err != nil || read.Digest == first.Digest {
		t.Fatal(read, err)
	}
	findings := read.Judge(pins)
	if len(findings) != 2 || findings[0].Reason != Changed || findings[1].Reason != Unknown ||
		!slices.Equal(findings[0].Differences, []string{`description: "gets" became "gets, and tells"`}) {
		t.Errorf("%+v", findings)
	}
	third := NewDocument(Sort([]Item{changed}), NewPins([]Pin{{Tool, "get", changed.SHA256}}), read)
	if len(third.Approved) != 1 || third.Approved[0].SHA256 != changed.SHA256 || third.Judge(NewPins([]Pin{{Tool, "get", changed.SHA256}}))[0].Reason != Approved {
		t.Errorf("%+v", third)
	}
	if _, err := ParseDocument(strings.Replace(string(text), "gets, and tells", "gets, and sells", 1)); err == nil {
		t.Error("a definition that is not what its hash says is taken")
	}
	if _, err := ParseDocument(`[]`); err == nil {
		t.Error("no document")
	}
}

// TestDocumentIsBounded: however much a server offers, it fits into a ConfigMap.
func TestDocumentIsBounded(t *testing.T) {
	var items []Item
	for i := range 4096 {
		items = append(items, Item{Kind: Tool, Name: strings.Repeat("n", 100) + string(rune('a'+i%26)), SHA256: strings.Repeat("0", 64),
			Definition: []byte(`{"x":"` + strings.Repeat("x", 2000) + `"}`)})
	}
	d := NewDocument(items, Pins{}, Document{})
	text, err := json.Marshal(d)
	if err != nil || len(text) > 1<<20-64<<10 || d.LeftOut == 0 || len(d.Present) != maxListed {
		t.Errorf("%d bytes, %d left out, %v", len(text), d.LeftOut, err)
	}
}

func FuzzDiff(f *testing.F) {
	f.Add([]byte(`{"a":[1,2]}`), []byte(`{"a":[1,3],"b":null}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, line := range Diff(a, b) {
			if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x202e }) {
				t.Fatalf("%q", line)
			}
		}
	})
}
