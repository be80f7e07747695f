package mcpclient

import (
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// TestScheduleByAgeSpreads: keys of clients that were made at the same moment are replaced over a day, always the same for each,
// and early enough for an overlap.
func TestScheduleByAgeSpreads(t *testing.T) {
	const clients, bins = 10_000, 24
	for _, spec := range []*v1alpha1.KeyRotation{nil, {}, {Overlap: "1m", MaximumAge: "10m"}, {Overlap: "2160h", MaximumAge: "4320h"}} {
		var count [bins]int
		for i := range clients {
			c := &v1alpha1.MCPClient{ObjectMeta: metav1.ObjectMeta{UID: types.UID("uid-" + strconv.Itoa(i))}, Spec: v1alpha1.MCPClientSpec{Rotation: spec}}
			s, err := schedule(c, "tools")
			again, _ := schedule(c, "tools")
			if err != nil || s != again {
				t.Fatalf("%+v, then %+v: %v", s, again, err)
			}
			slack := min(s.MaximumAge/10, 7*24*time.Hour)
			spread := min(slack, 24*time.Hour)
			into := s.RenewBefore - s.Overlap - slack
			if into < 0 || into >= spread || s.RenewBefore >= s.MaximumAge {
				t.Fatalf("replaced %s before %s, with an overlap of %s", s.RenewBefore, s.MaximumAge, s.Overlap)
			}
			count[into*bins/spread]++
		}
		for _, n := range count {
			if float64(n)*bins/clients > 1.5 {
				t.Errorf("%+v: not spread: %v", spec, count)
			}
		}
	}
}

// TestScheduleThatCannotBeRead: what the API server would refuse, or cannot know, is said by its field, and age goes on.
func TestScheduleThatCannotBeRead(t *testing.T) {
	cron := func(expression, zone string) v1alpha1.KeyRotation {
		return v1alpha1.KeyRotation{Schedule: &v1alpha1.RotationSchedule{
			Type: v1alpha1.RotationCron, Cron: &v1alpha1.CronSchedule{Expression: expression, TimeZone: zone},
		}}
	}
	for want, spec := range map[string]v1alpha1.KeyRotation{
		"spec.rotation.overlap: ":           {Overlap: "soon"},
		"spec.rotation.maximumAge: ":        {MaximumAge: "-1h"},
		"spec.rotation.schedule.interval: ": {Schedule: &v1alpha1.RotationSchedule{Type: v1alpha1.RotationInterval, Interval: "1s"}},
		"spec.rotation.schedule.type: ":     {Schedule: &v1alpha1.RotationSchedule{Type: "Moon"}},
		"cron expression of five fields":    cron("99 3 * * 1", "UTC"),
		"there is no such day":              cron("0 3 30 2 *", "UTC"),
		"not in the IANA database":          cron("0 3 * * 1", "Mars/Olympus"),
	} {
		s, err := schedule(&v1alpha1.MCPClient{Spec: v1alpha1.MCPClientSpec{Rotation: &spec}}, "tools")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", spec, err, want)
		}
		if s.MaximumAge != defaultMaximumAge || s.Overlap != defaultOverlap || s.Times != nil {
			t.Errorf("%q: %+v", want, s)
		}
	}
}
