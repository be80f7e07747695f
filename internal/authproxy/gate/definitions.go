package gate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/config"
	"github.com/bartizan-dev/bartizan/internal/authproxy/decision"
	"github.com/bartizan-dev/bartizan/internal/authproxy/listing"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/authproxy/surroundings"
	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// listingWait is how long a request waits for the listing of a server that has just begun.
const listingWait = 5 * time.Second

// mostUnapproved bounds what the status names of definitions that no pin names.
const mostUnapproved = 64

var (
	errQuarantined = &message.Error{Status: http.StatusForbidden, Code: codeDenied, Reason: "quarantined",
		Message: "What this names is not what was approved for this server, so nobody may use it. Its owner finds it in the MCPServer's status.tools, and approves it in spec.tools.pins."}
	errSchema = &message.Error{Status: http.StatusBadRequest, Code: message.CodeInvalidParams, Reason: "schema",
		Message: "The arguments are not what the tool's input schema says, or have numbers beyond 2^53, a member called __proto__, constructor or prototype, or a name that differs from another only in case or punctuation."}
	errNotListed = &message.Error{Status: http.StatusServiceUnavailable, Code: codeUnavailable, Reason: "not-listed",
		Message: "The gate does not know yet what the server offers. Try again soon."}
)

// newLister returns what lists the server of a gate.
func (g *Gate) newLister() *listing.Lister {
	return listing.NewLister(listing.Options{
		Server: func() (listing.Server, bool) {
			c, _ := g.store.Current()
			if c == nil {
				return listing.Server{}, false
			}
			return listing.Server{Address: g.address(c), Path: g.path(c), MinRevision: c.Upstream.MinRevision}, true
		},
		Process: process, Interval: g.options.ListInterval, Observe: g.listed,
	})
}

// process identifies what listens at an address of the server.
func process(address string) (string, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return surroundings.ProcessAt(address)
	}
	info, err := os.Stat(path) //nolint:gosec // a path of the configuration, and not of a request
	if err != nil {
		return "", surroundings.ErrNotListening
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", surroundings.ErrNotListening
	}
	return fmt.Sprintf("%d %d", stat.Ino, info.ModTime().UnixNano()), nil
}

// listed is told about each listing, or why there is none.
func (g *Gate) listed(listed *listing.Listed, err error) {
	problem := ""
	if err != nil {
		problem = problemOf(err)
	}
	g.metrics.Listed(problem)
	g.judgeDefinitions()
	switch c, _ := g.store.Current(); {
	case listed == nil && problem != string(listing.NotListening):
		g.say("the server could not be listed", "problem", problem)
	case listed != nil:
		unapproved := unapproved(c, listed)
		g.say("the server is listed", "definitions", len(listed.Items), "digest", listed.Digest, "unapproved", len(unapproved))
		for _, u := range unapproved[:min(len(unapproved), mostUnapproved)] {
			g.say("a definition of the server is not one that was approved", "kind", u.Kind, "name", u.Name, "sha256", u.SHA256, "reason", u.Reason, "pinning", c.Tools.Pinning)
		}
	}
}

// problemOf is one word of a closed list for an error of a listing.
func problemOf(err error) string {
	var problem listing.Problem
	var failure upstream.Failure
	switch {
	case errors.As(err, &problem):
		return string(problem)
	case errors.As(err, &failure):
		return string(failure)
	}
	return string(upstream.Broken)
}

// judgeDefinitions counts definitions anew, after a listing or a change of the pins.
func (g *Gate) judgeDefinitions() {
	c, _ := g.store.Current()
	listed, _ := g.lister.Current()
	if c == nil || listed == nil {
		return
	}
	type label struct{ kind, state string }
	counts := map[label]int{}
	for _, item := range listed.Items {
		if item.Kind.Pinnable() {
			counts[label{string(item.Kind), stateOf(c, listed, item)}]++
		}
	}
	g.metrics.Definitions(func(kind, state string) int { return counts[label{kind, state}] })
}

// stateOf is what became of a definition, for the metrics.
func stateOf(c *config.Generation, listed *listing.Listed, item inventory.Item) string {
	if c.Tools.Pinning == "" {
		return "unjudged"
	}
	if reason := listed.JudgeItem(c.Pins, item); reason != inventory.Approved {
		return strings.ToLower(string(reason))
	}
	return "approved"
}

// unapproved are the definitions of a listing that no pin names, or that cannot be used; none where pins are not looked at.
func unapproved(c *config.Generation, listed *listing.Listed) (all []gatestatus.Unapproved) {
	if c == nil || c.Tools.Pinning == "" {
		return nil
	}
	for _, item := range listed.Items {
		if reason := listed.JudgeItem(c.Pins, item); reason != inventory.Approved {
			all = append(all, gatestatus.Unapproved{Kind: item.Kind, Name: item.Name, SHA256: item.SHA256, Reason: reason})
		}
	}
	return all
}

// Tools is what the gate tells of its server's definitions; nil before the first attempt to list them.
func (g *Gate) Tools() *gatestatus.Tools {
	if g.options.ListInterval == 0 || !g.lister.Tried() {
		return nil
	}
	listed, err := g.lister.Current()
	t := &gatestatus.Tools{}
	if err != nil {
		t.Problem = problemOf(err)
	}
	if listed == nil {
		return t
	}
	c, _ := g.store.Current()
	t.Digest, t.ListedAt = listed.Digest, listed.At.UTC()
	all := unapproved(c, listed)
	t.Unapproved, t.UnapprovedCount = all[:min(len(all), mostUnapproved)], len(all)
	return t
}

// Inventory is all that the server offers; empty before the first listing.
func (g *Gate) Inventory() gatestatus.Inventory {
	listed, _ := g.lister.Current()
	if listed == nil {
		return gatestatus.Inventory{}
	}
	return gatestatus.Inventory{Digest: listed.Digest, Items: listed.Items}
}

// await returns the listing of the process that listens now, nil if there is none in time.
func (x *exchange) await() *listing.Listed {
	ctx, cancel := context.WithTimeout(x.r.Context(), listingWait)
	defer cancel()
	listed, err := x.gate.lister.Await(ctx, x.gate.address(x.config))
	if err != nil {
		return nil
	}
	return listed
}

// approve refuses what is about a definition that is in quarantine. Where pins are enforced nothing goes to a server process
// that the gate has not listed.
func (x *exchange) approve() *message.Error {
	grants, now := x.principal.Grants(x.config), x.record.Time
	if !x.config.Tools.Enforced() {
		return x.fits(grants)
	}
	if !grants.Live(now) {
		return nil // who may do nothing is about to be told that
	}
	if x.listed, _ = x.gate.lister.Current(); x.listed == nil {
		if x.listed = x.await(); x.listed == nil {
			return errNotListed
		}
	}
	m := x.subject()
	if m == nil {
		return nil
	}
	for _, target := range m.Targets {
		kind, may := inventory.Kind(""), false
		switch target.Kind {
		case message.Tool:
			kind, may = inventory.Tool, grants.MayTool(target.Name, now)
		case message.Prompt:
			kind, may = inventory.Prompt, grants.MayPrompt(target.Name, now)
		case message.Template:
			kind, may = inventory.Template, grants.MayTemplate(target.Name, now)
		}
		// Who has no right to it is told nothing but that.
		if may && x.listed.Judge(x.config.Pins, inventory.Key{Kind: kind, Name: target.Name}) != inventory.Approved {
			return errQuarantined
		}
	}
	return x.fits(grants)
}

// fits judges the arguments of a call by the schema of its tool before anything else does, where pins are enforced or where a
// condition of a rule is to judge them. Where neither is so they are the server's business, but for those that headers repeat.
func (x *exchange) fits(grants *decision.Grants) *message.Error {
	m := x.message
	if m == nil || m.Method != "tools/call" {
		return nil
	}
	tool := m.Targets[0].Name
	listed := x.listed
	if listed == nil {
		listed, _ = x.gate.lister.Current()
	}
	if listed == nil && message.HasParams(x.forward) && x.gate.options.ListInterval > 0 && grants.MayTool(tool, x.record.Time) {
		// What such a header has to say only the tool's definition tells.
		if listed = x.await(); listed == nil {
			return errNotListed
		}
	}
	var mirrors []message.Mirror
	if listed != nil && m.Modern() {
		mirrors = listed.Mirrors(tool)
	}
	judged := x.config.Tools.Enforced() || grants.Conditional()
	if !judged && mirrors == nil || !grants.MayTool(tool, x.record.Time) {
		return nil
	}
	if refusal := m.CheckMirrors(x.forward, mirrors); refusal != nil {
		// The caller may know a newer definition.
		x.gate.lister.Again()
		return refusal
	}
	if judged && listed != nil && !listed.Accepts(tool, m.Arguments) || x.config.Tools.Enforced() && !message.Plain(m.Arguments) {
		return errSchema
	}
	return nil
}

// call sends the request to the server: where pins are enforced to the process that was listed, and to no other. When another
// listens in its place, the request waits for the listing of that one, and is judged again.
func (x *exchange) call(ctx context.Context, request upstream.Request) (*upstream.Answer, error) {
	switch {
	case x.listed == nil && x.config.Tools.Enforced():
		return nil, errNotListed
	case x.listed == nil:
		return x.gate.client.Do(ctx, request)
	}
	answer, err := x.listed.Client.Do(ctx, request)
	if !errors.Is(err, upstream.Unlisted) {
		return answer, err
	}
	if x.await() == nil {
		return nil, errNotListed
	}
	if refusal := x.approve(); refusal != nil {
		return nil, refusal
	}
	if answer, err = x.listed.Client.Do(ctx, request); errors.Is(err, upstream.Unlisted) {
		return nil, errNotListed
	}
	return answer, err
}

// define cuts what the filter let through to definitions that are approved, and has the server listed again when it says that
// they have changed. A nil m stands for any request.
func (x *exchange) define(m *message.Message, c *config.Generation, filtered []byte) ([]byte, error) {
	if bytes.Contains(filtered, []byte("/list_changed\"")) {
		x.gate.lister.Again()
	}
	if !c.Tools.Enforced() || len(filtered) == 0 {
		return filtered, nil
	}
	if m != nil {
		switch m.Method {
		case "tools/list", "prompts/list", "resources/templates/list", "initialize", "server/discover":
		default:
			return filtered, nil
		}
	}
	listed, _ := x.gate.lister.Current()
	return listing.Cut(filtered, func(kind inventory.Kind, raw []byte) bool {
		item, err := inventory.NewItem(kind, raw)
		if err != nil || listed == nil {
			return false
		}
		if c.Pins.Judge(item) == inventory.Approved && listed.Judge(c.Pins, item.Key()) == inventory.Approved {
			return true
		}
		if !listed.Has(item) {
			// The server shows its clients what it has not shown the gate.
			x.gate.lister.Again()
		}
		return false
	})
}

// unlisted says whether pins are enforced and the gate has not even tried to list its server: whoever came now would wait. Once
// it was tried in vain the gate is ready all the same, and says why it refuses what it refuses.
func (g *Gate) unlisted() bool {
	c, _ := g.store.Current()
	return c != nil && c.Tools.Enforced() && g.options.ListInterval > 0 && !g.lister.Tried()
}

// refusedAs is how the audit log calls a refusal that is about definitions, or the arguments that they describe.
func refusedAs(e *message.Error) audit.Decision {
	switch {
	case e == errQuarantined:
		return audit.Denied
	case e.Status == http.StatusBadRequest:
		return audit.Refused
	}
	return audit.Failed
}
