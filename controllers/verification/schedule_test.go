package verification

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// TestDueAfterAStart: an operator that begins looks at servers that an earlier one has verified in turns, but does at once what somebody
// asks for.
func TestDueAfterAStart(t *testing.T) {
	now := time.Now()
	r := &Reconciler{Settings: Settings{Spread: time.Hour}, started: now}
	long := strings.Repeat("x", 100)
	for _, test := range []struct {
		name, asked, handled string
		verified, atOnce     bool
	}{
		{"never verified", "", "", false, true},
		{"verified", "", "", true, false},
		{"asked for", "now", "", true, true},
		{"asked for again", "now", "before", true, true},
		{"asked for, and done", "now", "now", true, false},
		{"asked for at length, and done", long, long[:64], true, false},
	} {
		server := &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{UID: "a", Annotations: map[string]string{v1alpha1.AnnotationVerificationRequestedAt: test.asked}}}
		if test.verified {
			server.Status.Posture = &v1alpha1.PostureStatus{HandledRequest: test.handled}
			server.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionVerified, Status: metav1.ConditionTrue, Reason: "Verified"}}
		}
		wait := r.due(&observed{server: server, now: now, gates: make([]gate, 1)}, nil)
		if (wait <= 0) != test.atOnce {
			t.Errorf("%s: due in %s", test.name, wait)
		}
	}
}
