package limit_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"github.com/bartizan-dev/bartizan/internal/authproxy/limit"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// TestRatesAllowWhatTheySay: a burst, then the rate, for each key on its own.
func TestRatesAllowWhatTheySay(t *testing.T) {
	for _, rate := range []limit.Rate{{Burst: 1, Requests: 1, Per: time.Second}, {Burst: 10, Requests: 5, Per: time.Second}, {Burst: 3, Requests: 100, Per: time.Hour}} {
		rates := limit.NewRates[string]()
		each := rate.Per / time.Duration(rate.Requests)
		for i := range rate.Burst {
			if wait := rates.Take("a", rate, start); wait != 0 {
				t.Fatalf("%+v: number %d of the burst waits %s", rate, i, wait)
			}
		}
		if wait := rates.Take("a", rate, start); wait != each {
			t.Errorf("%+v: one more waits %s", rate, wait)
		}
		if rates.Take("b", rate, start) != 0 {
			t.Errorf("%+v: another key has no bucket of its own", rate)
		}
		if rates.Take("a", rate, start.Add(each-1)) == 0 || rates.Take("a", rate, start.Add(each)) != 0 || rates.Take("a", rate, start.Add(each)) == 0 {
			t.Errorf("%+v: not one more after %s", rate, each)
		}
	}
	if wait := limit.NewRates[string]().Take("a", limit.Rate{}, start); wait != 0 {
		t.Errorf("no rate waits %s", wait)
	}
}

// TestRatesOverTime: whenever they come, no more get through than the burst and what the time gives.
func TestRatesOverTime(t *testing.T) {
	rate := limit.Rate{Burst: 7, Requests: 50, Per: time.Second}
	rates, now, passed := limit.NewRates[int](), start, 0
	random := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		now = now.Add(time.Duration(random.IntN(int(4 * time.Millisecond))))
		if rates.Take(1, rate, now) == 0 {
			passed++
		}
	}
	if most := rate.Burst + int(now.Sub(start).Seconds()*50); passed > most || passed < most-2 {
		t.Errorf("%d passed, %d may", passed, most)
	}
}

// TestGivenBack: what was given back was not taken, and nobody has more for it than the burst.
func TestGivenBack(t *testing.T) {
	rate := limit.Rate{Burst: 2, Requests: 1, Per: time.Second}
	rates := limit.NewRates[string]()
	rates.Give("a", rate)
	for i, step := range []struct {
		give  bool
		after time.Duration
		waits bool
	}{{}, {}, {waits: true}, {give: true}, {}, {waits: true}, {give: true, after: time.Hour}, {after: time.Hour}, {after: time.Hour}, {after: time.Hour, waits: true}} {
		now := start.Add(step.after)
		if step.give {
			rates.Give("a", rate)
			continue
		}
		if wait := rates.Take("a", rate, now); (wait > 0) != step.waits {
			t.Errorf("step %d waits %s", i, wait)
		}
	}
}

func TestFailuresOfOneSource(t *testing.T) {
	f := limit.NewFailures(start)
	for i := range 20 {
		// Each connection has another port.
		if wait := f.Add(fmt.Sprintf("192.0.2.1:%d", 1000+i), start); wait != 0 {
			t.Fatalf("failure %d waits %s", i, wait)
		}
	}
	if f.Add("192.0.2.1:5", start) == 0 || f.Add("[::ffff:192.0.2.1]:5", start) == 0 {
		t.Error("a source can fail without an end")
	}
	if f.Add("192.0.2.2:5", start) != 0 {
		t.Error("another source pays for it")
	}
	if f.Add("192.0.2.1:5", start.Add(time.Second)) != 0 || f.Add("192.0.2.1:5", start.Add(time.Second)) == 0 {
		t.Error("not one more after a second")
	}
	if f.Add("192.0.2.1:5", start.Add(time.Hour)) != 0 {
		t.Error("it is never forgotten")
	}
	for i := range 20 {
		f.Add(fmt.Sprintf("[2001:db8::%x]:1", i), start)
	}
	if f.Add("[2001:db8::ffff]:1", start) == 0 || f.Add("[2001:db8:0:1::1]:1", start) != 0 {
		t.Error("an IPv6 source is not its network")
	}
	for range 30 {
		f.Add("no address", start)
	}
	if f.Add("nor this", start) == 0 {
		t.Error("what is no address has no budget in common")
	}
}

// TestFailuresOfManySources: however many sources fail, the memory is the same, and the rate at which answers that cost
// something are given is bounded.
func TestFailuresOfManySources(t *testing.T) {
	f := limit.NewFailures(start)
	if size := unsafe.Sizeof(*f); size > 65<<10 {
		t.Errorf("%d bytes", size)
	}
	free := 0
	for i := range 1 << 20 {
		if f.Add(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), start) == 0 {
			free++
		}
	}
	if most := 2 * 4096 * 20; free > most {
		t.Errorf("%d failures at once are within budgets, of at most %d", free, most)
	}
	if n := testing.AllocsPerRun(100, func() { f.Add("192.0.2.1:5", start) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRates(b *testing.B) {
	rates, rate, now := limit.NewRates[string](), limit.Rate{Burst: 10, Requests: 1000000, Per: time.Second}, start
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Microsecond)
		rates.Take("agents/assistant", rate, now)
	}
}
