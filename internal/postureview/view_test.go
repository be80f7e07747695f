package postureview

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/posture"
	"github.com/bartizan-dev/bartizan/internal/profile"
)

var update = flag.Bool("update", false, "write the golden files")

// hostile is what a server might be able to put into a reason.
const hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x1b[2J\x1b[31mok\u202egnp.exe\r\nfake line {{.}} javascript:alert(3)"

func example() []Server {
	changed := metav1.NewTime(time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC))
	var passed []string
	for _, c := range posture.Catalogue()[6:] {
		passed = append(passed, c.ID)
	}
	good := &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: "tools", Name: "pods"}}
	good.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionVerified, Status: metav1.ConditionTrue, Message: "every attack on every ready gate failed"}}
	good.Status.Posture = &v1alpha1.PostureStatus{
		Score: ptr.To[int32](100), Coverage: ptr.To[int32](81), EvaluatedAt: &changed, PassedControls: passed,
		UnknownControls: []string{"INV-1", "INV-2"}, ExemptedControls: []string{"INV-3"},
	}
	bad := &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: "tools", Name: "shell"}}
	bad.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionVerified, Status: metav1.ConditionFalse, Message: hostile}}
	bad.Status.Posture = &v1alpha1.PostureStatus{
		Score: ptr.To[int32](40), Coverage: ptr.To[int32](70), EvaluatedAt: &changed, PassedControls: []string{"INV-1"},
		Failing: []v1alpha1.FailingControl{
			{Control: "LEAST-8", Result: "Warn", Severity: "high", Reason: "Service other leads to the pods"},
			{Control: "ENC-6", Result: "Fail", Severity: "high", Reason: hostile},
			{Control: "LEAST-6", Result: "Fail", Severity: "critical", Reason: "the server listens on 0.0.0.0:8080"},
		},
	}
	young := &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: "tools", Name: "young"}}
	return []Server{FromStatus(good), FromStatus(bad), FromStatus(young)}
}

// TestViews compares each view with its golden file, and demands that nothing hostile is left in any.
func TestViews(t *testing.T) {
	now := time.Date(2031, 2, 3, 5, 0, 0, 0, time.UTC)
	for name, write := range map[string]func(*bytes.Buffer) error{
		"table.txt":   func(b *bytes.Buffer) error { return Table(b, example(), false) },
		"wide.txt":    func(b *bytes.Buffer) error { return Table(b, example(), true) },
		"report.json": func(b *bytes.Buffer) error { return JSON(b, example()) },
		"sarif.json":  func(b *bytes.Buffer) error { return SARIF(b, example(), "v1") },
		"report.html": func(b *bytes.Buffer) error { return HTML(b, example(), now) },
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := write(&out); err != nil {
				t.Fatal(err)
			}
			for _, r := range out.String() {
				if (r < ' ' && r != '\n') || r == '\u202e' || r == 0x7f {
					t.Errorf("there is a %U in it", r)
				}
			}
			path := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), out.String()); diff != "" {
				t.Errorf("not as in %s (-want +got), go test ./internal/postureview -update writes it:\n%s", path, diff)
			}
			if strings.HasSuffix(name, ".json") && !json.Valid(out.Bytes()) {
				t.Error("it is no JSON")
			}
		})
	}
}

// TestBelow: what is below a profile is a failure in each view, of servers and of what else is judged, and hostile text in it is text.
func TestBelow(t *testing.T) {
	below := []profile.Violation{{Profile: "production", Field: "spec.image", Message: "MCPServer tools/pods: spec.image: MCPSecurityProfile production " + hostile}}
	server := example()[0]
	server.Judge(below)
	client := Server{Kind: "MCPClient", Namespace: "agents", Name: "me", File: "a/b.yaml", Line: 3}
	client.Judge(below)
	all := []Server{server, client}
	if failing := server.Failing(); server.Count(Fail) != 1 || len(failing) != 1 || failing[0].ID != BelowProfile || failing[0].Severity != "high" {
		t.Errorf("%+v", failing)
	}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"table": func(b *bytes.Buffer) error { return Table(b, all, false) },
		"wide":  func(b *bytes.Buffer) error { return Table(b, all, true) },
		"json":  func(b *bytes.Buffer) error { return JSON(b, all) },
		"sarif": func(b *bytes.Buffer) error { return SARIF(b, all, "v1") },
		"html":  func(b *bytes.Buffer) error { return HTML(b, all, time.Now()) },
	} {
		var out bytes.Buffer
		if err := write(&out); err != nil {
			t.Fatal(err)
		}
		shown := out.String()
		if strings.Count(shown, BelowProfile) < 2 || !strings.Contains(shown, "MCPClient") && name != "sarif" {
			t.Errorf("%s does not show what is below:\n%s", name, shown)
		}
		if strings.ContainsAny(shown, "\x1b\u202e") || name == "html" && strings.Contains(shown, "<script>alert") {
			t.Errorf("%s has hostile text in it as it is", name)
		}
	}
	var out bytes.Buffer
	if err := SARIF(&out, all, "v1"); err != nil {
		t.Fatal(err)
	}
	var log sarifLog
	if err := json.Unmarshal(out.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	for _, r := range run.Results {
		if run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID {
			t.Errorf("the result of %s has the rule %s", r.RuleID, run.Tool.Driver.Rules[r.RuleIndex].ID)
		}
	}
	if last := run.Results[len(run.Results)-1]; last.RuleID != BelowProfile || last.Level != "error" || !strings.HasPrefix(last.Message.Text, "MCPClient agents/me: ") || last.Locations[0].PhysicalLocation.Region.StartLine != 3 {
		t.Errorf("%+v", last)
	}
}

// TestHTMLIsHarmless parses the report as a browser would: hostile text stays text, and nothing is loaded or run.
func TestHTMLIsHarmless(t *testing.T) {
	var out bytes.Buffer
	if err := HTML(&out, example(), time.Now()); err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(&out)
	if err != nil {
		t.Fatal(err)
	}
	var texts, titles int
	for n := range root.Descendants() {
		if n.Type == html.TextNode && strings.Contains(n.Data, "<script>alert(1)</script>") {
			texts++
		}
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "script", "img", "link", "iframe", "object", "embed", "form", "a", "base", "svg":
			t.Errorf("there is an element %s", n.Data)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "src" || a.Key == "href" || a.Key == "style" {
				t.Errorf("an element %s has %s=%q", n.Data, a.Key, a.Val)
			}
			if a.Key == "title" && strings.Contains(a.Val, "onerror=alert(2)") {
				titles++
			}
		}
	}
	if texts == 0 || titles == 0 {
		t.Errorf("the hostile text is %d times in the text and %d times in a title: the test shows nothing", texts, titles)
	}
}

// TestFromStatus: what the status does not say is unknown, never passed.
func TestFromStatus(t *testing.T) {
	server := &v1alpha1.MCPServer{}
	server.Status.Posture = &v1alpha1.PostureStatus{Score: ptr.To[int32](1), Coverage: ptr.To[int32](2), PassedControls: []string{"INV-1", "NEW-1"}}
	s := FromStatus(server)
	if pass, unknown, all := s.Count(Pass), s.Count(Unknown), len(posture.Catalogue()); pass != 1 || unknown != all-1 {
		t.Errorf("%d pass and %d are unknown of %d", pass, unknown, all)
	}
	if s := FromStatus(&v1alpha1.MCPServer{}); len(s.Controls) != 0 || s.Verified != "Unknown" {
		t.Errorf("a server without a posture is %+v", s)
	}
}
