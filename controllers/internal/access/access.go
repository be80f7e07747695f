// Package access decides which MCPClients may use an MCPServer, and what each may do there: it turns MCPAccessPolicies and
// MCPClients into the policy, the clients and the authorities of a gate's configuration and into the peers of the network
// policy. Both sides must agree: the client names the server, and a policy beside the server names the client.
//
// The package is pure: equal input gives equal output, byte for byte, in whatever order the objects come.
package access

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// Input is what decides who may use one server.
type Input struct {
	Server *v1alpha1.MCPServer
	// Policies are the MCPAccessPolicies of the server's namespace; those of other namespaces are ignored.
	Policies []v1alpha1.MCPAccessPolicy
	// Clients are MCPClients; those that do not name the server are ignored.
	Clients []v1alpha1.MCPClient
	// Authorities are the certificates, in PEM, of the authorities that vouch for clients, by the clients' namespace.
	Authorities map[string]string
	// Now decides what has expired.
	Now time.Time
}

// Result is who may use the server: that part of a gate's configuration, and the peers beside it.
type Result struct {
	// Policy has rules only for clients that are in Clients.
	Policy policy.Policy
	// Clients are the clients that at least one rule is for, sorted by namespace and name, each with the keys that are
	// accepted from it.
	Clients []gateconfig.Client
	// Authorities are those of the namespaces of Clients, as far as the input has them.
	Authorities map[string]string
	// Peers are the pods of Clients, sorted like them, for the network policy.
	Peers []Peer
	// Problems are what was left out and why.
	Problems []Problem
	// Next is when the result changes by the clock alone, because a rule or a key expires; zero when it does not.
	Next time.Time
}

// Peer selects the pods of one client: those with the labels, in the client's namespace only.
type Peer struct {
	Namespace   string
	PodSelector metav1.LabelSelector
}

// Build decides who may use the server of the input.
func Build(in Input) Result {
	var r Result
	naming := map[string]*v1alpha1.MCPClient{}
	for i := range in.Clients {
		if c := &in.Clients[i]; Names(c, in.Server) {
			naming[key(c.Namespace, c.Name)] = c
		}
	}
	granted := map[string]*v1alpha1.MCPClient{}
	for _, p := range sorted(in.Policies) {
		if !Selects(p, in.Server) {
			continue
		}
		if problems := Validate(p); len(problems) > 0 {
			r.Problems = append(r.Problems, problems...)
			continue
		}
		for i := range p.Spec.Rules {
			rule := &p.Spec.Rules[i]
			if !r.live(notAfter(rule), in.Now) {
				continue
			}
			to, ok := r.addressees(rule, in.Server, naming, granted)
			if ok {
				r.Policy.Rules = append(r.Policy.Rules, compile(p, i, to))
			}
		}
	}
	r.addClients(granted, in)
	return r
}

// Written are the rules about the server as they are written, whoever they are for, without those that have ended; and what is wrong
// with policies, so that they do not count. Whether a client names the server, it does not ask.
func Written(server *v1alpha1.MCPServer, policies []v1alpha1.MCPAccessPolicy, now time.Time) (rules []policy.Rule, problems []Problem) {
	var r Result
	for _, p := range sorted(policies) {
		if !Selects(p, server) {
			continue
		}
		if wrong := Validate(p); len(wrong) > 0 {
			problems = append(problems, wrong...)
			continue
		}
		for i := range p.Spec.Rules {
			if r.live(notAfter(&p.Spec.Rules[i]), now) {
				rules = append(rules, compile(p, i, addressees{}))
			}
		}
	}
	return rules, problems
}

// live says whether something that ends at the time is still there, and remembers when it will not be.
func (r *Result) live(end, now time.Time) bool {
	if end.IsZero() {
		return true
	}
	if !now.Before(end) {
		return false
	}
	r.Next = earlier(r.Next, end)
	return true
}

// addressees are whom a rule is for at a server.
type addressees struct {
	clients, actors []string
	tokens          []policy.TokenSubject
}

// addressees finds whom a rule is for at the server, as far as they agreed or the server knows their issuer, and says
// whether that is anybody. The clients among them are granted something.
func (r *Result) addressees(rule *v1alpha1.AccessRule, server *v1alpha1.MCPServer, naming, granted map[string]*v1alpha1.MCPClient) (to addressees, ok bool) {
	for _, s := range rule.Subjects {
		if name := subjectKey(s); naming[name] != nil {
			to.clients = append(to.clients, name)
		} else if token, ok := tokenSubject(s, issuerOf(s, server)); ok {
			to.tokens = append(to.tokens, token)
		}
	}
	for _, actor := range rule.Actors {
		if name := key(actor.Namespace, actor.Name); naming[name] != nil {
			to.actors = append(to.actors, name)
		}
	}
	// A rule whose actors are all gone is for nobody: without actors it would be for everybody among its subjects.
	if len(to.clients)+len(to.tokens) == 0 || (len(rule.Actors) > 0 && len(to.actors) == 0) {
		return addressees{}, false
	}
	to.clients, to.actors = sortedSet(to.clients), sortedSet(to.actors)
	for _, name := range slices.Concat(to.clients, to.actors) {
		granted[name] = naming[name]
	}
	return to, true
}

func compile(p *v1alpha1.MCPAccessPolicy, index int, to addressees) policy.Rule {
	rule := &p.Spec.Rules[index]
	return policy.Rule{
		ID:        fmt.Sprintf("%s/%d", p.Name, index),
		Clients:   to.clients,
		Tokens:    to.tokens,
		Actors:    to.actors,
		Scopes:    sortedSet(rule.Scopes),
		Tools:     sortedSet(rule.Tools),
		Prompts:   sortedSet(rule.Prompts),
		Resources: sortedSet(rule.Resources),
		Methods:   sortedSet(rule.Methods),
		Hosts:     sortedSet(rule.ElicitationHosts),
		NotAfter:  notAfter(rule),

		ServerRequests: serverRequests(rule),
		Expression:     rule.Expression,
		Rate:           rate(rule),
	}
}

func serverRequests(rule *v1alpha1.AccessRule) []policy.ServerRequest {
	var out []policy.ServerRequest
	for _, kind := range rule.ServerRequests {
		out = append(out, policy.ServerRequest(kind))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// rate is zero for a rule without one. A time that is none makes a rate that policy.Validate refuses.
func rate(rule *v1alpha1.AccessRule) policy.Rate {
	if rule.Rate == nil {
		return policy.Rate{}
	}
	per, err := time.ParseDuration(cmp.Or(rule.Rate.Per, "1m"))
	if err != nil {
		per = 0
	}
	return policy.Rate{Requests: int(rule.Rate.Requests), PerSeconds: int(per / time.Second)}
}

// sortedSet keeps the output the same when somebody only reorders a set.
func sortedSet(set []string) []string {
	set = slices.Clone(set)
	slices.Sort(set)
	return slices.Compact(set)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
