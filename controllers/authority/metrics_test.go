package authority

import (
	"maps"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bartizan-dev/bartizan/internal/rollover"
)

func TestWaitingSince(t *testing.T) {
	made := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	first := rollover.Authority{Generation: 1, Since: made, NotBefore: made, NotAfter: made.Add(360 * time.Hour), Issues: true}
	second := rollover.Authority{Generation: 2, Since: made.Add(200 * time.Hour)}
	in := func(step rollover.Step, waits []string, all ...rollover.Authority) *found {
		return &found{
			line: line{family: private}, facts: rollover.Facts{Authorities: all}, step: step, waits: waits,
			schedule: rollover.Schedule{Lifetime: 360 * time.Hour, Overlap: 12 * time.Hour},
		}
	}
	issuing := second
	issuing.Issues, issuing.DistributedAt = true, second.Since.Add(time.Hour)
	for _, test := range []struct {
		name  string
		found *found
		want  time.Time // zero: it does not wait
		of    string
	}{
		{"nothing is to be done", in(rollover.Step{Phase: rollover.Steady}, nil, first), time.Time{}, ""},
		{"cert-manager does not issue the first", in(rollover.Step{Phase: rollover.Making}, nil, first), made, "bartizan-ca-1"},
		{"the next is about to be made", in(rollover.Step{Phase: rollover.Making, Action: rollover.Create, Generation: 2}, nil, first), time.Time{}, ""},
		{"cert-manager does not issue the next", in(rollover.Step{Phase: rollover.Making, Generation: 2}, nil, first, second), second.Since, "bartizan-ca-2"},
		{"it is not trusted yet", in(rollover.Step{Phase: rollover.Distributing, Generation: 2}, []string{"Pod a/b"}, first, second), second.Since, "bartizan-ca-2"},
		{"there is time to read it", in(rollover.Step{Phase: rollover.Settling, Generation: 2}, nil, first, second), time.Time{}, ""},
		{"the old one is in use", in(rollover.Step{Phase: rollover.Reissuing, Generation: 1}, []string{"Pod a/b"}, first, issuing), issuing.DistributedAt.Add(12 * time.Hour), "bartizan-ca-1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			measure("ns", []*found{test.found})
			want := map[string]time.Time{}
			if test.of != "" {
				want["ns/"+test.of] = test.want
			}
			if got := waiting(t); !maps.EqualFunc(got, want, time.Time.Equal) {
				t.Fatalf("got %v, want %v", got, want)
			}
		})
	}
	measure("ns", nil)
	if got := waiting(t); len(got) != 0 {
		t.Fatalf("a namespace without authorities has %v", got)
	}
}

// waiting are the authorities that wait, by namespace and name, and since when.
func waiting(t *testing.T) map[string]time.Time {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(waitingSince); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]time.Time{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range metric.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			all[labels["namespace"]+"/"+labels["name"]] = time.Unix(int64(metric.GetGauge().GetValue()), 0)
		}
	}
	return all
}
