package gate

import (
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/config"
	"github.com/bartizan-dev/bartizan/internal/authproxy/identity"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
)

// renew has what comes of an answer judged by the configuration in force, which it returns: an answer may come long after its
// request. It returns false when the caller is no longer who it was, or may no longer have what it asked for.
func (x *exchange) renew(now time.Time) (*config.Generation, bool) {
	g, _ := x.gate.store.Current()
	same := g == x.granted
	if !same {
		p, failure := identity.Authenticate(x.r, g, now, nil)
		if failure != "" || p.Name() != x.principal.Name() {
			return g, false
		}
		x.grants, x.granted = p.Grants(g), g
	}
	// A call that a rule allowed may end after the rule, but what would never end by itself may not.
	return g, same && !x.standing() || x.grants.Decide(judged(x.judged), now, nil).Allowed
}

// judged is what a verdict is about where it is about the session alone, too: GET and DELETE act on that, like the methods that
// every client with a live rule may use.
func judged(m *message.Message) *message.Message {
	if m == nil {
		return &message.Message{Kind: message.Request, Method: "ping"}
	}
	return m
}

// about is what the ids of the answer's events say that its stream is about, so that whoever goes on with it is judged for that:
// the kind of the target and its name; empty for what every client may have.
func (x *exchange) about() string {
	m := x.subject()
	if m == nil || len(m.Targets) != 1 {
		return ""
	}
	return string(rune('0'+m.Targets[0].Kind)) + m.Targets[0].Name
}

// goesOn has the request judged as one for the stream that the id of an event is about.
func (x *exchange) goesOn(about string) bool {
	if about == "" {
		return true
	}
	target := message.Target{Kind: message.TargetKind(about[0] - '0'), Name: about[1:]}
	// As with a task: the call was judged, with its arguments, when it was made. Its caller must still be allowed such calls.
	x.resumes = &message.Message{Kind: message.Request, Method: "tasks/get", Targets: []message.Target{target}}
	x.record.Targets = append(x.record.Targets, audit.Target{Kind: targetKinds[target.Kind], Name: target.Name})
	return targetKinds[target.Kind] != ""
}
