package tasks

import (
	"strconv"
	"testing"
)

func TestTable(t *testing.T) {
	var table Table
	if _, ok := table.Tool("a", "1"); ok {
		t.Error("a task that nobody made")
	}
	for i := range maxPrincipal + 1 {
		table.Add("a", strconv.Itoa(i), "slow")
		table.Add("a", strconv.Itoa(i), "other")
	}
	if tool, ok := table.Tool("a", "1"); !ok || tool != "slow" {
		t.Errorf("%q, %t", tool, ok)
	}
	if _, ok := table.Tool("a", "0"); ok || len(table.made["a"]) != maxPrincipal {
		t.Errorf("%d tasks of one principal", len(table.made["a"]))
	}
	if _, ok := table.Tool("b", "1"); ok {
		t.Error("another's task")
	}
	for i := range maxAll {
		table.Add(strconv.Itoa(i), "1", "slow")
	}
	if len(table.tool) > maxAll {
		t.Errorf("%d tasks", len(table.tool))
	}
}
