package schema

import (
	"encoding/json"
	"fmt"

	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// values are the values of an enum.
type values struct {
	texts   map[string]bool
	numbers []float64
	// others are canonical forms.
	others map[string]bool
}

func (c *compiler) values(value any) *values {
	all, ok := value.([]any)
	if !ok {
		c.fail(ErrSchema)
	}
	v := &values{texts: map[string]bool{}, others: map[string]bool{}}
	for _, one := range all {
		switch one := one.(type) {
		case string:
			v.texts[one] = true
		case float64:
			v.numbers = append(v.numbers, one)
		default:
			raw, err := json.Marshal(one)
			if err != nil {
				c.fail(fmt.Errorf("%w: enum", ErrSchema))
				return v
			}
			canonical, err := inventory.Canonical(raw)
			if err != nil {
				c.fail(ErrSchema)
			}
			v.others[string(canonical)] = true
		}
	}
	return v
}
