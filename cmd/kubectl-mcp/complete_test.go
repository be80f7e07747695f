package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-dev/bartizan/internal/inventory"
)

var update = flag.Bool("update", false, "write the golden files")

// offered is the inventory of a server, with pins for all of it.
func offered(t *testing.T, definitions ...string) (document string, pins []inventory.Pin) {
	t.Helper()
	var items []inventory.Item
	for _, definition := range definitions {
		item, err := inventory.NewItem(inventory.Tool, []byte(definition))
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, item)
		pins = append(pins, inventory.Pin{Kind: item.Kind, Name: item.Name, SHA256: item.SHA256})
	}
	content, err := json.Marshal(inventory.NewDocument(items, inventory.NewPins(pins), inventory.Document{}))
	if err != nil {
		t.Fatal(err)
	}
	return string(content), pins
}

// TestScanComplete goes through the whole catalogue on a set of manifests in which nothing is wrong, and on one in which everything is that
// manifests can show: what each control is said to be, and why. What is not pass, fail or exempted there only a cluster shows.
func TestScanComplete(t *testing.T) {
	for _, name := range []string{"good", "bad"} {
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			m := newManifests()
			if err := m.add(name+".yaml", content); err != nil {
				t.Fatal(err)
			}
			if name == "good" {
				document, pins := offered(t, `{"name":"pods_list","annotations":{"readOnlyHint":true},"inputSchema":{"type":"object"}}`)
				m.in("tools").configMaps["pods-inventory"].Data = map[string]string{inventory.DocumentKey: document}
				m.servers[0].object.Spec.Tools.Pins[0].SHA256 = pins[0].SHA256
			}
			var said bytes.Buffer
			p := &plugin{out: io.Discard, err: &said, now: func() time.Time { return time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC) }}
			all := p.evaluate(m, nil)
			var b strings.Builder
			for _, server := range all {
				fmt.Fprintf(&b, "# %s %s/%s\n", server.Kind, server.Namespace, server.Name)
				for _, c := range server.Controls {
					fmt.Fprintf(&b, "%s: %s: %s\n", c.ID, c.Result, c.Reason)
				}
			}
			b.WriteString(said.String())
			golden(t, filepath.Join("testdata", name+".txt"), b.String())

			var sarif bytes.Buffer
			p.out = &sarif
			if err := p.show(all, "sarif"); err != nil {
				t.Fatal(err)
			}
			var log struct {
				Runs []struct {
					Results []struct {
						RuleID  string `json:"ruleId"`
						Level   string `json:"level"`
						Message struct{ Text string }
					}
				}
			}
			if err := json.Unmarshal(sarif.Bytes(), &log); err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, r := range log.Runs[0].Results {
				found = append(found, r.RuleID+" "+r.Level)
			}
			slices.Sort(found)
			golden(t, filepath.Join("testdata", name+".sarif.txt"), strings.Join(slices.Compact(found), "\n")+"\n")
			if strings.Contains(b.String()+sarif.String(), "ghp_") {
				t.Error("it shows the secret that it found")
			}
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (write it with -update):\n%s", file, diff)
	}
}
