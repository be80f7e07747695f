// Package postureview shows the posture of MCP servers to people and programs: as tables, JSON, SARIF and HTML. What comes from servers,
// clients and their objects is hostile text: nothing of it can move a cursor, open a link or become markup.
package postureview

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/posture"
	"github.com/bartizan-dev/bartizan/internal/profile"
)

// Result is what became of a control, in the words that people read.
type Result string

// The results, the worst first.
const (
	Fail     Result = "fail"
	Warn     Result = "warn"
	Unknown  Result = "unknown"
	Pass     Result = "pass"
	Exempted Result = "exempted"
)

// Control is one control of one server.
type Control struct {
	ID       string `json:"id"`
	Severity string `json:"severity"`
	Title    string `json:"title"`
	Result   Result `json:"result"`
	// Reason says why; empty where the status of the server does not have it.
	Reason string `json:"reason,omitempty"`
	// Remediation says how to mend a control that fails or holds in part.
	Remediation string   `json:"remediation,omitempty"`
	Maps        []string `json:"maps,omitempty"`
}

// Server is the posture of one server.
type Server struct {
	// Kind is empty for an MCPServer. Others have no controls, and are only judged by profiles.
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Score and Coverage are 0 to 100.
	Score    int `json:"score"`
	Coverage int `json:"coverage"`
	// Verified is the status of the condition Verified: True, False or Unknown; empty where nothing was attacked, as in a manifest.
	Verified        string `json:"verified,omitempty"`
	VerifiedMessage string `json:"verifiedMessage,omitempty"`
	// Changed is when anything of it last changed; nil where nothing ran.
	Changed *time.Time `json:"changed,omitempty"`
	// Controls are in the order of the catalogue; empty: nothing is known yet.
	Controls []Control `json:"controls"`
	// Below are the fields of a manifest that are below an MCPSecurityProfile; they count as failures.
	Below []Control `json:"below,omitempty"`
	// File and Line are where the manifest is; empty for a server of a cluster.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

// FromStatus is the posture of a server of a cluster, as its status has it. The catalogue is that of this program: a control that the operator
// does not know yet is unknown, one that this program does not know is left out.
func FromStatus(server *v1alpha1.MCPServer) Server {
	s := Server{Namespace: server.Namespace, Name: server.Name, Verified: "Unknown"}
	if c := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionVerified); c != nil {
		s.Verified, s.VerifiedMessage = string(c.Status), text(c.Message)
	}
	p := server.Status.Posture
	if p == nil {
		return s
	}
	if p.Score != nil && p.Coverage != nil {
		s.Score, s.Coverage = int(*p.Score), int(*p.Coverage)
	}
	if p.EvaluatedAt != nil {
		s.Changed = &p.EvaluatedAt.Time
	}
	results := map[string]Result{}
	for result, ids := range map[Result][]string{Pass: p.PassedControls, Exempted: p.ExemptedControls} {
		for _, id := range ids {
			results[id] = result
		}
	}
	reasons := map[string]string{}
	for _, f := range p.Failing {
		results[f.Control], reasons[f.Control] = Fail, f.Reason
		if f.Result == "Warn" {
			results[f.Control] = Warn
		}
	}
	for _, c := range posture.Catalogue() {
		s.Controls = append(s.Controls, control(c, cmp.Or(results[c.ID], Unknown), reasons[c.ID]))
	}
	return s
}

// FromReport is the posture of a server that was evaluated here, from a manifest.
func FromReport(namespace, name string, report posture.Report) Server {
	s := Server{Namespace: namespace, Name: name, Score: report.Score.Value, Coverage: report.Score.Coverage}
	results := map[posture.Status]Result{posture.Pass: Pass, posture.Fail: Fail, posture.Warn: Warn, posture.Error: Unknown, posture.Skip: Exempted}
	for _, r := range report.Results {
		if c, ok := posture.Find(r.Control); ok {
			s.Controls = append(s.Controls, control(c, results[r.Status], r.Reason))
		}
	}
	return s
}

func control(c posture.Control, result Result, reason string) Control {
	shown := Control{ID: c.ID, Severity: string(c.Severity), Title: c.Title, Result: result, Reason: text(reason), Maps: c.Maps}
	if result == Fail || result == Warn {
		shown.Remediation = c.Remediation
	}
	return shown
}

// BelowProfile stands in the place of a control for what is below an MCPSecurityProfile.
const BelowProfile = "PROFILE"

// Judge adds what is below profiles.
func (s *Server) Judge(below []profile.Violation) {
	for _, v := range below {
		s.Below = append(s.Below, Control{
			ID: BelowProfile, Severity: string(posture.High), Title: "The manifest is not below MCPSecurityProfile " + text(v.Profile), Result: Fail,
			Reason: text(v.Message), Remediation: "Change " + text(v.Field) + ": the API server would refuse it.",
		})
	}
}

// named names the object to people.
func (s Server) named() string {
	return cmp.Or(s.Kind, "MCPServer") + " " + s.Namespace + "/" + s.Name
}

// Failing are the controls that fail or hold in part, failures first, each by severity.
func (s Server) Failing() []Control {
	failing := slices.Clone(s.Below)
	for _, c := range s.Controls {
		if c.Result == Fail || c.Result == Warn {
			failing = append(failing, c)
		}
	}
	slices.SortStableFunc(failing, func(a, b Control) int {
		return cmp.Or(rank(a.Result)-rank(b.Result), severityRank(a.Severity)-severityRank(b.Severity))
	})
	return failing
}

// Count is how many controls have a result.
func (s Server) Count(result Result) (n int) {
	for _, c := range slices.Concat(s.Below, s.Controls) {
		if c.Result == result {
			n++
		}
	}
	return n
}

// rank is 0 for the worst.
func rank(result Result) int {
	return slices.Index([]Result{Fail, Warn, Unknown, Pass, Exempted}, result)
}

// severityRank is 0 for the most severe.
func severityRank(severity string) int {
	return slices.Index([]string{string(posture.Critical), string(posture.High), string(posture.Medium)}, severity)
}

// longestText bounds a text of somebody else, in runes.
const longestText = 600

// text is what is shown of a text of somebody else: one line, without anything that a terminal or a reader's eye could be deceived with.
func text(s string) string {
	shown := strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\r':
			return ' '
		case r == unicode.ReplacementChar, !unicode.IsPrint(r):
			return '�'
		}
		return r
	}, s)
	if runes := []rune(shown); len(runes) > longestText {
		return string(runes[:longestText]) + "…"
	}
	return shown
}
