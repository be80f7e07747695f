package asked

import (
	"strconv"
	"sync"
	"testing"
	"time"
)

var now = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

func TestTake(t *testing.T) {
	var table Table
	alice, bob := Session{"agents/alice", "1"}, Session{"agents/bob", "1"}
	if table.Take(alice, "7", now) {
		t.Error("answered what nobody asked")
	}
	for _, id := range []string{"7", "7", `"7"`} {
		if !table.Add(alice, id, now) {
			t.Fatal("no room")
		}
	}
	for name, s := range map[string]Session{"another principal": bob, "another session": {"agents/alice", "2"}} {
		if table.Take(s, "7", now) {
			t.Errorf("%s answers", name)
		}
	}
	if !table.Take(alice, "7", now) || table.Take(alice, "7", now) {
		t.Error("want one answer")
	}
	if table.Take(alice, `"7"`, now.Add(keep)) {
		t.Error("answered after its time")
	}
	table.Add(alice, "8", now)
	table.End(alice)
	if table.Take(alice, "8", now) || len(table.sessions) != 0 || len(table.held) != 0 || table.all != 0 {
		t.Errorf("something is left of an ended session: %+v", &table)
	}
}

func TestBounds(t *testing.T) {
	var table Table
	fill := func(s Session) (n int) {
		for table.Add(s, strconv.Itoa(n), now) {
			n++
		}
		return n
	}
	if n := fill(Session{"a", "1"}); n != maxSession {
		t.Errorf("%d in a session", n)
	}
	all := maxSession
	for i := 2; all < maxPrincipal; i++ {
		all += fill(Session{"a", strconv.Itoa(i)})
	}
	if table.Add(Session{"a", "x"}, "1", now) {
		t.Errorf("more than %d of one principal", maxPrincipal)
	}
	if !table.Add(Session{"b", "1"}, "1", now) {
		t.Error("one principal takes another's room")
	}
	for i := 0; table.all < maxAll; i++ {
		table.Add(Session{strconv.Itoa(i), "1"}, "1", now)
	}
	if table.Add(Session{"c", "1"}, "1", now) {
		t.Errorf("more than %d", maxAll)
	}
	if !table.Add(Session{"c", "1"}, "1", now.Add(keep)) || table.all != 1 {
		t.Errorf("old ones are not forgotten: %d", table.all)
	}
}

func TestConcurrent(t *testing.T) {
	var table Table
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			s := Session{strconv.Itoa(i % 4), strconv.Itoa(i)}
			for j := range 200 {
				table.Add(s, strconv.Itoa(j), now)
				table.Take(s, strconv.Itoa(j), now)
			}
			table.End(s)
		})
	}
	group.Wait()
	if table.all != 0 || len(table.held) != 0 {
		t.Errorf("%d are left", table.all)
	}
}
