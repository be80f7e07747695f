package gate_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// TestVerificationsAreKnown: the attacks of a verification that the operator has announced wake nobody and are held against
// nobody; they are refused and in the audit log as any other. The same with a mark that somebody made up, or that a client
// announces, is an attack.
func TestVerificationsAreKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newRecorder(t, result).address())
	mark := func(id string) func(*http.Request) { return set("Traceparent", "00-"+id+"-0000000000000001-00") }
	const announced, ofAlice, madeUp = "4bf92f3577b34da6a3ce929d0e0e4736", "4bf92f3577b34da6a3ce929d0e0e4737", "4bf92f3577b34da6a3ce929d0e0e4738"
	if status, _, body := do(t, w.client(w.system.Client(t, clientid.Operator)), w.post(legacyCall, mark(announced))); status != http.StatusForbidden {
		t.Fatalf("%d %s", status, body)
	}
	if status, _, body := do(t, w.keyed(w.aliceKey), w.post(legacyCall, mark(ofAlice))); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	wrong := set("Authorization", "Bearer "+w.aliceKey[:len(w.aliceKey)-4]+"aaaa")
	throttled := func(c *http.Client, id string, mark func(string) func(*http.Request)) (n int) {
		for range 60 {
			switch status, _, body := do(t, c, w.post(legacyCall, wrong, mark(id))); status {
			case http.StatusUnauthorized:
			case http.StatusTooManyRequests:
				n++
			default:
				t.Fatalf("%d %s", status, body)
			}
			if got := w.audit.last(t); got.TraceID != id || got.Reason != "key-wrong" {
				t.Fatalf("the audit log has %+v", got)
			}
		}
		return n
	}
	c := w.client()
	if n := throttled(c, announced, mark); n > 0 {
		t.Errorf("%d attacks of the operator are throttled", n)
	}
	for name, want := range map[string]int{`bartizan_gate_verification_refusals_total`: 60, `bartizan_gate_authentication_failures_total{reason="key-wrong"}`: 0} {
		if got := w.metric(t, name); got != fmt.Sprint(want) {
			t.Errorf("%s is %s, want %d", name, got, want)
		}
	}
	// Those that the operator wants counted are throttled, as somebody's that share no address with anybody.
	counted := func(id string) func(*http.Request) {
		return set("Traceparent", "00-"+id+"-"+gateconfig.CountedSpan+"-00")
	}
	if n := throttled(c, announced, counted); n < 30 || n > 40 {
		t.Errorf("%d of 60 counted attacks of the operator are throttled", n)
	}
	if got := w.metric(t, `bartizan_gate_throttled_total{limit="failed-logins"}`); got != "" && got != "0" {
		t.Errorf("%s attacks of the operator are counted as somebody's", got)
	}
	if status, _, body := do(t, c, w.post(legacyCall, wrong, mark(madeUp))); status != http.StatusUnauthorized {
		t.Errorf("held against who shares the operator's address: %d %s", status, body)
	}
	for _, id := range []string{ofAlice, madeUp} {
		if throttled(w.client(), id, mark) == 0 {
			t.Errorf("attacks with the mark %s are not throttled", id)
		}
	}
	if got := w.metric(t, `bartizan_gate_authentication_failures_total{reason="key-wrong"}`); got != "121" {
		t.Errorf("%s failures are counted", got)
	}
}
