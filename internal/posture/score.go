package posture

// capCritical is the most that a score can be while a critical control fails.
const capCritical = 40

// Score sums results up.
type Score struct {
	// Value is 0 to 100: the weight of what passed, a warning for half, out of what was evaluated, rounded down. It is 0
	// when nothing was evaluated, and at most 40 while a critical control fails.
	Value int
	// Coverage is 0 to 100: the weight of what was evaluated out of what applies, rounded down.
	Coverage int
	// Capped says that a failed critical control holds the score down.
	Capped bool
	// Counts of results.
	Pass, Fail, Warn, Error, Skip int
}

// Weigh sums results up. Results of controls that are not in the catalogue do not count.
func Weigh(results []Result) Score {
	var s Score
	var passed, evaluated, applicable int
	for _, r := range results {
		c := byID[r.Control]
		if c == nil {
			continue
		}
		// Doubled, so that half a weight is whole.
		weight := 2 * c.Severity.weight()
		switch r.Status {
		case Pass:
			s.Pass++
			passed += weight
		case Warn:
			s.Warn++
			passed += weight / 2
		case Fail:
			s.Fail++
			s.Capped = s.Capped || c.Severity == Critical
		case Skip:
			s.Skip++
			continue
		default:
			s.Error++
			applicable += weight
			continue
		}
		evaluated += weight
		applicable += weight
	}
	if evaluated > 0 {
		s.Value = 100 * passed / evaluated
	}
	if applicable > 0 {
		s.Coverage = 100 * evaluated / applicable
	}
	if s.Capped {
		s.Value = min(s.Value, capCritical)
	}
	return s
}
