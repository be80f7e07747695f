// Package policy is the compiled access policy: the operator writes it from MCPAccessPolicy objects, the gate evaluates
// it. It only ever allows: what no rule names is denied.
package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Policy is the rules of one server, in the order of their ids.
type Policy struct {
	Rules []Rule `json:"rules,omitempty"`
	// Forbidden are patterns over the names of tools that nobody may call, whatever the rules say, see Forbid.
	Forbidden []string `json:"forbidden,omitempty"`
}

// Rule allows its subjects its targets until NotAfter.
type Rule struct {
	// ID names where the rule was written, "<policy>/<index>", for the audit log.
	ID string `json:"id"`
	// Clients are the MCPClients that the rule is for, as "<namespace>/<name>".
	Clients []string `json:"clients,omitempty"`
	// Tokens are the holders of tokens that the rule is for, beside Clients.
	Tokens []TokenSubject `json:"tokens,omitempty"`
	// Actors are the MCPClients one of which must show its certificate beside the token; empty demands none.
	Actors []string `json:"actors,omitempty"`
	// Scopes are those that the token must have for what the rule allows.
	Scopes []string `json:"scopes,omitempty"`
	// Tools and Prompts are patterns over names, see Name; Resources are patterns over URIs, see URI.
	Tools     []string `json:"tools,omitempty"`
	Prompts   []string `json:"prompts,omitempty"`
	Resources []string `json:"resources,omitempty"`
	// Methods are further methods that have no target of their own, see Methods.
	Methods []string `json:"methods,omitempty"`
	// ServerRequests are what the server may ask of the subjects, see ServerRequests; Hosts are the hosts of the web pages that
	// it may send their users to, see NewHosts.
	ServerRequests []ServerRequest `json:"serverRequests,omitempty"`
	Hosts          []string        `json:"hosts,omitempty"`
	// Expression is a condition on the call, in CEL, see NewExpression; empty for none.
	Expression string `json:"expression,omitempty"`
	// Rate bounds how often each subject may use the rule; zero for no bound.
	Rate Rate `json:"rate,omitzero"`
	// NotAfter ends the rule; zero means that it does not end.
	NotAfter time.Time `json:"notAfter,omitzero"`
}

// Rate is so many requests at once, and so many more in each so many seconds.
type Rate struct {
	Requests   int `json:"requests"`
	PerSeconds int `json:"perSeconds"`
}

// maxPerSeconds is the longest time that a Rate is about: a day.
const maxPerSeconds = 24 * 60 * 60

// maxID bounds the id of a rule, in bytes: it is repeated in every line of the audit log.
const maxID = 512

// Methods are the methods that a rule's Methods may name: those without a target that are not everyone's.
func Methods() []string { return []string{"logging/setLevel"} }

// Baseline are the methods that every client with a live rule for the server may use. What lists return is cut to what
// the client may use. Naming them in a rule changes nothing.
func Baseline() []string {
	return []string{
		"initialize", "ping", "server/discover",
		"tools/list", "prompts/list", "resources/list", "resources/templates/list", "tasks/list",
		"notifications/initialized", "notifications/cancelled", "notifications/progress", "notifications/roots/list_changed",
	}
}

// targeted are the methods that a target decides about, with the field of the rule that allows it.
var targeted = map[string]string{
	"tools/call":            "tools",
	"prompts/get":           "prompts",
	"resources/read":        "resources",
	"resources/subscribe":   "resources",
	"resources/unsubscribe": "resources",
	"subscriptions/listen":  "resources",
	"completion/complete":   "prompts or resources",
	"tasks/get":             "tools",
	"tasks/result":          "tools",
	"tasks/update":          "tools",
	"tasks/cancel":          "tools",
}

// Validate checks a rule. Its errors name the field, what is wrong with it, and what to write instead.
func Validate(r Rule) error {
	var errs []error
	if r.ID == "" || len(r.ID) > maxID || !printable(r.ID) {
		errs = append(errs, fmt.Errorf("id: must be 1 to %d bytes of printable ASCII", maxID))
	}
	if len(r.Clients)+len(r.Tokens) == 0 {
		errs = append(errs, errors.New("clients, tokens: at least one of them must say whom the rule is for"))
	}
	clients := func(field string, names []string) {
		for i, client := range names {
			namespace, name, ok := strings.Cut(client, "/")
			if !ok || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Label(name)) > 0 {
				errs = append(errs, fmt.Errorf(`%s[%d]: %q is not "<namespace>/<name>" of an MCPClient`, field, i, client))
			}
		}
	}
	clients("clients", r.Clients)
	clients("actors", r.Actors)
	errs = append(errs, validateTokens(r)...)
	if len(r.Tools)+len(r.Prompts)+len(r.Resources)+len(r.Methods)+len(r.ServerRequests) == 0 {
		errs = append(errs, errors.New("tools, prompts, resources, methods, serverRequests: at least one of them must say what is allowed"))
	}
	errs = append(errs, validateServerRequests(r)...)
	check := func(field string, patterns []string, compile func(string) (Pattern, error)) {
		for i, pattern := range patterns {
			if _, err := compile(pattern); err != nil {
				errs = append(errs, fmt.Errorf("%s[%d]: %q %w", field, i, pattern, err))
			}
		}
	}
	check("tools", r.Tools, Name)
	check("prompts", r.Prompts, Name)
	check("resources", r.Resources, URI)
	if r.Expression != "" {
		if _, err := NewExpression(r.Expression); err != nil {
			errs = append(errs, fmt.Errorf("expression: %w", err))
		}
		if len(r.Methods) > 0 {
			errs = append(errs, errors.New("expression: it is about calls of tools, prompts and resources: put methods into a rule of their own"))
		}
	}
	if r.Rate != (Rate{}) && (r.Rate.Requests < 1 || r.Rate.PerSeconds < 1 || r.Rate.PerSeconds > maxPerSeconds) {
		errs = append(errs, errors.New("rate: must be at least one request, in 1 second to 24 hours"))
	}
	for i, method := range r.Methods {
		if field, ok := targeted[method]; ok {
			errs = append(errs, fmt.Errorf("methods[%d]: %q is allowed by its target: name that in %s", i, method, field))
		} else if !slices.Contains(Methods(), method) && !slices.Contains(Baseline(), method) {
			errs = append(errs, fmt.Errorf("methods[%d]: %q is not a method that can be allowed; those are %s", i, method, strings.Join(Methods(), ", ")))
		}
	}
	return errors.Join(errs...)
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
