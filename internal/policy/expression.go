package policy

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
)

const (
	// MaxExpression bounds an expression, in bytes.
	MaxExpression = 2048
	// maxCost bounds what an evaluation may cost, in CEL's units: some milliseconds at most.
	maxCost = 100_000
)

// Expression is a compiled condition on a call, in CEL. The nil Expression holds.
type Expression struct {
	program cel.Program
	names   named
}

// environment has what an expression may speak of: arguments, the JSON object of a call's arguments, and name, the name of
// the tool or prompt or the URI of the resource. Numbers without a fraction are int, others double; CEL compares them as
// numbers.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("arguments", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("name", cel.StringType),
		cel.CrossTypeNumericComparisons(true),
		cel.OptionalTypes(),
		cel.ParserExpressionSizeLimit(MaxExpression),
		cel.ParserRecursionLimit(64),
		ext.Strings(ext.StringsVersion(4)),
	)
})

// NewExpression compiles an expression. Its errors say where it is wrong.
func NewExpression(text string) (*Expression, error) {
	if len(text) > MaxExpression {
		return nil, fmt.Errorf("is longer than %d bytes", MaxExpression)
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(text)
	if err := issues.Err(); err != nil {
		return nil, errors.New("is not a valid CEL expression over arguments and name: " + strings.Join(strings.Fields(err.Error()), " "))
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return nil, fmt.Errorf("is of type %s: write one that is true or false", ast.OutputType())
	}
	program, err := env.Program(ast, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, errors.New("cannot be made into a program: " + strings.Join(strings.Fields(err.Error()), " "))
	}
	return &Expression{program: program, names: namesIn(ast.NativeRep().Expr())}, nil
}

// Holds says whether the expression is true for a call. An evaluation that fails, for a member that is missing for example,
// or that costs too much, is false, and so it is for arguments with a name that only reads like one that the expression has.
func (e *Expression) Holds(name string, arguments map[string]any) bool {
	if e == nil {
		return true
	}
	if e.names.misspelt(arguments, 1) {
		return false
	}
	value, _, err := e.program.Eval(map[string]any{"name": name, "arguments": arguments})
	if err != nil {
		return false
	}
	holds, ok := value.Value().(bool)
	return ok && holds
}
