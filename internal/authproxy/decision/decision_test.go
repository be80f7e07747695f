package decision

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

var now = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

func table(t testing.TB) *Table {
	t.Helper()
	compiled, err := Compile(policy.Policy{Rules: []policy.Rule{
		{ID: "read/0", Clients: []string{"a/bot", "a/other"}, Tools: []string{"get_*", "list"}, Prompts: []string{"greet"}, Resources: []string{"file:///pub/**", "db://x/*/rows", "memo://note"}},
		{ID: "read/1", Clients: []string{"a/bot"}, Tools: []string{"delete"}, Methods: []string{"logging/setLevel"}, NotAfter: now.Add(time.Hour)},
		{ID: "read/2", Clients: []string{"a/bot", "a/gone"}, Tools: []string{"drop"}, Resources: []string{"**"}, Methods: []string{"logging/setLevel"}, NotAfter: now},
		{ID: "read/3", Clients: []string{"a/bot", "a/bot"}, Tools: []string{"delete", "**"}, NotAfter: now.Add(-time.Hour)},
		{ID: "all/0", Clients: []string{"a/all"}, Tools: []string{"**"}, Prompts: []string{"**"}, Resources: []string{"**"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// modernRequest and legacyRequest make requests in either era.
func modernRequest(method string, targets ...message.Target) *message.Message {
	return &message.Message{Kind: message.Request, Method: method, Targets: targets, Revision: gateconfig.Revision20260728}
}

func legacyRequest(method string, targets ...message.Target) *message.Message {
	return &message.Message{Kind: message.Request, Method: method, Targets: targets}
}

func notification(method string) *message.Message {
	return &message.Message{Kind: message.Notification, Method: method}
}

func tool(name string) message.Target     { return message.Target{Kind: message.Tool, Name: name} }
func prompt(name string) message.Target   { return message.Target{Kind: message.Prompt, Name: name} }
func resource(uri string) message.Target  { return message.Target{Kind: message.Resource, Name: uri} }
func template(text string) message.Target { return message.Target{Kind: message.Template, Name: text} }

func TestDecide(t *testing.T) {
	allowed := func(rule string) Decision { return Decision{Allowed: true, Rule: rule} }
	for _, tc := range []struct {
		client string
		m      *message.Message
		want   Decision
	}{
		{"a/bot", modernRequest("tools/call", tool("list")), allowed("read/0")}, {"a/bot", modernRequest("tools/call", tool("get_pods")), allowed("read/0")}, {"a/bot", legacyRequest("tools/call", tool("delete")), allowed("read/1")},
		{"a/bot", modernRequest("tools/call", tool("get_a/b")), deny(ReasonTool)}, {"a/bot", modernRequest("tools/call", tool("Get_pods")), deny(ReasonTool)}, {"a/bot", modernRequest("tools/call", tool("forget_x")), deny(ReasonTool)}, {"a/bot", modernRequest("tools/call", tool("")), deny(ReasonTool)},
		{"a/bot", modernRequest("tools/call", tool("drop")), deny(ReasonTool)}, {"a/other", modernRequest("tools/call", tool("delete")), deny(ReasonTool)}, {"a/bot", modernRequest("tools/call", tool("greet")), deny(ReasonTool)}, {"a/bot", modernRequest("tools/call", tool("get_*")), allowed("read/0")},
		{"a/bot", modernRequest("prompts/get", prompt("greet")), allowed("read/0")}, {"a/bot", modernRequest("prompts/get", prompt("list")), deny(ReasonPrompt)},
		{"a/bot", modernRequest("resources/read", resource("file:///pub/a/b")), allowed("read/0")}, {"a/bot", modernRequest("resources/read", resource("memo://note")), allowed("read/0")}, {"a/bot", modernRequest("resources/read", resource("file:///etc/passwd")), deny(ReasonResource)},
		{"a/bot", modernRequest("resources/read", resource("file:///pub/../etc/passwd")), deny(ReasonURI)}, {"a/bot", modernRequest("resources/read", resource("file:///pub/%2e%2e/etc")), deny(ReasonURI)}, {"a/bot", modernRequest("resources/read", resource("file:///pub//etc")), deny(ReasonURI)}, {"a/all", modernRequest("resources/read", resource("file:///pub/..%2fetc")), deny(ReasonURI)}, {"a/all", modernRequest("resources/read", resource("https://a@b/")), deny(ReasonURI)}, {"a/all", modernRequest("resources/read", resource("/etc/passwd")), deny(ReasonURI)},
		{"a/bot", legacyRequest("resources/subscribe", resource("file:///pub/a")), allowed("read/0")}, {"a/bot", legacyRequest("resources/unsubscribe", resource("file:///a")), deny(ReasonResource)}, {"a/bot", modernRequest("resources/subscribe", resource("file:///pub/a")), deny(ReasonUnknownMethod)},
		{"a/bot", modernRequest("completion/complete", prompt("greet")), allowed("read/0")}, {"a/bot", modernRequest("completion/complete", resource("memo://note")), allowed("read/0")}, {"a/bot", modernRequest("completion/complete", template("db://x/{table}/rows")), allowed("read/0")},
		{"a/bot", modernRequest("completion/complete", template("file:///{+path}")), deny(ReasonResource)}, {"a/bot", modernRequest("completion/complete", template("file:///pub/{+path}")), allowed("read/0")}, {"a/bot", modernRequest("completion/complete", template("file:///pub/../{a}")), deny(ReasonURI)}, {"a/all", modernRequest("completion/complete", template("{+x}")), deny(ReasonURI)},
		{"a/bot", modernRequest("subscriptions/listen"), allowed("")}, {"a/bot", modernRequest("subscriptions/listen", resource("file:///pub/a"), resource("memo://note")), allowed("read/0")}, {"a/bot", modernRequest("subscriptions/listen", resource("file:///pub/a"), resource("file:///etc/a")), deny(ReasonResource)}, {"a/bot", legacyRequest("subscriptions/listen"), deny(ReasonUnknownMethod)},
		{"a/bot", modernRequest("tools/call"), deny(ReasonNoTarget)}, {"a/all", modernRequest("resources/read"), deny(ReasonNoTarget)}, {"a/all", modernRequest("tools/call", message.Target{Name: "x"}), deny(ReasonNoTarget)}, {"a/all", modernRequest("tools/call", message.Target{Kind: 99, Name: "x"}), deny(ReasonNoTarget)},
		{"a/bot", legacyRequest("logging/setLevel"), allowed("read/1")}, {"a/other", legacyRequest("logging/setLevel"), deny(ReasonMethod)}, {"a/all", legacyRequest("logging/setLevel"), deny(ReasonMethod)},
		{"a/bot", legacyRequest("initialize"), allowed("")}, {"a/bot", modernRequest("initialize"), deny(ReasonUnknownMethod)}, {"a/bot", legacyRequest("ping"), allowed("")}, {"a/bot", modernRequest("server/discover"), allowed("")},
		{"a/bot", modernRequest("tools/list"), allowed("")}, {"a/bot", modernRequest("prompts/list"), allowed("")}, {"a/bot", modernRequest("resources/list"), allowed("")}, {"a/bot", modernRequest("resources/templates/list"), allowed("")},
		{"a/bot", notification("notifications/initialized"), allowed("")}, {"a/bot", notification("notifications/cancelled"), allowed("")}, {"a/bot", notification("notifications/progress"), allowed("")}, {"a/bot", notification("notifications/roots/list_changed"), allowed("")},
		{"a/all", notification("notifications/tasks/status"), deny(ReasonUnknownMethod)}, {"a/all", modernRequest("tasks/get"), deny(ReasonNoTarget)}, {"a/all", modernRequest("tasks/list"), deny(ReasonUnknownMethod)}, {"a/all", modernRequest("tasks/result", tool("x")), deny(ReasonUnknownMethod)}, {"a/all", legacyRequest("tasks/update", tool("x")), deny(ReasonUnknownMethod)}, {"a/bot", legacyRequest("tasks/list"), allowed("")}, {"a/bot", modernRequest("tasks/get", tool("drop")), deny(ReasonTool)}, {"a/all", modernRequest("sampling/createMessage"), deny(ReasonUnknownMethod)}, {"a/all", modernRequest("tools/Call", tool("x")), deny(ReasonUnknownMethod)}, {"a/all", modernRequest(""), deny(ReasonUnknownMethod)}, {"a/all", modernRequest("x/y"), deny(ReasonUnknownMethod)},
		{"a/all", &message.Message{}, deny(ReasonUnknownMethod)}, {"a/all", &message.Message{Kind: 9, Method: "ping"}, deny(ReasonUnknownMethod)},
		{"a/bot", &message.Message{Kind: message.Response}, allowed("")}, {"a/bot", &message.Message{Kind: message.Response, Revision: gateconfig.Revision20260728}, deny(ReasonResponse)},
		{"a/gone", modernRequest("tools/list"), deny(ReasonExpired)}, {"a/gone", modernRequest("tools/call", tool("drop")), deny(ReasonExpired)}, {"a/gone", &message.Message{Kind: message.Response}, deny(ReasonExpired)},
		{"a/nobody", legacyRequest("ping"), deny(ReasonNoRule)}, {"", legacyRequest("ping"), deny(ReasonNoRule)}, {"b/bot", modernRequest("tools/call", tool("list")), deny(ReasonNoRule)}, {"a/Bot", modernRequest("tools/call", tool("list")), deny(ReasonNoRule)},
	} {
		if got := table(t).For(tc.client).Decide(tc.m, now, nil); got != tc.want {
			t.Errorf("%s %s %v: %+v, want %+v", tc.client, tc.m.Method, tc.m.Targets, got, tc.want)
		}
	}
}

// A rule ends at its instant, not after it; nothing needs to be told to the gate.
func TestExpiry(t *testing.T) {
	g := table(t).For("a/bot")
	end := now.Add(time.Hour)
	for at, want := range map[time.Time]bool{end.Add(-time.Nanosecond): true, end: false, end.Add(time.Nanosecond): false, end.In(time.FixedZone("x", 3600)): false} {
		if got := g.MayTool("delete", at); got != want {
			t.Errorf("%v: %v", at, got)
		}
	}
}

func TestMay(t *testing.T) {
	g := table(t).For("a/bot")
	for what, ok := range map[string]bool{
		"tool":                 g.MayTool("get_x", now),
		"prompt":               g.MayPrompt("greet", now),
		"resource":             g.MayResource("file:///pub/x", now),
		"template":             g.MayTemplate("file:///{+path}", now),
		"template of an exact": g.MayTemplate("memo://{name}", now),
		"not a tool":           !g.MayTool("drop", now),
		"not a prompt":         !g.MayPrompt("x", now),
		"not a resource":       !g.MayResource("file:///etc/x", now),
		"not a valid URI":      !g.MayResource("file:///pub/../x", now),
		"not a template":       !g.MayTemplate("db://y/{table}", now),
		"not a valid template": !g.MayTemplate("file:///pub/{", now),
	} {
		if !ok {
			t.Error(what)
		}
	}
	var nobody *Grants
	if nobody.MayTool("get_x", now) || nobody.MayPrompt("greet", now) || nobody.MayResource("memo://note", now) || nobody.MayTemplate("memo://{x}", now) || nobody.Live(now) {
		t.Error("nobody may something")
	}
	var none *Table
	if none.For("a/bot") != nil || (&Table{}).For("a/bot") != nil {
		t.Error("no table has grants")
	}
}

func TestCompileRefuses(t *testing.T) {
	good := policy.Rule{ID: "p/0", Clients: []string{"a/b"}, Tools: []string{"x"}}
	bad := policy.Rule{ID: "p/1", Clients: []string{"a/b"}, Resources: []string{"file:///a/../b"}}
	for want, p := range map[string]policy.Policy{
		"rules[1]: resources[0]":             {Rules: []policy.Rule{good, bad}},
		"rules[1]: id: \"p/0\" is the id of": {Rules: []policy.Rule{good, good}},
		"rules[0]: id: must be":              {Rules: []policy.Rule{{}}},
	} {
		if compiled, err := Compile(p); compiled != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if compiled, err := Compile(policy.Policy{}); err != nil || compiled.For("a/b") != nil {
		t.Errorf("no rules: %v", err)
	}
}

// What the operator may write and what the gate knows are the same methods.
func TestMethodsAgree(t *testing.T) {
	for _, name := range policy.Baseline() {
		if methods[name].judge != byBaseline || methods[name].era == 0 {
			t.Errorf("%s is not everyone's", name)
		}
	}
	for _, name := range policy.Methods() {
		if methods[name].judge != byMethod {
			t.Errorf("%s is not allowed by a rule's methods", name)
		}
	}
	if n := len(policy.Baseline()) + len(policy.Methods()) + 11; n != len(methods) {
		t.Errorf("%d methods, want %d", len(methods), n)
	}
}

func TestConcurrent(t *testing.T) {
	g := table(t).For("a/bot")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if !g.MayTool("get_x", now) || g.MayTool("x", now) || !g.MayTemplate("file:///{+x}", now) {
					t.Error("wrong")
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkDecide(b *testing.B) {
	var rules []policy.Rule
	for i := range 100 {
		rules = append(rules, policy.Rule{ID: fmt.Sprintf("p/%d", i), Clients: []string{"a/bot"}, Tools: []string{fmt.Sprintf("tool_%d", i), fmt.Sprintf("group%d_*", i)}, Resources: []string{fmt.Sprintf("file:///d%d/**", i)}})
	}
	compiled, err := Compile(policy.Policy{Rules: rules})
	if err != nil {
		b.Fatal(err)
	}
	g := compiled.For("a/bot")
	for name, m := range map[string]*message.Message{
		"exact":    modernRequest("tools/call", tool("tool_99")),
		"pattern":  modernRequest("tools/call", tool("group99_x")),
		"denied":   modernRequest("tools/call", tool("other")),
		"resource": modernRequest("resources/read", resource("file:///d99/a/b.txt")),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g.Decide(m, now, nil)
			}
		})
	}
}
