package manifests

import (
	"fmt"
	"testing"
	"time"
)

func TestRenewal(t *testing.T) {
	for _, test := range []struct{ renewBefore, duration time.Duration }{
		{8 * time.Hour, 24 * time.Hour}, {57 * time.Minute, time.Hour}, {720 * time.Hour, 2160 * time.Hour},
		{time.Hour - time.Second, time.Hour}, {time.Hour, time.Hour},
	} {
		most := (test.duration - test.renewBefore) / 10
		var halves [2]int
		for i := range 1000 {
			name := fmt.Sprintf("server-%d-tls", i)
			got := Renewal(test.renewBefore, test.duration, "tools", name)
			if got < test.renewBefore || got > test.renewBefore+most || got > test.renewBefore && got >= test.duration || got%time.Second != 0 {
				t.Fatalf("%s of %s: %s before the end, want %s and up to %s more", test.renewBefore, test.duration, got, test.renewBefore, most)
			}
			if again := Renewal(test.renewBefore, test.duration, "tools", name); again != got {
				t.Fatalf("%s, then %s: it is to stay", got, again)
			}
			if got >= test.renewBefore+most/2 {
				halves[1]++
			} else {
				halves[0]++
			}
		}
		if most > time.Minute && (halves[0] < 400 || halves[1] < 400) {
			t.Errorf("%s of %s: %v in the halves of the spread", test.renewBefore, test.duration, halves)
		}
	}
}
