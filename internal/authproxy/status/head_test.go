package status

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
)

// TestHeadsShowTruncation: what was scraped is enough to show that a log lost its end.
func TestHeadsShowTruncation(t *testing.T) {
	var text strings.Builder
	log := audit.NewLog(audit.Options{Sink: &text, Server: "a/b", Boot: "boot"})
	m := NewMetrics("v")
	m.Audit(log)
	value := func(name string) (at float64) {
		t.Helper()
		families, err := m.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			if family.GetName() != name {
				continue
			}
			one := family.GetMetric()[0]
			if one.GetLabel()[0].GetValue() != "boot" {
				t.Errorf("%s has the labels %v", name, one.GetLabel())
			}
			return one.GetGauge().GetValue()
		}
		return -1
	}
	if got := value("bartizan_gate_audit_head_seq"); got != -1 {
		t.Errorf("a last line before the first: %v", got)
	}
	if err := log.Begin(nil); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := log.Write(&audit.Record{Time: time.Now(), Decision: audit.Allowed, Verb: "POST", Status: 200}); err != nil {
			t.Fatal(err)
		}
	}
	head := audit.Head{Boot: "boot", Seq: uint64(value("bartizan_gate_audit_head_seq")), Hash: fmt.Sprintf("%012x", uint64(value("bartizan_gate_audit_head_hash_prefix")))}
	log.Close()
	if _, err := audit.Verify(strings.NewReader(text.String()), head); err != nil || head.Seq != 3 {
		t.Errorf("%+v: %v", head, err)
	}
	lines := strings.SplitAfter(text.String(), "\n")
	if _, err := audit.Verify(strings.NewReader(strings.Join(lines[:3], "")), head); err == nil {
		t.Error("the log can be cut")
	}
	changed := strings.Replace(lines[3], `"status":200`, `"status":201`, 1)
	if _, err := audit.Verify(strings.NewReader(strings.Join(lines[:3], "")+changed), head); err == nil {
		t.Error("the last line can be changed")
	}
}
