// Package schema judges the arguments of a call by the JSON Schema that its tool declares, without building values of them.
//
// Schemas come from servers and are hostile: nothing is ever fetched, recursion that makes no progress is refused, and the
// size of a schema and the cost of a verdict are bounded. What cannot be compiled is refused, so that no arguments can be
// judged by it: a reference that leaves the schema, a keyword whose value is not what JSON Schema says. A few keywords are
// left to the server, and named: patterns that no regular expression in linear time can match (look-around, back references),
// unevaluatedProperties and unevaluatedItems. Formats and contents are annotations, as JSON Schema has it. Beyond JSON Schema, a
// member is refused whose name only reads like a property's: a lenient server would take it for that, and nobody has judged it.
package schema

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// The ways in which a schema cannot be compiled.
var (
	ErrSchema    = errors.New("not a JSON Schema")
	ErrReference = errors.New("a reference leads out of the schema, or nowhere")
	ErrRecursion = errors.New("the schema refers to itself without going deeper into the value")
	ErrSize      = errors.New("the schema is too large")
)

const (
	// maxNodes bounds the schemas in a schema, maxPatterns its regular expressions, and maxPattern each of them, in bytes.
	maxNodes    = 10_000
	maxPatterns = 256
	maxPattern  = 1024
)

// Schema is a compiled schema. It is immutable.
type Schema struct {
	root *node
	// unchecked are keywords that are left to the server.
	unchecked []string
}

// Unchecked are the keywords of the schema that are left to the server, sorted.
func (s *Schema) Unchecked() []string { return slices.Clone(s.unchecked) }

// Compile compiles the JSON text of a schema.
func Compile(raw []byte) (*Schema, error) {
	var document any
	if len(raw) > inventory.MaxDefinition {
		return nil, ErrSize
	}
	if err := json.Unmarshal(raw, &document); err != nil {
		return nil, ErrSchema
	}
	c := compiler{document: document, refs: map[string]*node{}, unchecked: map[string]bool{}}
	root := c.at("", document)
	if c.err == nil {
		c.recursion()
	}
	if c.err != nil {
		return nil, c.err
	}
	return &Schema{root: root, unchecked: slices.Sorted(maps.Keys(c.unchecked))}, nil
}

type compiler struct {
	document any
	// refs are the schemas by their places, so that those that refer to themselves end.
	refs            map[string]*node
	unchecked       map[string]bool
	nodes, compiled int
	err             error
}

func (c *compiler) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// at compiles the schema at a place, once.
func (c *compiler) at(place string, value any) *node {
	if known := c.refs[place]; known != nil {
		return known
	}
	n := newNode()
	c.refs[place] = n
	if c.nodes++; c.nodes > maxNodes {
		c.fail(ErrSize)
		return n
	}
	switch v := value.(type) {
	case bool:
		n.never = !v
	case map[string]any:
		c.keywords(n, place, v)
	default:
		c.fail(ErrSchema)
	}
	return n
}

func (c *compiler) keywords(n *node, place string, schema map[string]any) {
	for _, keyword := range slices.Sorted(maps.Keys(schema)) {
		if c.err != nil {
			return
		}
		value, below := schema[keyword], place+"/"+escape(keyword)
		switch keyword {
		case "$ref":
			n.all = append(n.all, c.refer(value))
		case "$dynamicRef", "$recursiveRef":
			c.fail(ErrReference)
		case "$id", "id":
			// A base that moves makes every reference another one; one at the root moves none of those that are followed.
			if _, is := value.(string); is && place != "" && keyword == "$id" {
				c.fail(ErrReference)
			}
		case "type":
			n.kinds = c.types(value)
		case "enum":
			n.enum = c.values(value)
		case "const":
			only := newNode()
			only.enum = c.values([]any{value})
			n.all = append(n.all, only)
		case "minimum":
			n.low = c.number(value)
		case "maximum":
			n.high = c.number(value)
		case "exclusiveMinimum":
			n.lowOpen = c.limit(value, schema["minimum"])
		case "exclusiveMaximum":
			n.highOpen = c.limit(value, schema["maximum"])
		case "multipleOf":
			if n.multiple = c.number(value); n.multiple <= 0 {
				c.fail(ErrSchema)
			}
		case "minLength":
			n.minLength = c.count(value)
		case "maxLength":
			n.maxLength = c.count(value)
		case "pattern":
			n.pattern = c.pattern(value)
		case "unevaluatedProperties", "unevaluatedItems":
			c.unchecked[keyword] = true
		case "allOf":
			n.all = append(n.all, c.list(below, value)...)
		case "anyOf":
			n.any = c.list(below, value)
		case "oneOf":
			n.one = c.list(below, value)
		case "not":
			n.not = c.at(below, value)
		case "if":
			n.when = c.at(below, value)
		case "then":
			n.then = c.at(below, value)
		case "else":
			n.otherwise = c.at(below, value)
		default:
			if !c.arrays(n, keyword, below, value, schema) {
				c.objects(n, keyword, below, value)
			}
		}
	}
}

// arrays compiles a keyword about arrays, and returns false for any other.
func (c *compiler) arrays(n *node, keyword, below string, value any, schema map[string]any) bool {
	switch keyword {
	case "prefixItems":
		n.prefix = c.list(below, value)
	case "items":
		if _, is := value.([]any); is { // before 2020-12
			n.prefix = c.list(below, value)
			return true
		}
		n.items = c.at(below, value)
	case "additionalItems":
		if _, is := schema["items"].([]any); is {
			n.items = c.at(below, value)
		}
	case "contains":
		n.contains = c.at(below, value)
	case "minContains":
		n.minContains = c.count(value)
	case "maxContains":
		n.maxContains = c.count(value)
	case "minItems":
		n.minItems = c.count(value)
	case "maxItems":
		n.maxItems = c.count(value)
	case "uniqueItems":
		unique, is := value.(bool)
		if n.unique = unique; !is {
			c.fail(ErrSchema)
		}
	default:
		return false
	}
	return true
}

func (c *compiler) objects(n *node, keyword, below string, value any) {
	switch keyword {
	case "properties":
		for name, schema := range c.object(value) {
			p := n.property(name)
			p.node = c.at(below+"/"+escape(name), schema)
			n.properties[name] = p
		}
	case "required":
		if _, is := value.(bool); is { // before draft 4, and of no meaning where it stands since
			c.unchecked[keyword] = true
			return
		}
		for _, name := range c.strings(value) {
			if p := n.property(name); !p.required {
				p.required = true
				n.properties[name] = p
				n.required++
			}
		}
	case "patternProperties":
		for pattern, schema := range c.object(value) {
			compiled := c.pattern(pattern)
			if compiled == nil && c.err == nil {
				// Whether additionalProperties applies cannot be known then.
				c.fail(ErrSchema)
			}
			n.patterns = append(n.patterns, patterned{compiled, c.at(below+"/"+escape(pattern), schema)})
		}
	case "additionalProperties":
		n.additional = c.at(below, value)
	case "propertyNames":
		n.names = c.at(below, value)
	case "minProperties":
		n.minMembers = c.count(value)
	case "maxProperties":
		n.maxCount = c.count(value)
	case "dependentRequired", "dependentSchemas", "dependencies":
		if n.dependents == nil {
			n.dependents = map[string]dependent{}
		}
		for name, what := range c.object(value) {
			d := n.dependents[name]
			if _, is := what.([]any); is {
				d.required = append(d.required, c.strings(what)...)
			} else {
				d.node = c.at(below+"/"+escape(name), what)
			}
			n.dependents[name] = d
		}
	}
}

func (n *node) property(name string) property {
	if n.properties == nil {
		n.properties, n.folded = map[string]property{}, map[string]bool{}
	}
	n.folded[strictjson.Fold(name)] = true
	return n.properties[name]
}

// refer follows a reference within the schema: a JSON pointer as a fragment.
func (c *compiler) refer(value any) *node {
	ref, ok := value.(string)
	fragment, local := strings.CutPrefix(ref, "#")
	pointer, err := url.PathUnescape(fragment)
	if !ok || !local || err != nil || (pointer != "" && pointer[0] != '/') {
		c.fail(ErrReference)
		return nil
	}
	at := c.document
	for _, part := range strings.Split(pointer, "/")[1:] {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		var found bool
		switch v := at.(type) {
		case map[string]any:
			at, found = v[part]
		case []any:
			if i, err := strconv.Atoi(part); err == nil && i >= 0 && i < len(v) {
				at, found = v[i], true
			}
		}
		if !found {
			c.fail(ErrReference)
			return nil
		}
	}
	return c.at(pointer, at)
}

func escape(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }

func (c *compiler) list(place string, value any) (all []*node) {
	values, ok := value.([]any)
	if !ok {
		c.fail(ErrSchema)
	}
	all = make([]*node, 0, len(values))
	for i, one := range values {
		all = append(all, c.at(place+"/"+strconv.Itoa(i), one))
	}
	return all
}

func (c *compiler) object(value any) map[string]any {
	members, ok := value.(map[string]any)
	if !ok {
		c.fail(ErrSchema)
	}
	return members
}

func (c *compiler) strings(value any) (all []string) {
	values, ok := value.([]any)
	if !ok {
		c.fail(ErrSchema)
	}
	for _, one := range values {
		s, ok := one.(string)
		if !ok {
			c.fail(ErrSchema)
		}
		all = append(all, s)
	}
	return all
}

func (c *compiler) number(value any) float64 {
	n, ok := value.(float64)
	if !ok {
		c.fail(ErrSchema)
	}
	return n
}

// limit is an exclusive limit: a number, or, before draft 6, a boolean beside the limit.
func (c *compiler) limit(value, beside any) float64 {
	if exclusive, is := value.(bool); is {
		if n, ok := beside.(float64); ok && exclusive {
			return n
		}
		return math.NaN()
	}
	return c.number(value)
}

func (c *compiler) count(value any) int {
	n := c.number(value)
	if n < 0 || n != math.Trunc(n) {
		c.fail(ErrSchema)
		return -1
	}
	return int(min(n, 1<<31))
}

func (c *compiler) types(value any) (k kinds) {
	one, is := value.(string)
	names := []string{one}
	if !is {
		names = c.strings(value)
	}
	if len(names) == 0 {
		c.fail(ErrSchema)
	}
	for _, name := range names {
		kind, known := kindNames[name]
		if !known {
			c.fail(ErrSchema)
		}
		k |= kind
	}
	return k
}

// pattern compiles a regular expression; nil where there is none in linear time.
func (c *compiler) pattern(value any) *regexp.Regexp {
	expression, ok := value.(string)
	if c.compiled++; !ok || len(expression) > maxPattern || c.compiled > maxPatterns {
		c.fail(ErrSize)
		return nil
	}
	compiled, err := regexp.Compile(expression)
	if err != nil {
		c.unchecked["pattern"] = true
		return nil
	}
	return compiled
}

// recursion refuses schemas that apply themselves to the very value that they are applied to.
func (c *compiler) recursion() {
	for _, n := range c.refs {
		c.inPlace(n)
	}
}

func (c *compiler) inPlace(n *node) {
	switch {
	case n == nil || n.checked:
		return
	case n.visited:
		c.fail(ErrRecursion)
		return
	}
	n.visited = true
	for _, list := range [][]*node{n.all, n.any, n.one, {n.not, n.when, n.then, n.otherwise}} {
		for _, below := range list {
			c.inPlace(below)
		}
	}
	for _, d := range n.dependents {
		c.inPlace(d.node)
	}
	n.visited, n.checked = false, true
}
