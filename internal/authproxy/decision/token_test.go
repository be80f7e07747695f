package decision

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// person is a token of an issuer whose only claim is its subject.
type person struct{ issuer, subject string }

func (p person) Issuer() string { return p.issuer }

func (p person) Holds(c policy.Claim) bool {
	return slices.Equal(c.Path, []string{"sub"}) && slices.Contains(c.Values, p.subject)
}

func holders(issuer string, subjects ...string) []policy.TokenSubject {
	return []policy.TokenSubject{{Issuer: issuer, Claims: []policy.Claim{{Path: []string{"sub"}, Values: subjects}}}}
}

func peopleTable(t testing.TB) *Table {
	t.Helper()
	table, err := Compile(policy.Policy{Rules: []policy.Rule{
		{ID: "bots/0", Clients: []string{"a/bot"}, Tools: []string{"own"}},
		{ID: "people/0", Tokens: holders("corp", "alice", "bob"), Tools: []string{"read", "get_*"}, Resources: []string{"memo://x/**"}},
		{ID: "people/1", Tokens: holders("corp", "alice"), Tools: []string{"write*"}, Scopes: []string{"write"}, Methods: []string{"logging/setLevel"}},
		{ID: "people/2", Tokens: holders("corp", "alice"), Actors: []string{"a/bot"}, Tools: []string{"delegated"}},
		{ID: "people/3", Tokens: holders("other", "alice"), Tools: []string{"**"}},
		{ID: "people/4", Tokens: holders("corp", "alice"), Tools: []string{"**"}, NotAfter: now},
		{ID: "people/5", Tokens: holders("corp", "alice"), Tools: []string{"write_one"}, Scopes: []string{"one"}},
		{ID: "people/6", Tokens: holders("corp", "alice"), Resources: []string{"memo://**"}, Scopes: []string{"memo"}},
		{ID: "mixed/0", Clients: []string{"a/bot"}, Tokens: holders("corp", "bob"), Tools: []string{"shared"}},
		{ID: "gone/0", Tokens: holders("corp", "carol"), Tools: []string{"**"}, NotAfter: now},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// TestManyRules: a rule is told from the one that is 65,536 before it.
func TestManyRules(t *testing.T) {
	p := policy.Policy{}
	for i := range 1<<16 + 1 {
		who, tool := "nobody", "other"
		switch i {
		case 0:
			who, tool = "root", "erase"
		case 1 << 16:
			who, tool = "alice", "greet"
		}
		p.Rules = append(p.Rules, policy.Rule{ID: fmt.Sprint("p/", i), Tools: []string{tool}, Tokens: []policy.TokenSubject{{Issuer: "corp", Claims: []policy.Claim{{Path: []string{"sub"}, Values: []string{who}}}}}})
	}
	table, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	if g := table.Match(person{"corp", "alice"}, nil).For(""); g.MayTool("erase", now) || !g.MayTool("greet", now) {
		t.Errorf("erase: %v, greet: %v", g.MayTool("erase", now), g.MayTool("greet", now))
	}
}

func TestDecideForHolders(t *testing.T) {
	table := peopleTable(t)
	call := func(names ...string) *message.Message {
		var targets []message.Target
		for _, name := range names {
			targets = append(targets, tool(name))
		}
		return modernRequest("tools/call", targets...)
	}
	allowed := func(rule string) Decision { return Decision{Allowed: true, Rule: rule} }
	scopes := func(needed string) Decision { return Decision{Reason: ReasonScope, Scopes: needed} }
	alice, bob := person{"corp", "alice"}, person{"corp", "bob"}
	for _, test := range []struct {
		who    person
		scopes []string
		client string
		m      *message.Message
		want   Decision
	}{
		{alice, nil, "", call("read"), allowed("people/0")}, {bob, nil, "", call("get_x"), allowed("people/0")},
		{person{"other", "bob"}, nil, "", call("read"), deny(ReasonNoRule)}, {person{"corp", "mallory"}, []string{"write"}, "", call("read"), deny(ReasonNoRule)},
		{person{"other", "alice"}, nil, "", call("anything"), allowed("people/3")},
		{alice, nil, "", call("write"), scopes("write")}, {alice, []string{"read", "write", "z"}, "", call("write"), allowed("people/1")}, {alice, []string{"writes"}, "", call("write"), scopes("write")},
		{alice, nil, "", call("write_one"), scopes("one")}, {alice, []string{"write"}, "", call("write_one"), allowed("people/1")}, {alice, []string{"one"}, "", call("write_one"), allowed("people/5")},
		{alice, []string{"write"}, "", call("read", "write"), allowed("people/0")}, {alice, nil, "", call("read", "write", "write_one"), scopes("one write")}, {alice, nil, "", call("write", "nothing"), deny(ReasonTool)},
		{alice, nil, "", modernRequest("logging/setLevel"), scopes("write")}, {alice, []string{"write"}, "", modernRequest("logging/setLevel"), allowed("people/1")}, {bob, []string{"write"}, "", modernRequest("logging/setLevel"), deny(ReasonMethod)},
		{alice, nil, "", modernRequest("tools/list"), allowed("")},
		{alice, nil, "", modernRequest("resources/read", resource("memo://x/1")), allowed("people/0")}, {alice, nil, "", modernRequest("resources/read", resource("memo://y")), scopes("memo")},
		{alice, nil, "", modernRequest("completion/complete", template("memo://x/{a}")), allowed("people/0")}, {alice, nil, "", modernRequest("completion/complete", template("memo://y/{a}")), scopes("memo")}, {alice, []string{"memo"}, "", modernRequest("completion/complete", template("memo://y/{a}")), allowed("people/6")},
		{alice, nil, "", call("delegated"), deny(ReasonTool)}, {alice, nil, "a/bot", call("delegated"), allowed("people/2")}, {alice, nil, "a/other", call("delegated"), deny(ReasonTool)}, {bob, nil, "a/bot", call("delegated"), deny(ReasonTool)},
		{alice, nil, "", call("own"), deny(ReasonTool)}, {alice, nil, "a/bot", call("own"), allowed("bots/0")}, {person{"corp", "mallory"}, nil, "a/bot", call("own"), allowed("bots/0")}, {person{"corp", "mallory"}, nil, "a/bot", call("read"), deny(ReasonTool)},
		{bob, nil, "", call("shared"), allowed("mixed/0")}, {bob, nil, "a/bot", call("shared"), allowed("mixed/0")}, {alice, nil, "a/bot", call("shared"), allowed("mixed/0")}, {alice, nil, "", call("shared"), deny(ReasonTool)},
		{person{"corp", "carol"}, nil, "", call("read"), deny(ReasonExpired)},
	} {
		for range 2 { // the second time from memory
			if got := table.Match(test.who, test.scopes).For(test.client).Decide(test.m, now, nil); got != test.want {
				t.Errorf("%v %v %q %v: %+v, want %+v", test.who, test.scopes, test.client, test.m.Targets, got, test.want)
			}
		}
	}
	if got := table.For("a/bot").Decide(call("delegated"), now, nil); got != deny(ReasonTool) {
		t.Errorf("an actor alone: %+v", got)
	}
	if g := table.Match(alice, nil).For(""); !g.MayTool("write", now) || g.MayTool("delegated", now) {
		t.Error("listed is what more scopes allow, and nothing else")
	}
}

// TestManyHolders: more kinds of callers at once than are remembered are each judged by their own rules.
func TestManyHolders(t *testing.T) {
	var rules []policy.Rule
	for i := range 12 {
		rules = append(rules, policy.Rule{ID: fmt.Sprintf("r/%d", i), Tokens: holders("corp", "all"), Tools: []string{fmt.Sprintf("t%d", i)}, Scopes: []string{fmt.Sprintf("s%d", i)}})
	}
	table, err := Compile(policy.Policy{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for kind := worker; kind < 1<<12; kind += 4 {
				var has []string
				for i := range 12 {
					if kind&(1<<i) != 0 {
						has = append(has, fmt.Sprintf("s%d", i))
					}
				}
				g := table.Match(person{"corp", "all"}, has).For("")
				i := kind % 12
				if got := g.Decide(modernRequest("tools/call", tool(fmt.Sprintf("t%d", i))), time.Now(), nil).Allowed; got != (kind&(1<<i) != 0) {
					t.Errorf("with %v tool %d: %t", has, i, got)
				}
			}
		})
	}
	group.Wait()
	if n := len(table.memory.known); n == 0 || n > maxMemory {
		t.Errorf("%d kinds of callers are remembered", n)
	}
}
