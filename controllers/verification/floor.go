package verification

import (
	"time"

	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
)

// maximumAge is how old a key of a client may get.
func (o *observed) maximumAge(written time.Duration) time.Duration {
	if limit, ok := o.floor.MaximumKeyAge(); ok {
		return min(written, limit)
	}
	return written
}

// forbidden are the tools that nobody may call.
func (o *observed) forbidden() []string {
	return append(manifests.Forbidden(o.server), o.floor.ForbiddenTools()...)
}
