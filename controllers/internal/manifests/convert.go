package manifests

import (
	"encoding/json"
	"fmt"
)

// convert turns a part of a spec into its apply configuration. Fields that the API leaves out when they are empty stay out.
func convert[T any](from any) (*T, error) {
	content, err := json.Marshal(from)
	if err != nil {
		return nil, fmt.Errorf("convert %T: %w", from, err)
	}
	to := new(T)
	if err := json.Unmarshal(content, to); err != nil {
		return nil, fmt.Errorf("convert %T: %w", from, err)
	}
	return to, nil
}

// convertAll is convert for a list.
func convertAll[T, F any](from []F) ([]*T, error) {
	var all []*T
	for i := range from {
		to, err := convert[T](from[i])
		if err != nil {
			return nil, err
		}
		all = append(all, to)
	}
	return all, nil
}
