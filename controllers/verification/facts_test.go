package verification

import (
	"slices"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/gatestatus"
)

// TestServerRequests: a server that asks for what nobody granted is told for a day, and a gate that does not count is not one
// whose server asks nothing.
func TestServerRequests(t *testing.T) {
	at := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	asked := func(kind string, ago time.Duration) []gatestatus.ServerRequest {
		return []gatestatus.ServerRequest{{Kind: kind, Count: 3, Last: at.Add(-ago)}}
	}
	for name, test := range map[string]struct {
		gates   [][]gatestatus.ServerRequest
		want    []string
		missing bool
	}{
		"nothing":             {gates: [][]gatestatus.ServerRequest{{}, {}}},
		"at one gate of two":  {gates: [][]gatestatus.ServerRequest{{}, asked("Sampling", time.Minute)}, want: []string{"the server asked a client for Sampling, and no MCPAccessPolicy allows that"}},
		"the same at both":    {gates: [][]gatestatus.ServerRequest{asked("Roots", 0), asked("Roots", time.Hour)}, want: []string{"the server asked a client for Roots, and no MCPAccessPolicy allows that"}},
		"long ago":            {gates: [][]gatestatus.ServerRequest{asked("Sampling", remembered)}},
		"one does not count":  {gates: [][]gatestatus.ServerRequest{{}, nil}, missing: true},
		"what was there asks": {gates: [][]gatestatus.ServerRequest{asked("Sampling", 0), nil}, missing: true},
	} {
		last := &run{at: at, gates: map[string]gatestatus.Status{}}
		for i, requests := range test.gates {
			last.gates[string(rune('a'+i))] = gatestatus.Status{ServerRequests: requests}
		}
		got := serverRequests(last)
		if (got.Missing != "") != test.missing || !slices.Equal(got.Value, test.want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
