// Package accessreview answers what a client may do at a server, by the same compilation and the same decision that the operator and the gates
// use, from objects alone: before they are applied, or without asking a gate.
package accessreview

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/authproxy/decision"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/profile"
)

// Question is what a client asks for.
type Question struct {
	Server   *v1alpha1.MCPServer
	Policies []v1alpha1.MCPAccessPolicy
	Client   *v1alpha1.MCPClient
	// Floor is what the security profiles of the server's namespace ask for: gates obey the tools that they forbid, too.
	Floor profile.Floor
	// Method is an MCP method, such as tools/call; Target is the name or the URI that it is about.
	Method, Target string
	// Arguments are those of the call; nil for none.
	Arguments map[string]any
	Now       time.Time
}

// Answer is yes, with the rule, or no, with what to do about it.
type Answer struct {
	Allowed bool `json:"allowed"`
	// Rule is the MCPAccessPolicy and the index of its rule.
	Rule string `json:"rule,omitempty"`
	// Reason says why not, or by which rule.
	Reason string `json:"reason"`
	// Problems are what is wrong with policies, so that they do not count.
	Problems []string `json:"problems,omitempty"`
}

// reasons are the gate's, as sentences with the way out.
var reasons = map[string]string{
	decision.ReasonNoRule:        "no MCPAccessPolicy beside the server names the client: add a rule with it as a subject",
	decision.ReasonExpired:       "every rule that names the client has ended: set a later rules[].notAfter",
	decision.ReasonUnknownMethod: "the gate does not know the method",
	decision.ReasonMethod:        "no rule allows the method: name it in rules[].methods",
	decision.ReasonTool:          "no rule allows the tool: name it in rules[].tools",
	decision.ReasonPrompt:        "no rule allows the prompt: name it in rules[].prompts",
	decision.ReasonResource:      "no rule allows the resource: name its URI in rules[].resources",
	decision.ReasonForbidden:     "the server forbids the tool to everybody, in spec.tools.forbidden of the MCPServer",
	decision.ReasonExpression:    "rules allow the target, but their expression does not hold for these arguments",
	decision.ReasonArguments:     "a rule has an expression, and the arguments can be read in more than one way",
	decision.ReasonURI:           "the URI can be read in more than one way: leave out dot segments, empty segments, user and fragment",
	decision.ReasonNoTarget:      "the method needs a name or a URI",
}

// Review answers a question. An error means that it cannot be answered.
func Review(q Question) (Answer, error) {
	if !access.Names(q.Client, q.Server) {
		return Answer{Reason: fmt.Sprintf("MCPClient %s/%s does not name the server in spec.servers: the client's side of the consent is missing", q.Client.Namespace, q.Client.Name)}, nil
	}
	if missing := access.Missing(q.Client, q.Server); missing != "" {
		return Answer{Reason: missing}, nil
	}
	built := access.Build(access.Input{Server: q.Server, Policies: q.Policies, Clients: []v1alpha1.MCPClient{*q.Client}, Now: q.Now})
	answer := Answer{}
	for _, p := range built.Problems {
		answer.Problems = append(answer.Problems, p.String())
	}
	built.Policy.Forbidden = append(manifests.Forbidden(q.Server), q.Floor.ForbiddenTools()...)
	table, err := decision.Compile(built.Policy)
	if err != nil {
		return Answer{}, fmt.Errorf("the policies of %s cannot be compiled: %w", q.Server.Namespace, err)
	}
	m, err := ask(q)
	if err != nil {
		return Answer{}, err
	}
	verdict := table.For(q.Client.Namespace+"/"+q.Client.Name).Decide(m, q.Now, nil)
	answer.Allowed, answer.Rule = verdict.Allowed, verdict.Rule
	switch {
	case verdict.Allowed && verdict.Rule == "":
		answer.Reason = "every client that a rule names may do this"
	case verdict.Allowed:
		answer.Reason = "allowed by rule " + verdict.Rule
	case verdict.Reason == decision.ReasonForbidden:
		answer.Reason = reasons[verdict.Reason]
		if name, forbidden := q.Floor.Forbids(q.Target); forbidden {
			answer.Reason = fmt.Sprintf("MCPSecurityProfile %s forbids the tool to everybody, in spec.tools.forbidden: ask who owns the profile", name)
		}
	case reasons[verdict.Reason] != "":
		answer.Reason = reasons[verdict.Reason]
	default:
		answer.Reason = "the gate refuses it: " + verdict.Reason
	}
	return answer, nil
}

// ask is the question as a gate would read it from a client.
func ask(q Question) (*message.Message, error) {
	member := map[string]string{"tools/call": "name", "prompts/get": "name", "resources/read": "uri", "resources/subscribe": "uri", "resources/unsubscribe": "uri"}[q.Method]
	params := map[string]any{}
	if member != "" {
		params[member] = q.Target
	} else if q.Target != "" {
		return nil, fmt.Errorf("the method %s is about no name and no URI", q.Method)
	}
	if q.Arguments != nil {
		params["arguments"] = q.Arguments
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": q.Method, "params": params})
	if err != nil {
		return nil, err
	}
	m, problem := message.Read(body, gateconfig.Limits{RequestBytes: 1 << 20, Depth: 64})
	if problem != nil {
		return nil, fmt.Errorf("a gate would refuse the question itself: %w", problem)
	}
	return &m, nil
}
