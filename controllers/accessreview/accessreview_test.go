package accessreview

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/profile"
)

func TestReview(t *testing.T) {
	now := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	past := metav1.NewTime(now.Add(-time.Hour))
	server := &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: "tools", Name: "pods"}}
	server.Spec.Tools = &v1alpha1.Tools{Forbidden: []string{"*exec*"}}
	me := &v1alpha1.MCPClient{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "me"}}
	me.Spec.Servers = []v1alpha1.ServerRef{{Namespace: "tools", Name: "pods"}}
	stranger := &v1alpha1.MCPClient{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "stranger"}}
	nobody := me.DeepCopy()
	nobody.Name = "nobody"
	late := me.DeepCopy()
	late.Name = "late"
	subject := func(name string) []v1alpha1.Subject {
		return []v1alpha1.Subject{{Type: v1alpha1.SubjectMCPClient, MCPClient: &v1alpha1.MCPClientSubject{Namespace: "agents", Name: name}}}
	}
	policies := []v1alpha1.MCPAccessPolicy{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "tools", Name: "me"}, Spec: v1alpha1.MCPAccessPolicySpec{
			Servers: v1alpha1.ServerSelection{Names: []string{"pods"}},
			Rules: []v1alpha1.AccessRule{
				{Subjects: subject("me"), Tools: []string{"pods_*"}, Expression: `arguments.namespace == "demo"`},
				{Subjects: subject("me"), Tools: []string{"pods_exec", "events"}, Prompts: []string{"triage"}, Resources: []string{"file:///docs/**"}},
				{Subjects: subject("late"), Tools: []string{"events"}, NotAfter: &past},
			},
		}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "tools", Name: "wrong"}, Spec: v1alpha1.MCPAccessPolicySpec{
			Servers: v1alpha1.ServerSelection{Names: []string{"pods"}},
			Rules:   []v1alpha1.AccessRule{{Subjects: subject("me"), Tools: []string{"secrets_read"}, Expression: "arguments.("}},
		}},
	}
	for _, test := range []struct {
		name           string
		client         *v1alpha1.MCPClient
		method, target string
		arguments      map[string]any
		allowed        bool
		reason         string
	}{
		{"by a rule", me, "tools/call", "events", nil, true, "me/1"},
		{"by a rule with an expression that holds", me, "tools/call", "pods_list", map[string]any{"namespace": "demo"}, true, "me/0"},
		{"the expression does not hold", me, "tools/call", "pods_list", map[string]any{"namespace": "kube-system"}, false, "expression does not hold"},
		{"forbidden to everybody", me, "tools/call", "pods_exec", map[string]any{"namespace": "demo"}, false, "spec.tools.forbidden"},
		{"no rule for the tool", me, "tools/call", "helm_install", nil, false, "rules[].tools"},
		{"a rule of a policy that is wrong", me, "tools/call", "secrets_read", nil, false, "rules[].tools"},
		{"a prompt", me, "prompts/get", "triage", nil, true, "me/1"},
		{"a resource", me, "resources/read", "file:///docs/a/b", nil, true, "me/1"},
		{"a resource round a corner", me, "resources/read", "file:///docs/../etc/passwd", nil, false, "more than one way"},
		{"what everybody may", me, "tools/list", "", nil, true, "every client"},
		{"a method without a rule", me, "logging/setLevel", "", nil, false, "rules[].methods"},
		{"no method at all", me, "shell/open", "", nil, false, "does not know the method"},
		{"a client without a rule", nobody, "tools/call", "events", nil, false, "no MCPAccessPolicy"},
		{"a rule that has ended", late, "tools/call", "events", nil, false, "names the client"},
		{"a client that does not name the server", stranger, "tools/call", "events", nil, false, "spec.servers"},
	} {
		answer, err := Review(Question{
			Server: server, Policies: policies, Client: test.client, Method: test.method, Target: test.target, Arguments: test.arguments, Now: now,
		})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if answer.Allowed != test.allowed || !strings.Contains(answer.Reason, test.reason) {
			t.Errorf("%s: %+v", test.name, answer)
		}
		if test.client == me && (len(answer.Problems) != 1 || !strings.Contains(answer.Problems[0], "wrong")) {
			t.Errorf("%s: the problems are %v", test.name, answer.Problems)
		}
	}
	// Profiles forbid tools beside the server, to those whom a rule names, too.
	floor := profile.Of([]v1alpha1.MCPSecurityProfile{
		{ObjectMeta: metav1.ObjectMeta{Name: "production"}, Spec: v1alpha1.MCPSecurityProfileSpec{Tools: &v1alpha1.ProfileTools{Forbidden: []string{"*event*"}}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "trial"}, Spec: v1alpha1.MCPSecurityProfileSpec{Enforcement: v1alpha1.ProfileDryRun, Tools: &v1alpha1.ProfileTools{Forbidden: []string{"*"}}}},
	}, nil)
	for _, test := range []struct {
		target  string
		allowed bool
		reason  string
	}{
		{"events", false, "MCPSecurityProfile production forbids the tool to everybody"},
		{"pods_exec", false, "the server forbids the tool to everybody, in spec.tools.forbidden of the MCPServer"},
		{"pods_list", true, "me/0"},
	} {
		answer, err := Review(Question{
			Server: server, Policies: policies, Client: me, Floor: floor, Method: "tools/call", Target: test.target, Arguments: map[string]any{"namespace": "demo"}, Now: now,
		})
		if err != nil || answer.Allowed != test.allowed || !strings.Contains(answer.Reason, test.reason) {
			t.Errorf("%s under profiles: %v %+v", test.target, err, answer)
		}
	}
	if _, err := Review(Question{Server: server, Client: me, Policies: policies, Method: "tools/list", Target: "x", Now: now}); err == nil {
		t.Error("a list of a target was judged")
	}
	if _, err := Review(Question{Server: server, Client: me, Policies: policies, Method: "tools/call", Now: now}); err == nil {
		t.Error("a call without a name was judged")
	}
}
