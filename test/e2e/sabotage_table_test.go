package e2e

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

var update = flag.Bool("update", false, "write what was measured into the documentation")

// sabotageTable is what came of each sabotage.
type sabotageTable struct {
	mutex sync.Mutex
	rows  []sabotageRow
}

type sabotageRow struct {
	by           string
	fails        []string
	seen, healed time.Duration
}

// row breaks something, waits until exactly the right controls fail, mends it and waits until nothing fails. No other control
// may fail meanwhile.
func (s *sabotageTable) row(t *testing.T, c *cluster, server *v1alpha1.MCPServer, by string, want []string, do, undo func()) {
	t.Helper()
	do()
	seen := c.turns(t, server, want, nil)
	undo()
	s.add(t, by, want, seen, c.turns(t, server, nil, want))
}

func (s *sabotageTable) add(t *testing.T, by string, want []string, seen, healed time.Duration) {
	t.Helper()
	row := sabotageRow{by: by, seen: seen, healed: healed}
	for _, control := range want {
		// It fails whenever a probe succeeds.
		if control != "TEST-2" {
			row.fails = append(row.fails, control)
		}
	}
	t.Logf("%s: %v failed after %s, and healed after %s", by, want, seen.Round(100*time.Millisecond), healed.Round(100*time.Millisecond))
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.rows = append(s.rows, row)
}

// write brings the table into the documentation.
func (s *sabotageTable) write(t *testing.T) {
	t.Helper()
	const file, begin, end = "../../docs/posture.md", "<!-- sabotage: written by go test -run TestE2ESabotage ./test/e2e -update -->\n", "<!-- end of sabotage -->\n"
	if !*update || t.Failed() {
		return
	}
	content, err := os.ReadFile(file)
	must(t, err)
	before, rest, found := strings.Cut(string(content), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no place for the table", file)
	}
	slices.SortStableFunc(s.rows, func(a, b sabotageRow) int { return cmp.Compare(strings.Join(a.fails, " "), strings.Join(b.fails, " ")) })
	var b strings.Builder
	b.WriteString("| Broken by | Fails | Seen after | Healed after |\n|---|---|---|---|\n")
	for _, r := range s.rows {
		fmt.Fprintf(&b, "| %s | %s | %.1f s | %.1f s |\n", r.by, strings.Join(r.fails, ", "), r.seen.Seconds(), r.healed.Seconds())
	}
	must(t, os.WriteFile(file, []byte(before+begin+b.String()+end+after), 0o600))
}
