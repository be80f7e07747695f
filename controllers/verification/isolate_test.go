package verification

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// TestIsolation follows a server through runs: how many in a row count, and what of them ends it.
func TestIsolation(t *testing.T) {
	held := posture.Run{Probes: []posture.Probe{{Control: "PERM-1", Outcome: posture.Held}}}
	broken := posture.Run{Probes: []posture.Probe{{Control: "PERM-1", Outcome: posture.Broken}}}
	less := posture.Run{Probes: []posture.Probe{{Control: "PERM-2", Outcome: posture.Broken}}}
	open := posture.Run{Probes: []posture.Probe{{Control: "PERM-1", Outcome: posture.Inconclusive}}}
	two := int32(2)
	for name, test := range map[string]struct {
		verification *v1alpha1.Verification
		runs         []posture.Run
		want         string // one letter a run: I isolated, o not, - never
	}{
		"reported":               {nil, []posture.Run{broken, broken, broken, broken}, "----"},
		"reported, as is said":   {&v1alpha1.Verification{OnFailure: v1alpha1.FailureReport}, []posture.Run{broken, broken}, "--"},
		"isolated":               {&v1alpha1.Verification{OnFailure: v1alpha1.FailureIsolate}, []posture.Run{broken, broken, broken, broken, held, broken}, "ooIIoo"},
		"after two":              {&v1alpha1.Verification{OnFailure: v1alpha1.FailureIsolate, IsolateAfter: &two}, []posture.Run{broken, held, broken, broken, held}, "oooIo"},
		"nothing that is known":  {&v1alpha1.Verification{OnFailure: v1alpha1.FailureIsolate, IsolateAfter: &two}, []posture.Run{open, broken, open, broken, open, open, held}, "oooIIIo"},
		"nothing critical":       {&v1alpha1.Verification{OnFailure: v1alpha1.FailureIsolate, IsolateAfter: &two}, []posture.Run{less, less, less, broken, less, broken}, "oooooo"},
		"healed by what is less": {&v1alpha1.Verification{OnFailure: v1alpha1.FailureIsolate, IsolateAfter: &two}, []posture.Run{broken, broken, less}, "oIo"},
	} {
		t.Run(name, func(t *testing.T) {
			server := &v1alpha1.MCPServer{Spec: v1alpha1.MCPServerSpec{Verification: test.verification}}
			var last *run
			got := ""
			for _, r := range test.runs {
				last = &run{Run: r, critical: critical(r, last)}
				c := isolated(server, last)
				server.Status.Conditions = nil
				switch {
				case c == nil:
					got += "-"
				case c.Status == metav1.ConditionTrue:
					got += "I"
					server.Status.Conditions = []metav1.Condition{*c}
					if again := isolated(server, nil); again == nil || again.Status != metav1.ConditionTrue {
						t.Error("an operator that begins opens what is isolated")
					}
				default:
					got += "o"
				}
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
