package posture

import (
	"fmt"
	"strings"
	"time"
)

// known says whether a fact can be relied on now; the verdict is for when it cannot.
func known[T any](s *Snapshot, f Fact[T]) (verdict, bool) {
	switch {
	case !f.Known:
		missing := f.Missing
		if missing == "" {
			missing = "nothing shows it"
		}
		return verdict{status: Error, reason: missing}, false
	case f.Kind == Declared:
		return verdict{}, true
	case f.Time.IsZero() || f.Time.After(s.Now.Add(time.Minute)):
		return verdict{status: Error, reason: "nobody knows when " + f.Source + " said so"}, false
	case s.StaleAfter > 0 && s.Now.Sub(f.Time) > s.StaleAfter:
		return verdict{status: Error, reason: fmt.Sprintf("the evidence (%s) is older than %s", f.Source, s.StaleAfter)}, false
	}
	return verdict{}, true
}

func evidence[T any](f Fact[T]) []Evidence {
	return []Evidence{{Kind: f.Kind, Source: f.Source, Time: f.Time}}
}

// on is a verdict that rests on a fact.
func on[T any](f Fact[T], status Status, format string, args ...any) verdict {
	return verdict{status: status, reason: fmt.Sprintf(format, args...), evidence: evidence(f)}
}

// none judges by a list of what is wrong.
func none(fact func(*Snapshot) Fact[[]string], good string) func(*Snapshot) verdict {
	return func(s *Snapshot) verdict {
		f := fact(s)
		if v, ok := known(s, f); !ok {
			return v
		}
		if len(f.Value) > 0 {
			return on(f, Fail, "%s", list(f.Value))
		}
		return on(f, Pass, "%s", good)
	}
}

// yes judges by a fact that is or is not so.
func yes(fact func(*Snapshot) Fact[bool], good, bad string) func(*Snapshot) verdict {
	return func(s *Snapshot) verdict {
		f := fact(s)
		if v, ok := known(s, f); !ok {
			return v
		}
		if !f.Value {
			return on(f, Fail, "%s", bad)
		}
		return on(f, Pass, "%s", good)
	}
}

// both is the worse of two verdicts: a failure over what is unknown, over a warning, over what passed.
func both(a, b verdict) verdict {
	rank := map[Status]int{Skip: 0, Pass: 1, Warn: 2, Error: 3, Fail: 4}
	worse, other := a, b
	if rank[b.status] > rank[a.status] {
		worse, other = b, a
	}
	if worse.status == other.status {
		worse.reason += "; " + other.reason
		worse.evidence = append(append([]Evidence{}, worse.evidence...), other.evidence...)
	}
	return worse
}

// probed judges by the probes that attack a control.
func probed(id string) func(*Snapshot) verdict {
	return func(s *Snapshot) verdict {
		if v, ok := known(s, s.Run); !ok {
			return v
		}
		var tried, broken, open []string
		for _, p := range s.Run.Value.Probes {
			if p.Control != id {
				continue
			}
			said := p.Name
			if p.Detail != "" {
				said += " at " + p.Pod + ": " + p.Detail
			}
			switch p.Outcome {
			case Held:
				tried = append(tried, p.Name)
			case Broken:
				broken = append(broken, said)
			default:
				open = append(open, said)
			}
		}
		switch {
		case len(broken) > 0:
			return on(s.Run, Fail, "an attack succeeded: %s", list(broken))
		case len(open) > 0:
			return on(s.Run, Error, "an attack could not be tried: %s", list(open))
		case len(tried) == 0:
			reason := s.Run.Value.Incomplete
			if reason == "" {
				reason = "the last verification did not try it"
			}
			return verdict{status: Error, reason: reason}
		}
		return on(s.Run, Pass, "every attack failed: %s", list(distinct(tried)))
	}
}

// list names some things and says how many more there are.
func list(all []string) string {
	const most = 5
	if len(all) <= most {
		return strings.Join(all, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(all[:most], "; "), len(all)-most)
}

func distinct(all []string) []string {
	seen := map[string]bool{}
	var kept []string
	for _, s := range all {
		if !seen[s] {
			seen[s] = true
			kept = append(kept, s)
		}
	}
	return kept
}
