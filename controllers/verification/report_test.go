package verification

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

var update = flag.Bool("update", false, "write the golden files")

// TestReport compares a Report with its golden file. What strangers named is in it, as one harmless line.
func TestReport(t *testing.T) {
	now := time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)
	server := &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: "tools", Name: "github", UID: "0b5f"}, Spec: v1alpha1.MCPServerSpec{Image: "registry.example/github:1"}}
	s := declared.Snapshot(server, now)
	s.Detours = posture.See([]string{"Service evil\x1b[31m\nkind: Pod \u202e<script>" + strings.Repeat("x", 1000)}, "Services", now)
	evaluated := posture.Evaluate(s)
	o := &observed{server: server, now: now}
	report := o.report(evaluated, metav1.NewTime(now))
	if len(report.Results) != len(posture.Catalogue()) {
		t.Errorf("%d results", len(report.Results))
	}
	for _, r := range report.Results {
		if strings.ContainsAny(r.Description, "\x1b\n\u202e") || len([]rune(r.Description)) > 401 {
			t.Errorf("%s: %q", r.Policy, r.Description)
		}
	}
	got, err := yaml.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) > 100<<10 {
		t.Errorf("%d bytes", len(got))
	}
	const file = "testdata/report.yaml"
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s:\n%s", file, diff)
	}
}

func TestContains(t *testing.T) {
	for _, test := range []struct {
		live, want string
		same       bool
	}{
		{`{a: 1, b: {c: x}, results: [{p: 1}]}`, `{b: {c: x}, results: [{p: 1}]}`, true},
		{`{b: {c: y}}`, `{b: {c: x}}`, false},
		{`{results: [{p: 1}, {p: 2}]}`, `{results: [{p: 1}]}`, false},
		{`{results: [{p: 2}]}`, `{results: [{p: 1}]}`, false},
		{`{results: nothing}`, `{results: [{p: 1}]}`, false},
		{`{b: nothing}`, `{b: {c: x}}`, false},
		{`{}`, `{b: {c: x}}`, false},
	} {
		var live, want any
		for text, into := range map[string]*any{test.live: &live, test.want: &want} {
			if err := yaml.Unmarshal([]byte(text), into); err != nil {
				t.Fatal(err)
			}
		}
		if contains(live, want) != test.same {
			t.Errorf("%s has all of %s: %t", test.live, test.want, !test.same)
		}
	}
}
