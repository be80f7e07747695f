package decision

import (
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

func TestServerRequests(t *testing.T) {
	table, err := Compile(policy.Policy{Rules: []policy.Rule{
		{ID: "p/0", Clients: []string{"a/bot"}, Tools: []string{"list"}},
		{ID: "p/1", Clients: []string{"a/asked"}, ServerRequests: []policy.ServerRequest{policy.Sampling, policy.ElicitationURL}, Hosts: []string{"login.example.com"}},
		{ID: "p/2", Clients: []string{"a/asked"}, ServerRequests: []policy.ServerRequest{policy.Roots}, NotAfter: now.Add(time.Hour)},
		{ID: "p/3", Clients: []string{"a/gone"}, ServerRequests: policy.ServerRequests(), Hosts: []string{"login.example.com"}, NotAfter: now},
	}})
	if err != nil {
		t.Fatal(err)
	}
	page := func(host string) ServerRequest { return ServerRequest{Kind: policy.ElicitationURL, Host: host} }
	for _, test := range []struct {
		client string
		asks   ServerRequest
		at     time.Duration
		rule   string
	}{
		{"a/asked", ServerRequest{Kind: policy.Sampling}, 0, "p/1"}, {"a/asked", page("login.example.com"), 0, "p/1"}, {"a/asked", ServerRequest{Kind: policy.Roots}, 0, "p/2"},
		{"a/asked", ServerRequest{Kind: policy.Roots}, time.Hour, ""}, {"a/asked", page("evil.example"), 0, ""}, {"a/asked", page(""), 0, ""},
		{"a/asked", ServerRequest{Kind: policy.ElicitationForm}, 0, ""}, {"a/asked", ServerRequest{}, 0, ""}, {"a/asked", ServerRequest{Kind: "sampling"}, 0, ""},
		{"a/bot", ServerRequest{Kind: policy.Sampling}, 0, ""}, {"a/bot", page("login.example.com"), 0, ""}, {"a/gone", ServerRequest{Kind: policy.Sampling}, 0, ""}, {"a/gone", page("login.example.com"), 0, ""},
		{"a/nobody", ServerRequest{Kind: policy.Sampling}, 0, ""},
	} {
		got := table.For(test.client).DecideServerRequest(test.asks, now.Add(test.at))
		if got.Allowed != (test.rule != "") || got.Rule != test.rule || (test.rule == "") != (got.Reason != "") {
			t.Errorf("%s %+v: %+v, want %q", test.client, test.asks, got, test.rule)
		}
	}
	for client, want := range map[string]bool{"a/asked": true, "a/bot": false, "a/gone": false, "a/nobody": false} {
		g := table.For(client)
		if g.MayBeAsked(now) != want || g.MayOpenPages(now) != want {
			t.Errorf("%s may be asked: %t, %t", client, g.MayBeAsked(now), g.MayOpenPages(now))
		}
	}
	// Who may be asked nothing brings no answers.
	brings := modernRequest("tools/call", tool("list"))
	brings.Brings = true
	if got := table.For("a/bot").Decide(brings, now, nil); got != (Decision{Reason: ReasonServerRequest}) {
		t.Errorf("answers that nobody asked for: %+v", got)
	}
}

// A task is judged by its tool, without a condition on arguments that its call had and without counting it again.
func TestTasks(t *testing.T) {
	table, err := Compile(policy.Policy{Forbidden: []string{"erase"}, Rules: []policy.Rule{
		{ID: "p/0", Clients: []string{"a/bot"}, Tools: []string{"slow", "erase"}, Expression: "arguments.n < 3", Rate: policy.Rate{Requests: 1, PerSeconds: 60}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		method, tool string
		want         Decision
	}{
		{"tasks/get", "slow", Decision{Allowed: true, Rule: "p/0"}}, {"tasks/cancel", "slow", Decision{Allowed: true, Rule: "p/0"}},
		{"tasks/get", "erase", deny(ReasonForbidden)}, {"tasks/get", "other", deny(ReasonTool)}, {"subscriptions/listen", "other", deny(ReasonTool)},
		{"subscriptions/listen", "slow", Decision{Allowed: true, Rule: "p/0"}}, {"tools/call", "slow", deny(ReasonExpression)},
	} {
		m := modernRequest(test.method, message.Target{Kind: message.Tool, Name: test.tool})
		if got := table.For("a/bot").Decide(m, now, nil); got != test.want {
			t.Errorf("%s of %s: %+v, want %+v", test.method, test.tool, got, test.want)
		}
	}
	if !table.For("a/bot").MayCall(now) || table.For("a/nobody").MayCall(now) {
		t.Error("who may call anything is not known")
	}
}
