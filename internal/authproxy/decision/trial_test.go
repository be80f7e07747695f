package decision

import (
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/limit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

func calls(t testing.TB, tool, arguments string) *message.Message {
	t.Helper()
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `"` + arguments + `}}`
	m, refusal := message.Read([]byte(body), gateconfig.Limits{RequestBytes: 1 << 16, Depth: 64})
	if refusal != nil {
		t.Fatalf("%s: %v", body, refusal)
	}
	return &m
}

func grantsOf(t testing.TB, p policy.Policy) *Grants {
	t.Helper()
	for i := range p.Rules {
		p.Rules[i].Clients = []string{"a/bot"}
	}
	compiled, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return compiled.For("a/bot")
}

// TestExpressions: a condition that is not true, for whatever reason, allows nothing.
func TestExpressions(t *testing.T) {
	g := grantsOf(t, policy.Policy{Rules: []policy.Rule{
		{ID: "p/0", Tools: []string{"get"}, Expression: `arguments.namespace == "demo" && arguments.limit <= 100`},
		{ID: "p/1", Tools: []string{"ge*"}, Prompts: []string{"*"}, Expression: `name == "gem" || arguments.?admin.orValue(false) == true`},
		{ID: "p/2", Tools: []string{"slow"}, Expression: `arguments.a.all(x, arguments.a.all(y, arguments.a.all(z, x + y + z >= 0)))`},
		{ID: "p/3", Tools: []string{"once"}, Expression: `arguments.path.startsWith("/pub/") && !arguments.path.contains("..")`},
	}})
	long := `,"arguments":{"a":[1`
	for range 300 {
		long += ",1"
	}
	long += "]}"
	for _, tc := range []struct{ tool, arguments, rule, reason string }{
		{"get", `,"arguments":{"namespace":"demo","limit":100}`, "p/0", ""},
		{"get", `,"arguments":{"namespace":"demo","limit":99.5}`, "p/0", ""},
		{"get", `,"arguments":{"namespace":"demo","limit":1e2}`, "p/0", ""},
		{"get", `,"arguments":{"namespace":"d\u0065mo","limit":-1}`, "p/0", ""},
		{"get", `,"arguments":{"namespace":"demo","limit":101}`, "", ReasonExpression},
		{"get", `,"arguments":{"namespace":"demo","limit":"1"}`, "", ReasonExpression},
		{"get", `,"arguments":{"namespace":"demo","limit":null}`, "", ReasonExpression},
		{"get", `,"arguments":{"namespace":["demo"],"limit":1}`, "", ReasonExpression},
		{"get", `,"arguments":{"namespace":"demo"}`, "", ReasonExpression},
		{"get", `,"arguments":{}`, "", ReasonExpression},
		{"get", ``, "", ReasonExpression},
		{"get", `,"arguments":{"admin":true}`, "p/1", ""},
		{"gem", ``, "p/1", ""},
		{"get", `,"arguments":{"admin":"true"}`, "", ReasonExpression},
		{"get", `,"arguments":{"namespace":"demo","limit":9007199254740993}`, "", ReasonArguments},
		{"get", `,"arguments":{"namespace":"demo","limit":-9007199254740993}`, "", ReasonArguments},
		{"get", `,"arguments":{"namespace":"demo","limit":1,"x":1e400}`, "", ReasonArguments},
		{"get", `,"arguments":{"namespace":"demo","limit":1,"__proto__":{"admin":true}}`, "", ReasonArguments},
		{"get", `,"arguments":{"namespace":"demo","limit":1,"a":[{"const\u0072uctor":1}]}`, "", ReasonArguments},
		{"slow", `,"arguments":{"a":[1,2]}`, "p/2", ""},
		{"slow", long, "", ReasonExpression},
		{"once", `,"arguments":{"path":"/pub/a"}`, "p/3", ""},
		{"once", `,"arguments":{"path":"/pub/../etc"}`, "", ReasonExpression},
		{"once", `,"arguments":{"path":"/pub/a","Path":"/etc/shadow"}`, "", ReasonArguments},
		{"once", `,"arguments":{"PATH":"/etc/shadow","p\u0061th":"/pub/a"}`, "", ReasonArguments},
		{"once", `,"arguments":{"path":"/pub/a","to":{"k":1,"\u212a":2}}`, "", ReasonArguments},
		{"get", `,"arguments":{"Admin":true}`, "", ReasonExpression},
		{"gem", `,"arguments":{"Admin":true}`, "", ReasonExpression},
		{"other", `,"arguments":{"__proto__":1}`, "", ReasonTool},
	} {
		if got := g.Decide(calls(t, tc.tool, tc.arguments), now, nil); got.Rule != tc.rule || got.Reason != tc.reason || got.Allowed != (tc.reason == "") {
			t.Errorf("%s %.80s: %+v, want %s%s", tc.tool, tc.arguments, got, tc.rule, tc.reason)
		}
	}
	if !g.MayTool("get", now) || g.MayTool("other", now) {
		t.Error("lists have what some call may be allowed")
	}
	if start := time.Now(); g.Decide(calls(t, "slow", long), now, nil).Allowed || time.Since(start) > 10*time.Second {
		t.Errorf("the cost of a condition is not bounded: %s", time.Since(start))
	}
}

// TestForbidden: what is forbidden no rule allows, and no list has it.
func TestForbidden(t *testing.T) {
	g := grantsOf(t, policy.Policy{Forbidden: []string{"*exec*"}, Rules: []policy.Rule{{ID: "p/0", Tools: []string{"**", "pods_exec"}, Prompts: []string{"exec"}}}})
	for _, name := range []string{"pods_exec", "POD_EXEC", "ехес"} {
		if got := g.Decide(calls(t, name, ""), now, nil); got.Allowed || got.Reason != ReasonForbidden || g.MayTool(name, now) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if !g.Decide(calls(t, "list", ""), now, nil).Allowed || !g.MayTool("list", now) || !g.MayPrompt("exec", now) {
		t.Error("too much is forbidden")
	}
}

// meter has a bucket for each rule.
type meter struct {
	rates *limit.Rates[string]
	now   time.Time
}

func (m *meter) Take(rule string, rate limit.Rate) time.Duration {
	return m.rates.Take(rule, rate, m.now)
}

// TestRuleRates: a rule's rate is its own; another rule may still allow the call; only calls that are allowed count.
func TestRuleRates(t *testing.T) {
	g := grantsOf(t, policy.Policy{Rules: []policy.Rule{
		{ID: "p/0", Tools: []string{"get"}, Rate: policy.Rate{Requests: 2, PerSeconds: 60}, Expression: `arguments.?a.orValue(0) == 0`},
		{ID: "p/1", Tools: []string{"g*"}, Rate: policy.Rate{Requests: 1, PerSeconds: 10}},
		{ID: "p/2", Methods: []string{"logging/setLevel"}, Rate: policy.Rate{Requests: 1, PerSeconds: 5}},
	}})
	m := &meter{limit.NewRates[string](), now}
	for i, want := range []string{"p/0", "p/0", "p/1", ""} {
		if got := g.Decide(calls(t, "get", ""), now, m); got.Rule != want {
			t.Errorf("call %d: %+v, want %s", i, got, want)
		}
	}
	if got := g.Decide(calls(t, "get", ""), now, m); got.Allowed || got.Reason != ReasonRate || got.Wait != 10*time.Second {
		t.Errorf("beyond the rates: %+v", got)
	}
	if got := g.Decide(calls(t, "get", ""), now, nil); !got.Allowed {
		t.Errorf("without a meter: %+v", got)
	}
	m.now = now.Add(10 * time.Second)
	if got := g.Decide(calls(t, "get", `,"arguments":{"a":1}`), m.now, m); got.Rule != "p/1" {
		t.Errorf("later: %+v", got)
	}
	set := &message.Message{Kind: message.Request, Method: "logging/setLevel"}
	if a, b := g.Decide(set, m.now, m), g.Decide(set, m.now, m); !a.Allowed || b.Reason != ReasonRate || b.Wait != 5*time.Second {
		t.Errorf("a method: %+v, %+v", a, b)
	}
}

func TestConditionsTakeNoAllocationWithoutOne(t *testing.T) {
	g := grantsOf(t, policy.Policy{Rules: []policy.Rule{{ID: "p/0", Tools: []string{"get"}, Rate: policy.Rate{Requests: 1000000, PerSeconds: 1}}}})
	m, rates := calls(t, "get", `,"arguments":{"a":1}`), &meter{limit.NewRates[string](), now}
	if n := testing.AllocsPerRun(1000, func() { g.Decide(m, now, rates) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkExpression(b *testing.B) {
	g := grantsOf(b, policy.Policy{Rules: []policy.Rule{{ID: "p/0", Tools: []string{"get"}, Expression: `arguments.namespace == "demo" && arguments.limit <= 100`}}})
	m := calls(b, "get", `,"arguments":{"namespace":"demo","limit":100}`)
	b.ReportAllocs()
	for b.Loop() {
		if !g.Decide(m, now, nil).Allowed {
			b.Fatal("denied")
		}
	}
}
