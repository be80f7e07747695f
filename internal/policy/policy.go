// Package policy is the compiled access policy: the operator writes it from MCPAccessPolicy objects, the gate evaluates
// it. It only ever allows: what no rule names is denied.
package policy

import "time"

// Policy is the rules of one server, in the order of their ids.
type Policy struct {
	Rules []Rule `json:"rules,omitempty"`
}

// Rule allows its subjects its targets until NotAfter.
type Rule struct {
	// ID names where the rule was written, "<policy>/<index>", for the audit log.
	ID string `json:"id"`
	// Clients are the MCPClients that the rule is for, as "<namespace>/<name>".
	Clients []string `json:"clients"`
	// Tools, Prompts and Resources are patterns over names and URIs; see Match.
	Tools     []string `json:"tools,omitempty"`
	Prompts   []string `json:"prompts,omitempty"`
	Resources []string `json:"resources,omitempty"`
	// Methods are further methods that have no target of their own, such as "logging/setLevel".
	Methods []string `json:"methods,omitempty"`
	// NotAfter ends the rule; zero means that it does not end.
	NotAfter time.Time `json:"notAfter,omitzero"`
}
