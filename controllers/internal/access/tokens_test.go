package access_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

func people(issuer string, values ...string) v1alpha1.Subject {
	return v1alpha1.Subject{Type: v1alpha1.SubjectClaims, Claims: &v1alpha1.ClaimsSubject{Issuer: issuer, Match: []v1alpha1.ClaimCondition{{Path: []string{"groups"}, Values: values}}}}
}

func account(namespace, name string) v1alpha1.Subject {
	return v1alpha1.Subject{Type: v1alpha1.SubjectServiceAccount, ServiceAccount: &v1alpha1.ServiceAccountSubject{Namespace: namespace, Name: name}}
}

// TestHolders: who shows a token needs no MCPClient, but an issuer that the server accepts; who acts for a holder must agree like
// any client, and a rule that asks for an actor is for nobody when none of its actors agrees.
func TestHolders(t *testing.T) {
	s := server("tools", "github")
	s.Spec.Authentication = &v1alpha1.Authentication{Tokens: []v1alpha1.TokenIssuer{
		{Name: "corp", Type: v1alpha1.TokenIssuerOIDC}, {Name: "here", Type: v1alpha1.TokenIssuerKubernetes},
	}}
	with := func(actors []string, subjects ...v1alpha1.Subject) v1alpha1.AccessRule {
		r := v1alpha1.AccessRule{Tools: []string{"list"}, Subjects: subjects}
		for _, a := range actors {
			r.Actors = append(r.Actors, *subject(a).MCPClient)
		}
		return r
	}
	engineers := policy.TokenSubject{Issuer: "corp", Claims: []policy.Claim{{Path: []string{"groups"}, Values: []string{"a", "b"}}}}
	bot := policy.TokenSubject{Issuer: "here", Claims: []policy.Claim{{Path: []string{"sub"}, Values: []string{"system:serviceaccount:apps:bot"}}}}
	clients := []v1alpha1.MCPClient{client("apps", "agent", "tools/github"), client("apps", "other", "tools/other")}
	for name, test := range map[string]struct {
		rule    v1alpha1.AccessRule
		want    *policy.Rule
		clients int
	}{
		"people":                             {with(nil, people("corp", "b", "a", "b")), &policy.Rule{Tokens: []policy.TokenSubject{engineers}}, 0},
		"a ServiceAccount":                   {with(nil, account("apps", "bot")), &policy.Rule{Tokens: []policy.TokenSubject{bot}}, 0},
		"both, and a client":                 {with(nil, people("corp", "a", "b"), subject("apps/agent"), account("apps", "bot")), &policy.Rule{Clients: []string{"apps/agent"}, Tokens: []policy.TokenSubject{engineers, bot}}, 1},
		"of an issuer that is not there":     {with(nil, people("other", "a")), nil, 0},
		"one of an issuer that is not there": {with(nil, people("other", "a"), account("apps", "bot")), &policy.Rule{Tokens: []policy.TokenSubject{bot}}, 0},
		"through a client":                   {with([]string{"apps/agent"}, people("corp", "a", "b")), &policy.Rule{Tokens: []policy.TokenSubject{engineers}, Actors: []string{"apps/agent"}}, 1},
		"through one of two clients":         {with([]string{"apps/other", "apps/agent"}, people("corp", "a", "b")), &policy.Rule{Tokens: []policy.TokenSubject{engineers}, Actors: []string{"apps/agent"}}, 1},
		"through a client that is silent":    {with([]string{"apps/other"}, people("corp", "a", "b")), nil, 0},
		"through a client that is absent":    {with([]string{"apps/absent"}, account("apps", "bot")), nil, 0},
		"nobody, through a client":           {with([]string{"apps/agent"}, people("other", "a")), nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := access.Build(access.Input{Server: s, Clients: clients, Now: now, Policies: []v1alpha1.MCPAccessPolicy{forServers("tools", "p", []string{"github"}, test.rule)}})
			var want []policy.Rule
			if test.want != nil {
				test.want.ID, test.want.Tools = "p/0", []string{"list"}
				want = []policy.Rule{*test.want}
			}
			if diff := cmp.Diff(want, r.Policy.Rules); diff != "" || len(r.Clients) != test.clients || len(r.Problems) > 0 {
				t.Errorf("%d clients, problems %v (-want +got):\n%s", len(r.Clients), r.Problems, diff)
			}
		})
	}
}

func TestHoldersAreValidated(t *testing.T) {
	scoped := v1alpha1.AccessRule{Tools: []string{"a"}, Subjects: []v1alpha1.Subject{people("corp", "a")}, Scopes: []string{"a b"}}
	mixed := v1alpha1.AccessRule{Tools: []string{"a"}, Subjects: []v1alpha1.Subject{people("corp", "a"), subject("apps/agent")}, Scopes: []string{"a"}}
	actor := v1alpha1.AccessRule{Tools: []string{"a"}, Subjects: []v1alpha1.Subject{people("corp", "a")}, Actors: []v1alpha1.MCPClientSubject{{Namespace: "apps", Name: "a/b"}}}
	for name, test := range map[string]struct {
		rule  v1alpha1.AccessRule
		field string
	}{
		"good":                         {v1alpha1.AccessRule{Tools: []string{"a"}, Subjects: []v1alpha1.Subject{people("corp", "a"), account("apps", "system.bot")}}, ""},
		"an account's name":            {v1alpha1.AccessRule{Tools: []string{"a"}, Subjects: []v1alpha1.Subject{account("apps", "a:b")}}, "spec.rules[0].subjects[0].serviceAccount"},
		"an account's namespace":       {v1alpha1.AccessRule{Tools: []string{"a"}, Subjects: []v1alpha1.Subject{account("a:b", "c")}}, "spec.rules[0].subjects[0].serviceAccount"},
		"no field of the type":         {v1alpha1.AccessRule{Tools: []string{"a"}, Subjects: []v1alpha1.Subject{{Type: v1alpha1.SubjectClaims}}}, "spec.rules[0].subjects[0]"},
		"no conditions":                {v1alpha1.AccessRule{Tools: []string{"a"}, Subjects: []v1alpha1.Subject{{Type: v1alpha1.SubjectClaims, Claims: &v1alpha1.ClaimsSubject{Issuer: "corp"}}}}, "spec.rules[0]"},
		"no values":                    {v1alpha1.AccessRule{Tools: []string{"a"}, Subjects: []v1alpha1.Subject{people("corp")}}, "spec.rules[0]"},
		"an issuer that is no name":    {v1alpha1.AccessRule{Tools: []string{"a"}, Subjects: []v1alpha1.Subject{people("https://corp.example", "a")}}, "spec.rules[0]"},
		"a scope that is none":         {scoped, "spec.rules[0]"},
		"scopes for a client":          {mixed, "spec.rules[0]"},
		"an actor that is none":        {actor, "spec.rules[0].actors[0]"},
		"the field of another type":    {v1alpha1.AccessRule{Tools: []string{"a"}, Subjects: []v1alpha1.Subject{{Type: v1alpha1.SubjectServiceAccount, Claims: people("corp", "a").Claims}}}, "spec.rules[0].subjects[0]"},
		"another type with all fields": {v1alpha1.AccessRule{Tools: []string{"a"}, Subjects: []v1alpha1.Subject{{Type: "Group", Claims: people("corp", "a").Claims, ServiceAccount: account("a", "b").ServiceAccount}}}, "spec.rules[0].subjects[0]"},
	} {
		p := forServers("tools", "p", []string{"github"}, test.rule)
		problems := access.Validate(&p)
		if test.field == "" && len(problems) > 0 || test.field != "" && (len(problems) == 0 || problems[0].Field != test.field) {
			t.Errorf("%s: %v", name, problems)
		}
	}
}
