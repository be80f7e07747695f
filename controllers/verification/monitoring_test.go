package verification

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bartizan-dev/bartizan/internal/gatestatus"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

func TestScraped(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, test := range []struct {
		name string
		// read is when the metrics of each gate were read, ready since when each is.
		read, ready  []time.Time
		known, value bool
	}{
		{"all are read", []time.Time{ago(time.Minute), ago(9 * time.Minute)}, []time.Time{ago(time.Hour), ago(time.Hour)}, true, true},
		{"one is not", []time.Time{ago(time.Minute), {}}, []time.Time{ago(time.Hour), ago(time.Hour)}, true, false},
		{"not any more", []time.Time{ago(11 * time.Minute)}, []time.Time{ago(time.Hour)}, true, false},
		{"one has just begun", []time.Time{ago(time.Minute), {}}, []time.Time{ago(time.Hour), ago(time.Minute)}, false, false},
		{"nobody knows since when", []time.Time{{}}, []time.Time{{}}, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, last := &observed{}, &run{at: now, gates: map[string]gatestatus.Status{}}
			for i := range test.read {
				pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: string(rune('a' + i))}}
				pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, LastTransitionTime: metav1.NewTime(test.ready[i])}}
				o.gates = append(o.gates, gate{pod: pod})
				last.gates[pod.Name] = gatestatus.Status{MetricsReadAt: test.read[i]}
			}
			if fact := o.scrapedFact(last); fact.Known != test.known || fact.Value != test.value || !fact.Known && fact.Missing == "" {
				t.Errorf("%+v", fact)
			}
			delete(last.gates, "a")
			if fact := o.scrapedFact(last); fact.Known {
				t.Errorf("%+v without the status of a gate", fact)
			}
		})
	}
}

func TestAlertRules(t *testing.T) {
	rule := func(fields map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"groups": []any{map[string]any{"rules": []any{fields}}}}}}
	}
	for _, test := range []struct {
		name             string
		rule             *unstructured.Unstructured
		controls, logins bool
	}{
		{"an alert on failed logins", rule(map[string]any{"alert": "a", "expr": "rate(bartizan_gate_authentication_failures_total[5m]) > 1"}), false, true},
		{"one on controls", rule(map[string]any{"alert": "a", "expr": `bartizan_controls_failing{severity="critical"} > 0`}), true, false},
		{"one on attacks", rule(map[string]any{"alert": "a", "expr": "bartizan_server_verified == 0"}), true, false},
		{"one on both", rule(map[string]any{"alert": "a", "expr": "bartizan_server_verified == 0 or bartizan_gate_authentication_failures_total > 9"}), true, true},
		{"another alert of ours", rule(map[string]any{"alert": "a", "expr": "bartizan_server_ready == 0"}), false, false},
		{"somebody else's", rule(map[string]any{"alert": "a", "expr": "up == 0"}), false, false},
		{"a recording", rule(map[string]any{"record": "a", "expr": "bartizan_gate_authentication_failures_total"}), false, false},
		{"no rules", &unstructured.Unstructured{Object: map[string]any{}}, false, false},
		{"another shape", &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"groups": []any{"x", map[string]any{"rules": "y"}}}}}, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := alerts{known: true}
			a.add(test.rule)
			if a.controls != test.controls || a.logins != test.logins {
				t.Errorf("%+v", a)
			}
			o := &observed{alerts: a}
			s := &posture.Snapshot{}
			o.alertFacts(s)
			if !s.Alerts.Known || s.Alerts.Value != (test.controls && test.logins) || !s.LoginAlerts.Known || s.LoginAlerts.Value != test.logins {
				t.Errorf("%+v %+v", s.Alerts, s.LoginAlerts)
			}
			o.alerts.known = false
			if o.alertFacts(s); s.Alerts.Known || s.LoginAlerts.Known {
				t.Error("rules that are not seen are known")
			}
		})
	}
}
