package schema

import (
	"math"
	"regexp"
)

// kinds is a set of the types of JSON Schema.
type kinds uint8

const (
	null kinds = 1 << iota
	boolean
	object
	array
	number
	integer
	text
)

var kindNames = map[string]kinds{
	"null": null, "boolean": boolean, "object": object, "array": array, "number": number, "integer": integer, "string": text,
}

// node is one schema.
type node struct {
	// never is the schema false.
	never bool
	kinds kinds // 0: any
	enum  *values

	low, high, lowOpen, highOpen, multiple float64 // NaN: none
	minLength, maxLength                   int     // -1: none
	pattern                                *regexp.Regexp

	prefix                   []*node
	items, contains          *node
	minItems, maxItems       int
	minContains, maxContains int
	unique                   bool

	properties           map[string]property
	folded               map[string]bool // the names of properties, as strictjson.Fold reads them
	required             int
	patterns             []patterned
	additional, names    *node
	minMembers, maxCount int
	dependents           map[string]dependent

	all, any, one    []*node
	not, when        *node
	then, otherwise  *node
	checked, visited bool // by the search for recursion
}

// newNode is a schema that accepts everything.
func newNode() *node {
	none := math.NaN()
	return &node{low: none, high: none, lowOpen: none, highOpen: none, multiple: none, minLength: -1, maxLength: -1,
		minItems: -1, maxItems: -1, minContains: -1, maxContains: -1, minMembers: -1, maxCount: -1}
}

type property struct {
	node     *node // nil: nothing but that it is required
	required bool
}

type patterned struct {
	pattern *regexp.Regexp
	node    *node
}

type dependent struct {
	required []string
	node     *node
}

// combined says whether a value is looked at more than once.
func (n *node) combined() bool {
	return n.all != nil || n.any != nil || n.one != nil || n.not != nil || n.when != nil || n.dependents != nil
}
