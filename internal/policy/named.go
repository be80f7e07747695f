package policy

import (
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
)

// named are the names of members that an expression speaks of, by where they are and how they read: a condition that a member is
// not there, or that it has a value if it is, would else hold for a call that has it in another spelling, which a lenient server
// takes for it.
type named map[place][]string

// place is how deep in the arguments a name is, 1 for a name of theirs, anyDepth where that cannot be told, and its folded form.
type place struct {
	depth  int
	folded string
}

const anyDepth = 0

func namesIn(expression ast.Expr) named {
	n := named{}
	ast.PostOrderVisit(expression, ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			n.add(below(e.AsSelect().Operand()), e.AsSelect().FieldName())
		case ast.CallKind:
			call := e.AsCall()
			if len(call.Args()) != 2 {
				return
			}
			a, b := call.Args()[0], call.Args()[1]
			switch call.FunctionName() {
			case operators.Index, operators.OptIndex, operators.OptSelect:
				n.literal(below(a), b)
			case operators.In:
				n.literal(below(b), a)
			}
		case ast.ComprehensionKind:
			// What names are compared with there.
			ast.PostOrderVisit(e, ast.NewExprVisitor(func(inner ast.Expr) { n.literal(anyDepth, inner) }))
		}
	}))
	return n
}

// below is how deep the members of a value are.
func below(e ast.Expr) int {
	operand, key := ast.Expr(nil), ast.Expr(nil)
	switch e.Kind() {
	case ast.IdentKind:
		if e.AsIdent() == "arguments" {
			return 1
		}
		return anyDepth
	case ast.SelectKind:
		operand = e.AsSelect().Operand()
	case ast.CallKind:
		switch call := e.AsCall(); call.FunctionName() {
		case operators.Index, operators.OptIndex, operators.OptSelect:
			operand, key = call.Args()[0], call.Args()[1]
		}
	}
	if operand == nil {
		return anyDepth
	}
	depth := below(operand)
	switch {
	case depth == anyDepth:
		return anyDepth
	case key == nil:
		return depth + 1
	case key.Kind() != ast.LiteralKind:
		return anyDepth
	}
	if _, text := key.AsLiteral().Value().(string); !text {
		return depth // an element of a list
	}
	return depth + 1
}

func (n named) literal(depth int, e ast.Expr) {
	if e.Kind() != ast.LiteralKind {
		return
	}
	if text, is := e.AsLiteral().Value().(string); is {
		n.add(depth, text)
	}
}

func (n named) add(depth int, name string) {
	at := place{depth, strictjson.Fold(name)}
	if !slices.Contains(n[at], name) {
		n[at] = append(n[at], name)
	}
}

// misspelt says whether a member has a name that only reads like one of them.
func (n named) misspelt(value any, depth int) bool {
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			folded := strictjson.Fold(name)
			for _, at := range []place{{depth, folded}, {anyDepth, folded}} {
				if known := n[at]; len(known) > 0 && !slices.Contains(known, name) {
					return true
				}
			}
			if n.misspelt(member, depth+1) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(value, func(element any) bool { return n.misspelt(element, depth) })
	}
	return false
}
