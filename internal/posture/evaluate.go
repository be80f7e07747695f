package posture

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Status is the result of a control.
type Status string

// The results.
const (
	Pass  Status = "pass"
	Fail  Status = "fail"
	Warn  Status = "warn"
	Error Status = "error"
	Skip  Status = "skip"
)

// maxReason bounds a reason, in characters. Names in it come from servers and clients.
const maxReason = 400

// Result is what one control came to.
type Result struct {
	Control string
	Status  Status
	// Reason says why, in one sentence.
	Reason string
	// Evidence is what the result rests on; empty for unknown.
	Evidence []Evidence
}

// Evidence is where a result comes from.
type Evidence struct {
	Kind   Kind
	Source string
	// Time is when it was so; zero for what a spec declares.
	Time time.Time
}

// Report is the evaluation of one server.
type Report struct {
	Server string
	Time   time.Time
	Score  Score
	// Results has every control of the catalogue, in its order.
	Results []Result
}

// verdict is what a judge says.
type verdict struct {
	status   Status
	reason   string
	evidence []Evidence
}

// Evaluate judges every control.
func Evaluate(s *Snapshot) Report {
	r := Report{Server: s.Server, Time: s.Now, Results: make([]Result, 0, len(catalogue))}
	for i := range catalogue {
		c := &catalogue[i]
		v := exempt(s, c)
		r.Results = append(r.Results, Result{Control: c.ID, Status: v.status, Reason: clean(v.reason, maxReason), Evidence: v.evidence})
	}
	r.Score = Weigh(r.Results)
	return r
}

// exempt judges a control unless somebody answers for it.
func exempt(s *Snapshot, c *Control) verdict {
	var past string
	for _, e := range s.Exemptions {
		if e.Control != c.ID || e.Owner == "" || e.Reason == "" || e.Expires.IsZero() {
			continue
		}
		if s.Now.Before(e.Expires) {
			return verdict{status: Skip, reason: fmt.Sprintf("%s answers for it until %s: %s", e.Owner, e.Expires.UTC().Format(time.DateOnly), e.Reason)}
		}
		past = fmt.Sprintf(" (the exemption of %s ended on %s)", e.Owner, e.Expires.UTC().Format(time.DateOnly))
	}
	v := c.judge(s)
	if v.status != Pass && v.status != Skip {
		v.reason += past
	}
	return v
}

// Failing are the results that failed, warnings after failures, each by severity and then in the catalogue's order.
func (r Report) Failing() []Result {
	var failing []Result
	for _, status := range []Status{Fail, Warn} {
		for _, severity := range []Severity{Critical, High, Medium} {
			for _, result := range r.Results {
				if c := byID[result.Control]; c != nil && c.Severity == severity && result.Status == status {
					failing = append(failing, result)
				}
			}
		}
	}
	return failing
}

// clean makes text that may come from a stranger one line of printable characters, and short.
func clean(text string, most int) string {
	if len(text) <= most && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return text
	}
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n == most {
			b.WriteRune('…')
			break
		}
		if !unicode.IsPrint(r) || unicode.Is(unicode.Cf, r) {
			r = '\uFFFD'
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}
