// Package collect registers what reads the operator's caches when its metrics are read.
package collect

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// From has the metrics read a collector. It takes the place of an earlier manager's in the same process, whose caches have
// ended.
func From(c prometheus.Collector) error {
	err := metrics.Registry.Register(c)
	var before prometheus.AlreadyRegisteredError
	if errors.As(err, &before) {
		metrics.Registry.Unregister(before.ExistingCollector)
		err = metrics.Registry.Register(c)
	}
	return err
}
