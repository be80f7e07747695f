package access

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
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
		for j, s := range p.Spec.Rules[i].Subjects {
			if subjectKey(s) == "" {
				add(fmt.Sprintf("spec.rules[%d].subjects[%d]", i, j), "SubjectUnknown", "this version knows subjects of type MCPClient only")
			}
		}
	}
	return problems
}
