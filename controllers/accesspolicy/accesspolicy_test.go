package accesspolicy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

var now = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

func rule(names ...string) v1alpha1.AccessRule {
	r := v1alpha1.AccessRule{Tools: []string{"list"}}
	for _, name := range names {
		r.Subjects = append(r.Subjects, v1alpha1.Subject{Type: v1alpha1.SubjectMCPClient, MCPClient: &v1alpha1.MCPClientSubject{Namespace: "apps", Name: name}})
	}
	return r
}

func until(r v1alpha1.AccessRule, d time.Duration) v1alpha1.AccessRule {
	end := metav1.NewTime(now.Add(d))
	r.NotAfter = &end
	return r
}

func TestJudge(t *testing.T) {
	github := v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: "tools", Name: "github"}}
	names := &v1alpha1.MCPClient{Spec: v1alpha1.MCPClientSpec{Servers: []v1alpha1.ServerRef{{Namespace: "tools", Name: "github"}}}}
	silent := &v1alpha1.MCPClient{Spec: v1alpha1.MCPClientSpec{Servers: []v1alpha1.ServerRef{{Namespace: "tools", Name: "other"}}}}
	withIssuers := github
	withIssuers.Spec.Authentication = &v1alpha1.Authentication{Tokens: []v1alpha1.TokenIssuer{{Name: "corp", Type: v1alpha1.TokenIssuerOIDC}}}
	people := func(issuer string) v1alpha1.Subject {
		return v1alpha1.Subject{Type: v1alpha1.SubjectClaims, Claims: &v1alpha1.ClaimsSubject{Issuer: issuer, Match: []v1alpha1.ClaimCondition{{Path: []string{"sub"}, Values: []string{"alice"}}}}}
	}
	bad := rule("agent")
	bad.Methods = []string{"tools/call", "no/such"}
	bad.Resources = []string{"not a uri"}
	many := v1alpha1.AccessRule{Tools: []string{"list"}}
	for i := range 9 {
		many.Subjects = append(many.Subjects, rule(fmt.Sprintf("absent-%d", i)).Subjects...)
	}
	for _, test := range []struct {
		name    string
		servers []string
		rules   []v1alpha1.AccessRule
		matched []v1alpha1.MCPServer
		clients map[string]*v1alpha1.MCPClient
		want    string
		says    []string
		again   time.Duration
	}{
		{
			name: "in force", servers: []string{"github"}, rules: []v1alpha1.AccessRule{rule("agent")}, matched: []v1alpha1.MCPServer{github},
			clients: map[string]*v1alpha1.MCPClient{"agent": names}, want: "Ready=True/Ready",
		},
		{
			name: "one server does not exist", servers: []string{"github", "absent"}, rules: []v1alpha1.AccessRule{rule("agent")},
			matched: []v1alpha1.MCPServer{github}, clients: map[string]*v1alpha1.MCPClient{"agent": names},
			want: "Ready=True/Ready", says: []string{"not found: absent"},
		},
		{
			name: "no server", servers: []string{"absent"}, rules: []v1alpha1.AccessRule{rule("agent")},
			want: "Ready=False/NoServer Reconciling=True/NoServer", says: []string{"not found: absent"},
		},
		{
			name: "subjects that get nothing", servers: []string{"github"}, rules: []v1alpha1.AccessRule{rule("agent", "absent", "silent")},
			matched: []v1alpha1.MCPServer{github}, clients: map[string]*v1alpha1.MCPClient{"agent": names, "silent": silent},
			want: "Ready=True/SubjectsWaiting", says: []string{"do not exist: apps/absent", "spec.servers: apps/silent"},
		},
		{
			name: "subjects whose issuers nobody has", servers: []string{"github"}, matched: []v1alpha1.MCPServer{github},
			rules: []v1alpha1.AccessRule{{Tools: []string{"list"}, Subjects: []v1alpha1.Subject{
				{Type: v1alpha1.SubjectServiceAccount, ServiceAccount: &v1alpha1.ServiceAccountSubject{Namespace: "apps", Name: "bot"}}, people("corp"), people("corp"),
			}, Actors: []v1alpha1.MCPClientSubject{{Namespace: "apps", Name: "absent"}}}},
			want: "Ready=True/SubjectsWaiting", says: []string{"do not exist: apps/absent", "spec.authentication.tokens: Kubernetes, corp"},
		},
		{
			name: "subjects whose issuers are there", servers: []string{"github"}, matched: []v1alpha1.MCPServer{withIssuers},
			rules: []v1alpha1.AccessRule{{Tools: []string{"list"}, Subjects: []v1alpha1.Subject{people("corp")}}}, want: "Ready=True/Ready",
		},
		{
			name: "many subjects", servers: []string{"github"}, rules: []v1alpha1.AccessRule{many}, matched: []v1alpha1.MCPServer{github},
			want: "Ready=True/SubjectsWaiting", says: []string{"and 4 more"},
		},
		{
			name: "invalid", servers: []string{"github"}, rules: []v1alpha1.AccessRule{rule("agent"), bad}, matched: []v1alpha1.MCPServer{github},
			clients: map[string]*v1alpha1.MCPClient{"agent": names}, want: "Ready=False/RuleInvalid Stalled=True/RuleInvalid",
			says: []string{"the whole policy is ignored", `spec.rules[1]: methods[0]: "tools/call"`, `methods[1]: "no/such"`, "resources[0]"},
		},
		{
			name: "a rule ended, another will", servers: []string{"github"}, matched: []v1alpha1.MCPServer{github},
			rules:   []v1alpha1.AccessRule{until(rule("agent"), 0), until(rule("agent"), time.Hour), until(rule("agent"), 2*time.Hour)},
			clients: map[string]*v1alpha1.MCPClient{"agent": names}, want: "Ready=True/Ready", says: []string{"expired: spec.rules[0]"}, again: time.Hour,
		},
		{
			name: "all rules ended", servers: []string{"github"}, matched: []v1alpha1.MCPServer{github},
			rules:   []v1alpha1.AccessRule{until(rule("agent"), -time.Hour)},
			clients: map[string]*v1alpha1.MCPClient{"agent": names}, want: "Ready=True/RulesExpired",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := &input{
				policy: &v1alpha1.MCPAccessPolicy{
					ObjectMeta: metav1.ObjectMeta{Namespace: "tools", Name: "readers", Generation: 2},
					Spec:       v1alpha1.MCPAccessPolicySpec{Servers: v1alpha1.ServerSelection{Names: test.servers}, Rules: test.rules},
				},
				matched: test.matched, now: now, clients: map[types.NamespacedName]*v1alpha1.MCPClient{},
			}
			for name, c := range test.clients {
				in.clients[types.NamespacedName{Namespace: "apps", Name: name}] = c
			}
			s := judge(in)
			var got []string
			for _, c := range s.Conditions {
				got = append(got, fmt.Sprintf("%s=%s/%s", c.Type, c.Status, c.Reason))
				for _, text := range test.says {
					if !strings.Contains(c.Message, text) {
						t.Errorf("%s says %q, not %q", c.Type, c.Message, text)
					}
				}
			}
			if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
			if int(*s.MatchedServers) != len(test.matched) || s.ObservedGeneration != 2 {
				t.Errorf("status: %+v", s)
			}
			if got := in.again().RequeueAfter; got != test.again {
				t.Errorf("looks again after %s, want %s", got, test.again)
			}
			in.policy.Status, in.now = s, now.Add(time.Minute)
			if diff := cmp.Diff(s, judge(in)); diff != "" && test.again == 0 {
				t.Errorf("the same facts give another status: %s", diff)
			}
		})
	}
}
