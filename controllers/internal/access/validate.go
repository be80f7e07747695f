package access

import (
	"cmp"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// Problem is something that was left out, and why. Its texts are stable and name what to change.
type Problem struct {
	// Kind, Namespace and Name are the object that has to change.
	Kind, Namespace, Name string
	// Field is the field of it; may be empty.
	Field string
	// Reason is a CamelCase word for a condition.
	Reason  string
	Message string
}

// String is the problem as a sentence for a condition.
func (p Problem) String() string {
	object := p.Kind + " " + p.Name
	if p.Namespace != "" {
		object = p.Kind + " " + p.Namespace + "/" + p.Name
	}
	if p.Field != "" {
		object += ", " + p.Field
	}
	return object + ": " + strings.TrimSpace(p.Message)
}

// Validate returns what is wrong with a policy. A policy with any problem contributes nothing at all: half of a policy may
// be the wrong half.
func Validate(p *v1alpha1.MCPAccessPolicy) []Problem {
	var problems []Problem
	add := func(field, reason, format string, args ...any) {
		problems = append(problems, Problem{
			Kind: "MCPAccessPolicy", Namespace: p.Namespace, Name: p.Name, Field: field, Reason: reason, Message: fmt.Sprintf(format, args...),
		})
	}
	switch selection := p.Spec.Servers; {
	case selection.Selector != nil && len(selection.Names) > 0, selection.Selector == nil && len(selection.Names) == 0:
		add("spec.servers", "ServersInvalid", "set exactly one of names and selector")
	case selection.Selector != nil:
		if _, err := metav1.LabelSelectorAsSelector(selection.Selector); err != nil {
			add("spec.servers.selector", "SelectorInvalid", "%v", err)
		}
	}
	for i := range p.Spec.Rules {
		rule := &p.Spec.Rules[i]
		field := fmt.Sprintf("spec.rules[%d]", i)
		var tokens []policy.TokenSubject
		for j, s := range rule.Subjects {
			at := fmt.Sprintf("%s.subjects[%d]", field, j)
			token, ok := tokenSubject(s, cmp.Or(claimed(s), "any"))
			switch {
			case ok && s.Type == v1alpha1.SubjectServiceAccount && (len(validation.IsDNS1123Label(s.ServiceAccount.Namespace)) > 0 || len(validation.IsDNS1123Subdomain(s.ServiceAccount.Name)) > 0):
				add(at+".serviceAccount", "SubjectInvalid", "no ServiceAccount can have this namespace and name")
			case ok:
				tokens = append(tokens, token)
			case subjectKey(s) == "":
				add(at, "SubjectUnknown", "this version knows subjects of the types MCPClient, ServiceAccount and Claims, each with the field of its name")
			case !isClient(*s.MCPClient):
				add(at+".mcpClient", "SubjectInvalid", "no MCPClient can have this namespace and name; both are DNS labels")
			}
		}
		to := addressees{tokens: tokens}
		for j, a := range rule.Actors {
			if !isClient(a) {
				add(fmt.Sprintf("%s.actors[%d]", field, j), "SubjectInvalid", "no MCPClient can have this namespace and name; both are DNS labels")
				continue
			}
			to.actors = append(to.actors, key(a.Namespace, a.Name))
		}
		if len(tokens) < len(rule.Subjects) || len(tokens) == 0 {
			to.clients = []string{"any/client"} // the subjects were judged above
		}
		if len(rule.Subjects) == 0 {
			add(field+".subjects", "SubjectInvalid", "name at least one subject")
		}
		compiled := compile(p, i, to)
		compiled.Tools, compiled.Prompts, compiled.Resources, compiled.Methods = rule.Tools, rule.Prompts, rule.Resources, rule.Methods
		compiled.Hosts = rule.ElicitationHosts
		for _, err := range unjoin(policy.Validate(compiled)) {
			add(field, "RuleInvalid", "%v", err)
		}
	}
	return problems
}

func isClient(c v1alpha1.MCPClientSubject) bool {
	return len(validation.IsDNS1123Label(c.Namespace)) == 0 && len(validation.IsDNS1123Label(c.Name)) == 0
}

// claimed is the issuer that a subject names.
func claimed(s v1alpha1.Subject) string {
	if s.Claims == nil {
		return ""
	}
	return s.Claims.Issuer
}

// unjoin returns the errors that errors.Join put together.
func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err != nil {
		return []error{err}
	}
	return nil
}
