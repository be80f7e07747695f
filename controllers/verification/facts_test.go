package verification

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
	"github.com/bartizan-dev/bartizan/internal/posture"
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
		"what was there asks": {gates: [][]gatestatus.ServerRequest{asked("Sampling", 0), nil}, want: []string{"the server asked a client for Sampling, and no MCPAccessPolicy allows that"}},
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

// TestSilentGate: what one gate tells that is wrong is told although another gate says nothing; and nothing passes then.
func TestSilentGate(t *testing.T) {
	at := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	server := &v1alpha1.MCPServer{}
	o := &observed{server: server, now: at, gates: []gate{{pod: &corev1.Pod{}}, {pod: &corev1.Pod{}}}}
	for name, test := range map[string]struct {
		stale    map[string]time.Time
		requests []gatestatus.ServerRequest
		fail     []string
	}{
		"nothing is wrong":              {requests: []gatestatus.ServerRequest{}},
		"a key that nobody has":         {stale: map[string]time.Time{"k": at.Add(-time.Minute)}, requests: []gatestatus.ServerRequest{}, fail: []string{"AUTH-5"}},
		"a request that nobody granted": {requests: []gatestatus.ServerRequest{{Kind: "Sampling", Count: 1, Last: at}}, fail: []string{"FLOW-1"}},
	} {
		s := declared.Snapshot(server, at)
		o.runFacts(s, &run{at: at, stale: test.stale, gates: map[string]gatestatus.Status{"a": {ServerRequests: test.requests, Audit: &gatestatus.AuditHead{Hash: "h"}}}})
		for _, r := range posture.Evaluate(s).Results {
			want := posture.Error
			if slices.Contains(test.fail, r.Control) {
				want = posture.Fail
			}
			if slices.Contains([]string{"AUTH-5", "FLOW-1", "LEAST-6", "LOG-1", "LOG-4"}, r.Control) && r.Status != want {
				t.Errorf("%s: want %s: %+v", name, want, r)
			}
		}
	}
}
