package schema

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// The ways in which a value is not accepted.
var (
	ErrInvalid = errors.New("the value does not match the schema")
	ErrCost    = errors.New("the value costs too much to judge")
)

const (
	// maxDepth bounds the nesting of a value.
	maxDepth = 1000
	// maxCost bounds the cost of a verdict: one for a schema that is applied to a value, and one for each 64 bytes that are
	// read or matched again.
	maxCost = 1 << 20
)

// Check judges a JSON text that was read strictly before. An empty text stands for an object without members.
func (s *Schema) Check(raw []byte) error {
	if len(raw) == 0 {
		raw = []byte("{}")
	}
	c := check{left: maxCost}
	ok := c.again(s.root, raw)
	switch {
	case c.left < 0:
		return ErrCost
	case !ok:
		return ErrInvalid
	}
	return nil
}

// check is one verdict.
type check struct{ left int }

// spend takes from what a verdict may cost, and returns false when nothing is left.
func (c *check) spend(n int) bool {
	c.left -= 1 + n/64
	return c.left >= 0
}

// again judges a text that has been read before.
func (c *check) again(n *node, raw []byte) bool {
	if !c.spend(len(raw)) {
		return false
	}
	s := strictjson.New(raw, maxDepth)
	defer s.Release()
	return c.value(n, s) && s.End() == nil
}

// value judges the next value of the scanner and reads it. What it does not accept it may leave unread.
func (c *check) value(n *node, s *strictjson.Scanner) bool {
	if n == nil {
		s.Skip()
		return s.Err() == nil
	}
	if n.never || !c.spend(0) {
		return false
	}
	if !n.combined() {
		return c.base(n, s)
	}
	raw := s.Skip()
	if s.Err() != nil || !c.spend(len(raw)) {
		return false
	}
	sub := strictjson.New(raw, maxDepth)
	ok := c.base(n, sub)
	sub.Release()
	return ok && c.combinations(n, raw)
}

func (c *check) combinations(n *node, raw []byte) bool {
	for _, each := range n.all {
		if !c.again(each, raw) {
			return false
		}
	}
	if n.any != nil && !c.matches(n.any, raw, 1) {
		return false
	}
	if n.one != nil && !c.matches(n.one, raw, 2) {
		return false
	}
	if n.not != nil && (c.again(n.not, raw) || c.left < 0) {
		return false
	}
	if n.when != nil {
		branch := n.otherwise
		if c.again(n.when, raw) {
			branch = n.then
		}
		if c.left < 0 || branch != nil && !c.again(branch, raw) {
			return false
		}
	}
	return n.dependents == nil || c.dependents(n, raw)
}

// matches says whether one of the schemas accepts the value; with stop 2 exactly one.
func (c *check) matches(all []*node, raw []byte, stop int) bool {
	found := 0
	for _, each := range all {
		if c.again(each, raw) {
			if found++; found == stop {
				break
			}
		}
	}
	return found == 1 && c.left >= 0
}

func (c *check) dependents(n *node, raw []byte) bool {
	if raw[0] != '{' {
		return true
	}
	has := map[string]bool{}
	s := strictjson.New(raw, maxDepth)
	defer s.Release()
	for s.Enter('{', nil); s.Member(); {
		has[string(s.Name())] = true
		s.Skip()
	}
	for name, d := range n.dependents {
		if !has[name] {
			continue
		}
		for _, other := range d.required {
			if !has[other] {
				return false
			}
		}
		if d.node != nil && !c.again(d.node, raw) {
			return false
		}
	}
	return true
}

// is says whether a value of a kind may be there.
func (n *node) is(k kinds) bool { return n.kinds == 0 || n.kinds&k != 0 }

// base judges by what needs the value once.
func (c *check) base(n *node, s *strictjson.Scanner) bool {
	start, ok := s.Start(), false
	switch s.Kind() {
	case '{':
		ok = n.is(object) && c.object(n, s)
	case '[':
		ok = n.is(array) && c.array(n, s)
	case '"':
		value := s.String()
		return n.is(text) && s.Err() == nil && c.text(n, value) && (n.enum == nil || n.enum.texts[string(value)])
	case '0':
		return c.number(n, s.Skip())
	case 't', 'f':
		ok = n.is(boolean)
		s.Skip()
	case 'n':
		ok = n.is(null)
		s.Skip()
	}
	if !ok || s.Err() != nil {
		return false
	}
	if n.enum == nil {
		return true
	}
	raw := s.Since(start)
	if !c.spend(len(raw)) {
		return false
	}
	canonical, err := inventory.Canonical(raw)
	return err == nil && n.enum.others[string(canonical)]
}

func (c *check) text(n *node, value []byte) bool {
	if n.minLength >= 0 || n.maxLength >= 0 {
		length := utf8.RuneCount(value)
		if length < n.minLength || n.maxLength >= 0 && length > n.maxLength {
			return false
		}
	}
	return n.pattern == nil || c.spend(8*len(value)) && n.pattern.Match(value)
}

func (c *check) number(n *node, raw []byte) bool {
	value, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || !n.is(number|integer) {
		return false
	}
	if n.kinds != 0 && n.kinds&number == 0 && value != math.Trunc(value) {
		return false
	}
	// What is not there is no number, and no comparison with that holds.
	if value < n.low || value > n.high || value <= n.lowOpen || value >= n.highOpen {
		return false
	}
	if n.multiple > 0 {
		// Decimal fractions are not exact: 0.3 is a multiple of 0.1.
		if times := value / n.multiple; math.IsInf(times, 0) || math.Abs(times-math.Round(times)) > 1e-9*max(1, math.Abs(times)) {
			return false
		}
	}
	if n.enum == nil {
		return true
	}
	for _, one := range n.enum.numbers {
		if one == value {
			return true
		}
	}
	return false
}

func (c *check) array(n *node, s *strictjson.Scanner) bool {
	count, contained := 0, 0
	var seen map[string]bool
	for s.Enter('[', nil); s.Element(); count++ {
		below := n.items
		if count < len(n.prefix) {
			below = n.prefix[count]
		}
		start := s.Start()
		if !c.value(below, s) {
			return false
		}
		if n.contains == nil && !n.unique {
			continue
		}
		raw := s.Since(start)
		if n.contains != nil && c.again(n.contains, raw) {
			contained++
		}
		if n.unique {
			canonical, err := inventory.Canonical(raw)
			if err != nil || seen[string(canonical)] || !c.spend(2*len(raw)) {
				return false
			}
			if seen == nil {
				seen = map[string]bool{}
			}
			seen[string(canonical)] = true
		}
		if c.left < 0 {
			return false
		}
	}
	if n.contains != nil && (contained < max(n.minContains, 0) || n.minContains < 0 && contained == 0 || n.maxContains >= 0 && contained > n.maxContains) {
		return false
	}
	return s.Err() == nil && count >= n.minItems && (n.maxItems < 0 || count <= n.maxItems)
}

func (c *check) object(n *node, s *strictjson.Scanner) bool {
	count, required := 0, 0
	for s.Enter('{', nil); s.Member(); count++ {
		name := s.Name()
		p, known := n.properties[string(name)]
		if p.required {
			required++
		}
		if !known && n.folded != nil && n.folded[strictjson.Fold(string(name))] {
			return false
		}
		if n.names != nil {
			quoted, err := json.Marshal(string(name))
			if err != nil || !c.again(n.names, quoted) {
				return false
			}
		}
		if len(n.patterns) > 0 {
			if !c.patterned(n, p, string(name), s) {
				return false
			}
			continue
		}
		below := p.node
		if !known || below == nil {
			below = n.additional
		}
		if !c.value(below, s) {
			return false
		}
	}
	return s.Err() == nil && required == n.required && count >= n.minMembers && (n.maxCount < 0 || count <= n.maxCount)
}

// patterned judges a member by all schemas that its name asks for.
func (c *check) patterned(n *node, p property, name string, s *strictjson.Scanner) bool {
	raw := s.Skip()
	if s.Err() != nil || p.node != nil && !c.again(p.node, raw) {
		return false
	}
	found := p.node != nil
	for _, each := range n.patterns {
		if !c.spend(8 * len(name)) {
			return false
		}
		if !each.pattern.MatchString(name) {
			continue
		}
		found = true
		if !c.again(each.node, raw) {
			return false
		}
	}
	return found || n.additional == nil || c.again(n.additional, raw)
}
