package gate_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/clientid"
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
	throttled := func(c *http.Client, id string) (n int) {
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
	if n := throttled(c, announced); n > 0 {
		t.Errorf("%d attacks of the operator are throttled", n)
	}
	for name, want := range map[string]int{`bartizan_gate_verification_refusals_total`: 60, `bartizan_gate_authentication_failures_total{reason="key-wrong"}`: 0} {
		if got := w.metric(t, name); got != fmt.Sprint(want) {
			t.Errorf("%s is %s, want %d", name, got, want)
		}
	}
	for _, id := range []string{ofAlice, madeUp} {
		if throttled(w.client(), id) == 0 {
			t.Errorf("attacks with the mark %s are not throttled", id)
		}
	}
	if got := w.metric(t, `bartizan_gate_authentication_failures_total{reason="key-wrong"}`); got != "120" {
		t.Errorf("%s failures are counted", got)
	}
}
