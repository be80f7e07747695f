package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestNothingThatServes: the plugin is for Windows, too, where what serves requests in a pod does not compile.
func TestNothingThatServes(t *testing.T) {
	list := exec.Command("go", "list", "-deps", ".")
	list.Env = append(list.Environ(), "GOOS=windows", "CGO_ENABLED=0")
	output, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	const gate = "github.com/bartizan-dev/bartizan/internal/authproxy/"
	judges := []string{"audit", "auditverify", "decision", "limit", "message", "strictjson"}
	seen := 0
	for name := range strings.Lines(string(output)) {
		part, ours := strings.CutPrefix(strings.TrimSpace(name), gate)
		if !ours {
			continue
		}
		if seen++; !slices.Contains(judges, part) {
			t.Errorf("the plugin links %s%s; move what it needs of that to where nothing is served", gate, part)
		}
	}
	if seen == 0 {
		t.Error("the plugin links nothing of the gate: this test sees nothing")
	}
}
