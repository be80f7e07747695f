package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// KeyRotation says when API keys are replaced, and for how long their predecessors are still accepted.
//
// +kubebuilder:validation:XValidation:rule="!has(self.overlap) || !has(self.maximumAge) || !self.overlap.matches('^([0-9]{1,5}(h|m|s))+$') || !self.maximumAge.matches('^([0-9]{1,5}(h|m|s))+$') || duration(self.maximumAge) >= duration(self.overlap) + duration(self.overlap)",message="rotation.maximumAge must be at least twice rotation.overlap: a key has to be replaced an overlap before its end"
// +kubebuilder:validation:XValidation:rule="!has(self.schedule) || !has(self.schedule.interval) || !has(self.overlap) || !self.overlap.matches('^([0-9]{1,5}(h|m|s))+$') || !self.schedule.interval.matches('^([0-9]{1,5}(h|m|s))+$') || duration(self.schedule.interval) >= duration(self.overlap)",message="rotation.schedule.interval must not be shorter than rotation.overlap: set both"
type KeyRotation struct {
	// schedule says when keys are replaced. Without it they are replaced because of their age alone. The times of different
	// clients are spread.
	// +optional
	Schedule *RotationSchedule `json:"schedule,omitempty"`
	// overlap is how long a replaced key is still accepted. It has to be longer than a new key takes to the client's memory:
	// up to two minutes until the kubelet updates the mounted Secret, and as long as the client goes without reading it. A
	// key that is still in use after that is accepted until it is no more, or reaches its maximum age.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s))+$') && duration(self) >= duration('1m') && duration(self) <= duration('2160h')",message="rotation.overlap must be between 1m and 2160h, in h, m and s"
	// +kubebuilder:default="24h"
	// +optional
	Overlap string `json:"overlap,omitempty"`
	// maximumAge is how long after it was issued a key is accepted at most. A key is replaced in time before that. Keys that
	// were issued under a longer one are replaced at once, not cut off.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s))+$') && duration(self) >= duration('10m') && duration(self) <= duration('8760h')",message="rotation.maximumAge must be between 10m and 8760h, in h, m and s"
	// +kubebuilder:default="2160h"
	// +optional
	MaximumAge string `json:"maximumAge,omitempty"`
	// rotateAfter asks for a new key in place of each that the client has had since before this time, when the time has come.
	// Set it to the present time to rotate now.
	// +optional
	RotateAfter *metav1.Time `json:"rotateAfter,omitempty"`
}

// RotationScheduleType says how a schedule is written.
// +kubebuilder:validation:Enum=Interval;Cron
type RotationScheduleType string

// The types of schedules.
const (
	// RotationInterval: each time that an interval has passed.
	RotationInterval RotationScheduleType = "Interval"
	// RotationCron: at the times of a cron expression.
	RotationCron RotationScheduleType = "Cron"
)

// RotationSchedule is either an interval or a cron expression.
//
// +kubebuilder:validation:XValidation:rule="has(self.interval) == (self.type == 'Interval') && has(self.cron) == (self.type == 'Cron')",message="set interval with type Interval, and cron with type Cron, and not the other"
type RotationSchedule struct {
	// type says which of the following fields is set.
	// +required
	Type RotationScheduleType `json:"type,omitempty"`
	// interval is the time between two keys. Each client has its own phase in it, so that its first key may live shorter.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s))+$') && duration(self) >= duration('1m') && duration(self) <= duration('8760h')",message="rotation.schedule.interval must be between 1m and 8760h, in h, m and s"
	// +optional
	Interval string `json:"interval,omitempty"`
	// cron is the times of a cron expression. Each client begins up to an hour later, or up to a tenth of the time to the
	// next time where that is less.
	// +optional
	Cron *CronSchedule `json:"cron,omitempty"`
}

// CronSchedule is the times of a cron expression on the clocks of a time zone.
type CronSchedule struct {
	// expression has five fields: minute, hour, day of month, month and day of week, such as 0 3 * * 1.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[0-9A-Za-z*?/,-]+( [0-9A-Za-z*?/,-]+){4}$`
	// +required
	Expression string `json:"expression,omitempty"`
	// timeZone is a name from the IANA database, such as Europe/Berlin.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$`
	// +kubebuilder:default=UTC
	// +optional
	TimeZone string `json:"timeZone,omitempty"`
}
