package apply

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// TestContention: a person's edits are repaired at once, a program's at a steady pace, and nothing is remembered for ever.
func TestContention(t *testing.T) {
	var c contention
	now := time.Unix(1_800_000_000, 0)
	for i := range repairBurst {
		if !c.allow("a", now) {
			t.Fatalf("repair %d was refused", i)
		}
	}
	if c.allow("a", now) {
		t.Error("repairs have no end")
	}
	if !c.allow("b", now) {
		t.Error("another object was refused")
	}
	repaired := 0
	for range 600 {
		now = now.Add(100 * time.Millisecond)
		if c.allow("a", now) {
			repaired++
		}
	}
	if want := int(time.Minute / RepairInterval); repaired < want-1 || repaired > want+1 {
		t.Errorf("%d repairs in a minute, want about %d", repaired, want)
	}
	for i := range 1000 {
		now = now.Add(time.Minute)
		c.allow(types.UID(fmt.Sprint(i)), now)
	}
	if len(c.repairs) > 65 {
		t.Errorf("%d objects are remembered", len(c.repairs))
	}
}
