package verification

import (
	"context"
	"crypto/tls"
	"testing"

	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
	"github.com/bartizan-dev/bartizan/internal/probe"
)

// told remembers which gates were told of which verification.
type told map[string]string

func (t told) Announce(_ context.Context, gate gates.Gate, traceID string) error {
	t[gate.Address+" "+gate.ServerName+" "+gate.Roots] = traceID
	return context.DeadlineExceeded // nobody minds
}

// TestAnnounce: gates are told of a verification in which no request is the operator's own.
func TestAnnounce(t *testing.T) {
	for name, test := range map[string]struct {
		target probe.Target
		want   bool
	}{
		"neither": {probe.Target{}, true}, "a token of a ServiceAccount": {probe.Target{Token: &probe.Token{}}, true},
		"a certificate": {probe.Target{Identity: &tls.Certificate{}}, false}, "a key": {probe.Target{Keys: &probe.Keys{}}, false},
	} {
		marks := told{}
		test.target.Address, test.target.ServerName, test.target.Mark = "10.0.0.7", "weather.team-a.svc", "4bf9"
		(&Reconciler{Marks: marks}).announce(t.Context(), &observed{caBundle: "roots"}, &test.target)
		if got := marks["10.0.0.7 weather.team-a.svc roots"]; (got == "4bf9") != test.want || (len(marks) > 0) != test.want {
			t.Errorf("%s: %v", name, marks)
		}
	}
}
