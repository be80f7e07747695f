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

// TestExpressionNames: a member in another spelling, which lenient servers take for the one that a condition speaks of, is not what
// the condition allows.
func TestExpressionNames(t *testing.T) {
	type object = map[string]any
	for text, cases := range map[string]struct{ holds, not []object }{
		`!has(arguments.force)`: {
			holds: []object{{}, {"forced": true}, {"to": object{"Force": true}}},
			not:   []object{{"force": true}, {"Force": true}, {"FORCE": true}, {"fo_rce": true}, {"-force": true}},
		},
		`!("force" in arguments)`:                    {holds: []object{{}}, not: []object{{"force": true}, {"Force": true}}},
		`!("mask" in arguments.options)`:             {holds: []object{{"options": object{}, "mask": 1, "Mask": 1}}, not: []object{{"options": object{"masK": 1}}, {"options": object{"mas\u212a": 1}}}},
		`arguments[?"path"].orValue("/") == "/"`:     {holds: []object{{}, {"path": "/"}}, not: []object{{"Path": "/etc"}}},
		`arguments.?path.orValue("/") == "/"`:        {holds: []object{{}, {"env": object{"PATH": "/bin"}}}, not: []object{{"Path": "/etc"}}},
		`arguments.all(k, k != "force")`:             {holds: []object{{"x": 1}}, not: []object{{"Force": 1}, {"to": object{"Force": 1}}}},
		`!arguments.to.exists(p, has(p.bcc))`:        {holds: []object{{"to": []any{object{"cc": 1}}}}, not: []object{{"to": []any{object{"BCC": 1}}}}},
		`!has(arguments.to[0].bcc)`:                  {holds: []object{{"to": []any{object{"cc": 1}}, "BCC": 1}}, not: []object{{"to": []any{object{"Bcc": 1}}}}},
		`has(arguments.Path) || has(arguments.path)`: {holds: []object{{"path": 1}, {"Path": 1}}, not: []object{{"PATH": 1}, {"PATH": 1, "path": 1}}},
		`name == "x"`: {holds: []object{{"Name": 1}}},
	} {
		e, err := policy.NewExpression(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for _, arguments := range cases.holds {
			if !e.Holds("x", arguments) {
				t.Errorf("%s does not hold for %v", text, arguments)
			}
		}
		for _, arguments := range cases.not {
			if e.Holds("x", arguments) {
				t.Errorf("%s holds for %v", text, arguments)
			}
		}
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
