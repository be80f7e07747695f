package policy_test

import (
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/policy"
)

// TestExpressionErrors: what is wrong is said when the policy is applied, with the place.
func TestExpressionErrors(t *testing.T) {
	for text, want := range map[string]string{
		`arguments.a ==`:                      "Syntax error",
		`nobody == 1`:                         "undeclared reference to 'nobody'",
		`name`:                                "is of type string",
		`arguments`:                           "is of type map",
		`arguments.a`:                         "is of type dyn",
		`name == 1`:                           "no matching overload",
		`name.startsWith(1)`:                  "no matching overload",
		`system("x")`:                         "undeclared reference to 'system'",
		strings.Repeat("(", 200) + "true":     "is not a valid CEL expression",
		`"` + strings.Repeat("x", 2100) + `"`: "is longer than",
	} {
		if _, err := policy.NewExpression(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.40s: %v, want %s", text, err, want)
		}
	}
	rule := policy.Rule{ID: "p/0", Clients: []string{"a/b"}, Tools: []string{"x"}, Expression: "name"}
	if err := policy.Validate(rule); err == nil || !strings.HasPrefix(err.Error(), "expression: is of type string") {
		t.Error(err)
	}
	rule.Expression, rule.Methods = "true", []string{"logging/setLevel"}
	if policy.Validate(rule) == nil {
		t.Error("a condition on what has no arguments")
	}
	rule = policy.Rule{ID: "p/0", Clients: []string{"a/b"}, Tools: []string{"x"}, Rate: policy.Rate{Requests: 1}}
	if policy.Validate(rule) == nil {
		t.Error("a rate without a time")
	}
}

// FuzzExpression: no text makes the compiler or an evaluation panic or hang.
func FuzzExpression(f *testing.F) {
	for _, seed := range []string{`arguments.a == 1`, `name.matches("(a+)+$")`, `[1,2].all(x, x > 0)`, `optional.of(1).hasValue()`, `"%s".format([name]) == ""`} {
		f.Add(seed, "aaaaaaaaaaaaaaaaaaaaaaaa!")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		e, err := policy.NewExpression(text)
		if err != nil {
			return
		}
		e.Holds(name, map[string]any{"a": int64(1), "b": []any{name}})
	})
}
