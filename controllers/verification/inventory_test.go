package verification

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
	"github.com/bartizan-dev/bartizan/internal/inventory"
	"github.com/bartizan-dev/bartizan/internal/policy"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// TestInventoryFacts: what the controls about tools say, from what a server offers and what rules grant.
func TestInventoryFacts(t *testing.T) {
	tool := func(name, description string, readOnly bool) inventory.Item {
		raw, err := json.Marshal(map[string]any{"name": name, "description": description, "annotations": map[string]any{"readOnlyHint": readOnly}})
		if err != nil {
			t.Fatal(err)
		}
		item, err := inventory.NewItem(inventory.Tool, raw)
		if err != nil {
			t.Fatal(err)
		}
		return item
	}
	list, remove, exec := tool("pods_list", "lists", true), tool("pods_delete", "deletes", false), tool("pods_exec", "executes a command", false)
	prompt, err := inventory.NewItem(inventory.Prompt, []byte(`{"name":"summarize"}`))
	if err != nil {
		t.Fatal(err)
	}
	pins := func(items ...inventory.Item) (all []v1alpha1.Pin) {
		for _, i := range items {
			all = append(all, v1alpha1.Pin{Name: i.Name, SHA256: i.SHA256})
		}
		return all
	}
	enforced := func(tools *v1alpha1.Tools) *v1alpha1.Tools { tools.Pinning = v1alpha1.PinningEnforce; return tools }
	for name, tc := range map[string]struct {
		offered []inventory.Item
		tools   *v1alpha1.Tools
		rule    policy.Rule
		problem string
		leftOut int
		none    bool
		want    string // INV-2 PERM-3 PERM-4 PERM-5 PERM-6
		says    string
	}{
		"nothing is known":                {none: true, want: "error pass error error error"},
		"all well":                        {offered: []inventory.Item{list}, tools: enforced(&v1alpha1.Tools{Pins: pins(list)}), rule: policy.Rule{Tools: []string{"*"}}, want: "pass pass pass pass pass"},
		"prompts and no tools":            {offered: []inventory.Item{prompt}, tools: enforced(&v1alpha1.Tools{Pins: []v1alpha1.Pin{{Kind: v1alpha1.DefinitionPrompt, Name: prompt.Name, SHA256: prompt.SHA256}}}), want: "pass pass pass pass pass"},
		"nothing at all":                  {offered: []inventory.Item{}, want: "fail pass fail pass pass", says: "no tool, prompt or resource"},
		"not pinned":                      {offered: []inventory.Item{list}, want: "pass pass fail pass pass", says: "spec.tools.pinning is Off"},
		"one without a pin":               {offered: []inventory.Item{list, remove}, tools: enforced(&v1alpha1.Tools{Pins: pins(list)}), want: "pass pass fail pass pass", says: "Tool pods_delete (unknown)"},
		"a wildcard over one that writes": {offered: []inventory.Item{list, remove}, tools: enforced(&v1alpha1.Tools{Pins: pins(list, remove)}), rule: policy.Rule{Tools: []string{"pods_*"}}, want: "pass fail pass pass pass", says: "pods_delete"},
		"a wildcard over others":          {offered: []inventory.Item{list, remove}, tools: enforced(&v1alpha1.Tools{Pins: pins(list, remove)}), rule: policy.Rule{Tools: []string{"*_list"}}, want: "pass pass pass pass pass"},
		"commands":                        {offered: []inventory.Item{list, exec}, tools: enforced(&v1alpha1.Tools{Pins: pins(list, exec)}), rule: policy.Rule{Tools: []string{"pods_exec"}}, want: "pass pass pass fail fail", says: "rule p/0 allows pods_exec"},
		"commands on a condition":         {offered: []inventory.Item{exec}, tools: enforced(&v1alpha1.Tools{Pins: pins(exec)}), rule: policy.Rule{Tools: []string{"pods_exec"}, Expression: `arguments.command == "ls"`}, want: "pass pass pass fail pass"},
		"commands that are forbidden":     {offered: []inventory.Item{exec}, tools: enforced(&v1alpha1.Tools{Pins: pins(exec), Forbidden: []string{"*exec*"}}), rule: policy.Rule{Tools: []string{"*"}}, want: "pass pass pass pass pass"},
		"a gate that cannot list":         {offered: []inventory.Item{list}, problem: "listing-late", want: "error pass error error error", says: "cannot list"},
		"more than fits":                  {offered: []inventory.Item{list}, tools: enforced(&v1alpha1.Tools{Pins: pins(list)}), leftOut: 1, want: "error pass error error error", says: "more than the inventory holds"},
	} {
		server := &v1alpha1.MCPServer{Spec: v1alpha1.MCPServerSpec{Tools: tc.tools}}
		server.Name = "s"
		o := &observed{server: server, now: time.Now()}
		if !tc.none {
			d := inventory.NewDocument(inventory.Sort(tc.offered), nil, inventory.Document{})
			d.LeftOut = tc.leftOut
			o.inventory = &d
		}
		tc.rule.ID = "p/0"
		o.who.Policy.Rules = []policy.Rule{tc.rule}
		s := declared.Snapshot(server, o.now)
		s.Grants = posture.Say(o.grants(), "MCPAccessPolicies")
		o.inventoryFacts(s, &run{gates: map[string]gatestatus.Status{"p": {Tools: &gatestatus.Tools{Problem: tc.problem}}}})
		var got []string
		reasons := ""
		for _, id := range []string{"INV-2", "PERM-3", "PERM-4", "PERM-5", "PERM-6"} {
			for _, r := range posture.Evaluate(s).Results {
				if r.Control == id {
					got, reasons = append(got, string(r.Status)), reasons+fmt.Sprintf("%s: %s\n", id, r.Reason)
				}
			}
		}
		if strings.Join(got, " ") != tc.want || !strings.Contains(reasons, tc.says) {
			t.Errorf("%s: %v, want %s\n%s", name, got, tc.want, reasons)
		}
	}
}
