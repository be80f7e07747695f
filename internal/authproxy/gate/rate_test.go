package gate_test

import (
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// seconds is what Retry-After says.
func seconds(t *testing.T, h http.Header) int {
	t.Helper()
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil {
		t.Errorf("Retry-After: %v", err)
	}
	return n
}

// TestClientRate: a client that asks too often is told so, and no other one is.
func TestClientRate(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address(), (*world).withBob, func(w *world) { w.config.Limits.PerClient = gateconfig.ClientRate{RPS: 1, Burst: 5} })
	alice := w.keyed(w.aliceKey)
	passed, refused := 0, 0
	for range 40 {
		status, header, body := do(t, alice, w.post(legacyCall))
		switch status {
		case http.StatusOK:
			passed++
		case http.StatusTooManyRequests:
			refused++
			// More of the same than ten are counted and not written.
			if r := w.audit.last(t); seconds(t, header) != 1 || !strings.Contains(body, "-31429") || refused <= 10 && (r.Decision != audit.Refused || r.Reason != "client-rate" || r.Client != "agents/alice") {
				t.Errorf("%v %s %+v", header, body, r)
			}
		default:
			t.Fatalf("%d %s", status, body)
		}
	}
	if passed < 5 || refused == 0 || len(upstream.seen()) != passed {
		t.Errorf("%d passed, %d were refused, the server had %d", passed, refused, len(upstream.seen()))
	}
	if status, _, _ := do(t, w.keyed(w.bobKey), w.post(legacyCall)); status != http.StatusOK {
		t.Errorf("another client: %d", status)
	}
}

// TestRuleRate: the rate of a rule bounds what the rule allows, and nothing else of the client.
func TestRuleRate(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address(), func(w *world) {
		w.config.Policy.Rules = []policy.Rule{
			{ID: "friends/0", Clients: []string{"agents/alice"}, Tools: []string{"greet"}, Rate: policy.Rate{Requests: 2, PerSeconds: 3600}},
			{ID: "friends/1", Clients: []string{"agents/alice"}, Tools: []string{"slow"}, Expression: `arguments.n < 3`},
		}
		w.config.Policy.Forbidden = []string{"*exec*"}
	})
	alice := w.keyed(w.aliceKey)
	call := func(name, arguments string) (int, http.Header, string) {
		return do(t, alice, w.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+name+`","arguments":`+arguments+`}}`))
	}
	for range 2 {
		if status, _, body := call("greet", "{}"); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
	}
	status, header, _ := call("greet", "{}")
	if r := w.audit.last(t); status != http.StatusTooManyRequests || seconds(t, header) < 1700 || r.Decision != audit.Denied || r.Reason != "rate" {
		t.Errorf("%d %v %+v", status, header, r)
	}
	for _, tc := range []struct {
		name, arguments string
		status          int
		reason          string
	}{
		{"slow", `{"n":2}`, 200, ""}, {"slow", `{"n":3}`, 403, "expression"}, {"slow", `{"n":"2"}`, 403, "expression"}, {"slow", `{}`, 403, "expression"},
		{"slow", `{"n":2,"__proto__":{}}`, 403, "arguments"}, {"slow", `{"n":-9007199254740993}`, 403, "arguments"},
		{"slow", `{"n":2,"N":9}`, 403, "arguments"}, {"slow", `{"N":9,"n":2}`, 403, "arguments"}, {"Exec", `{}`, 403, "forbidden"},
	} {
		before := len(upstream.seen())
		status, _, body := call(tc.name, tc.arguments)
		passed := len(upstream.seen()) - before
		if r := w.audit.last(t); status != tc.status || r.Reason != tc.reason || (passed == 1) != (tc.status == 200) {
			t.Errorf("%s %s: %d %s, %d requests to the server, %+v", tc.name, tc.arguments, status, body, passed, r)
		}
	}
}

// TestToolRate: each caller has so many calls of each tool, in every revision, whatever other rates allow; a call that is refused for
// it counts for no other, and one that another rate or the policy refuses does not count for it.
func TestToolRate(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address(), (*world).withBob, func(w *world) {
		w.config.Limits.PerTool = gateconfig.ClientRate{RPS: 1, Burst: 3}
		w.config.Policy.Rules[0].Rate = policy.Rate{Requests: 60, PerSeconds: 24 * 3600}
		w.config.Policy.Rules = append(w.config.Policy.Rules, policy.Rule{ID: "friends/2", Clients: []string{"agents/alice"}, Tools: []string{"any-*"}, Prompts: []string{"*"}, Resources: []string{"file:///**"}})
	})
	alice, bob := w.keyed(w.aliceKey), w.keyed(w.bobKey)
	passed, refused := 0, 0
	for i := range 80 {
		r := w.modern()
		if i%2 == 1 {
			r = w.post(legacyCall)
		}
		status, header, body := do(t, alice, r)
		switch status {
		case http.StatusOK:
			passed++
		case http.StatusTooManyRequests:
			refused++
			if r := w.audit.last(t); seconds(t, header) != 1 || !strings.Contains(body, "-31429") || refused <= 10 && (r.Decision != audit.Refused || r.Reason != "tool-rate" || r.Rule != "" || len(r.Targets) != 1) {
				t.Errorf("%v %s %+v", header, body, r)
			}
		default:
			t.Fatalf("%d %s", status, body)
		}
	}
	if passed < 3 || refused == 0 || len(upstream.seen()) != passed {
		t.Errorf("%d passed, %d were refused, the server had %d", passed, refused, len(upstream.seen()))
	}
	if got := w.metric(t, `bartizan_gate_throttled_total{limit="tool"}`); got != strconv.Itoa(refused) {
		t.Errorf("%s are counted of %d", got, refused)
	}
	// The rule allows 60 in a day. What was refused has not counted for it.
	if status, _, body := do(t, alice, w.post(strings.Replace(legacyCall, "greet", "slow", 1))); status != http.StatusOK {
		t.Errorf("another tool: %d %s", status, body)
	}
	if status, _, body := do(t, bob, w.post(legacyCall)); status != http.StatusOK {
		t.Errorf("another client: %d %s", status, body)
	}
	// Neither what may not be called nor what is no call of a tool has a rate.
	for range 10 {
		for request, want := range map[*http.Request]int{
			w.post(strings.Replace(legacyCall, "greet", "erase", 1)): 403,
			w.post(legacyList): 200,
			w.post(`{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"a"}}`):              200,
			w.post(`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a"}}`):    200,
			w.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`):      202,
			w.post(strings.Replace(legacyCall, "greet", "any-"+strings.Repeat("x", rand.IntN(1<<9)), 1)): 200,
		} {
			if status, _, body := do(t, alice, request); status != want {
				t.Errorf("%d; want %d: %s", status, want, body)
			}
		}
	}
}

// TestFailedLogins: who guesses is slowed down, and whoever has a valid credential is not, from the same address and on the
// same connection.
func TestFailedLogins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newRecorder(t, result).address())
	c := w.client()
	bearer := func(key string) func(*http.Request) { return set("Authorization", "Bearer "+key) }
	wrong := w.aliceKey[:len(w.aliceKey)-4] + "aaaa"
	unauthenticated, throttled := 0, 0
	for i := range 100 {
		status, header, body := do(t, c, w.post(legacyCall, bearer(wrong)))
		switch status {
		case http.StatusUnauthorized:
			unauthenticated++
		case http.StatusTooManyRequests:
			throttled++
			if seconds(t, header) < 1 || !strings.Contains(body, "Too many credentials") {
				t.Errorf("%v %s", header, body)
			}
		default:
			t.Fatalf("%d %s", status, body)
		}
		if i%10 == 0 {
			if status, _, body := do(t, c, w.post(legacyCall, bearer(w.aliceKey))); status != http.StatusOK {
				t.Fatalf("a valid key after %d others: %d %s", i, status, body)
			}
			if status, _, _ := do(t, c, w.post(legacyCall)); status != http.StatusUnauthorized {
				t.Fatalf("no credential at all: %d", status)
			}
		}
	}
	if unauthenticated < 20 || throttled == 0 {
		t.Errorf("%d are told what is wrong, %d are throttled", unauthenticated, throttled)
	}
	if status, _, _ := do(t, w.client(), w.post(legacyCall, bearer(wrong))); status != http.StatusUnauthorized {
		t.Errorf("from another address: %d", status)
	}
}

// TestForgedTokens: whose tokens are refused too often has no more signatures checked on that connection, and the others of
// the same address, with tokens that the gate has never seen, are served.
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w, issuer := withTokens(t, upstream.address())
	stranger := gatetest.NewIssuer(t, issuerURL)
	address := &net.TCPAddr{IP: net.IPv4(127, 200, 0, 1)}
	same := func() *http.Client {
		c := w.client()
		c.Transport.(withHost).next.(*http.Transport).DialContext = (&net.Dialer{LocalAddr: address}).DialContext
		return c
	}
	fresh := func(id int) func(*http.Request) {
		return bearer(issuer.Token(t, gateconfig.EdDSA, gatetest.Claims{"jti": strconv.Itoa(id)}))
	}
	attacker, known := same(), fresh(0)
	if status, _, body := do(t, attacker, w.post(legacyCall, known)); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	unchecked := func() bool {
		status, header, _ := do(t, attacker, w.post(legacyCall, bearer(stranger.Token(t, gateconfig.EdDSA, nil))))
		if status != http.StatusUnauthorized && (status != http.StatusTooManyRequests || seconds(t, header) < 1) {
			t.Fatalf("a forged token: %d", status)
		}
		return w.audit.last(t).Reason == "token-unchecked"
	}
	checked := 0
	for ; !unchecked(); checked++ {
		if checked > 2000 {
			t.Fatal("a forger has signatures checked without an end")
		}
		if checked%7 == 0 {
			if status, _, body := do(t, same(), w.post(legacyCall, fresh(1+checked))); status != http.StatusOK {
				t.Fatalf("another caller of that address, after %d forged tokens: %d %s", checked, status, body)
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d signatures were checked", checked)
	}
	for range 30 {
		unchecked()
	}
	if status, _, body := do(t, same(), w.post(legacyCall, fresh(-1))); status != http.StatusOK {
		t.Errorf("another caller of that address: %d %s", status, body)
	}
	if status, _, body := do(t, attacker, w.post(legacyCall, known)); status != http.StatusOK {
		t.Errorf("a token that is known: %d %s", status, body)
	}
}
