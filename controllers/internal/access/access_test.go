package access_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
)

var update = flag.Bool("update", false, "write the golden files")

var now = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) *metav1.Time {
	t := metav1.NewTime(now.Add(d))
	return &t
}

func server(namespace, name string, labels ...string) *v1alpha1.MCPServer {
	s := &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{}}}
	for i := 0; i+1 < len(labels); i += 2 {
		s.Labels[labels[i]] = labels[i+1]
	}
	return s
}

// client makes an MCPClient that names servers, given as "namespace/name".
func client(namespace, name string, servers ...string) v1alpha1.MCPClient {
	c := v1alpha1.MCPClient{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	for _, s := range servers {
		ns, n, _ := strings.Cut(s, "/")
		c.Spec.Servers = append(c.Spec.Servers, v1alpha1.ServerRef{Namespace: ns, Name: n})
	}
	return c
}

func withKey(c v1alpha1.MCPClient, servers, id string, state v1alpha1.KeyState, issued, notAfter *metav1.Time) v1alpha1.MCPClient {
	k := v1alpha1.ClientKey{
		ID: (id + strings.Repeat("a", 16))[:16], SHA256: strings.Repeat("0f", 32), State: state, IssuedAt: *issued, NotAfter: *notAfter,
	}
	for i := range c.Status.Credentials {
		if c.Status.Credentials[i].Namespace == servers {
			c.Status.Credentials[i].Keys = append(c.Status.Credentials[i].Keys, k)
			return c
		}
	}
	c.Status.Credentials = append(c.Status.Credentials, v1alpha1.ClientCredential{Namespace: servers, Keys: []v1alpha1.ClientKey{k}})
	return c
}

func subject(client string) v1alpha1.Subject {
	ns, n, _ := strings.Cut(client, "/")
	return v1alpha1.Subject{Type: v1alpha1.SubjectMCPClient, MCPClient: &v1alpha1.MCPClientSubject{Namespace: ns, Name: n}}
}

// rule allows the tool "list" to clients, given as "namespace/name".
func rule(clients ...string) v1alpha1.AccessRule {
	r := v1alpha1.AccessRule{Tools: []string{"list"}}
	for _, c := range clients {
		r.Subjects = append(r.Subjects, subject(c))
	}
	return r
}

func forServers(namespace, name string, servers []string, rules ...v1alpha1.AccessRule) v1alpha1.MCPAccessPolicy {
	return v1alpha1.MCPAccessPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.MCPAccessPolicySpec{Servers: v1alpha1.ServerSelection{Names: servers}, Rules: rules},
	}
}

// TestConsent walks through both sides of the consent: only with both is a client in.
func TestConsent(t *testing.T) {
	names := client("apps", "agent", "tools/github")
	deleted := names.DeepCopy()
	deleted.DeletionTimestamp = at(0)
	grants := forServers("tools", "readers", []string{"github"}, rule("apps/agent"))
	deletedPolicy := grants.DeepCopy()
	deletedPolicy.DeletionTimestamp = at(0)
	expired, limited := grants.DeepCopy(), grants.DeepCopy()
	expired.Spec.Rules[0].NotAfter = at(0)
	limited.Spec.Rules[0].NotAfter = at(time.Hour)
	invalid := grants.DeepCopy()
	invalid.Spec.Rules = append(invalid.Spec.Rules, rule("apps/other"))
	invalid.Spec.Rules[1].Methods = []string{"tools/call"}
	untyped := grants.DeepCopy()
	untyped.Spec.Rules[0].Expression = "arguments.name"
	labelled := grants.DeepCopy()
	labelled.Spec.Servers = v1alpha1.ServerSelection{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "one"}}}
	everything := grants.DeepCopy()
	everything.Spec.Servers = v1alpha1.ServerSelection{Selector: &metav1.LabelSelector{}}
	otherLabel := labelled.DeepCopy()
	otherLabel.Spec.Servers.Selector.MatchLabels["tier"] = "two"
	badSelector := grants.DeepCopy()
	badSelector.Spec.Servers = v1alpha1.ServerSelection{Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Bad"}}}}
	both := everything.DeepCopy()
	both.Spec.Servers.Names = []string{"github"}
	noSubject := grants.DeepCopy()
	noSubject.Spec.Rules[0].Subjects = append(noSubject.Spec.Rules[0].Subjects, v1alpha1.Subject{Type: "Everybody"})

	for _, test := range []struct {
		name     string
		client   v1alpha1.MCPClient
		policy   v1alpha1.MCPAccessPolicy
		granted  bool
		next     time.Time
		problems int
	}{
		{name: "both sides", client: names, policy: grants, granted: true},
		{name: "the client names another server", client: client("apps", "agent", "tools/other"), policy: grants},
		{name: "the client names the server's name elsewhere", client: client("apps", "agent", "other/github"), policy: grants},
		{name: "the client is being deleted", client: *deleted, policy: grants},
		{name: "another client of the same name elsewhere", client: client("evil", "agent", "tools/github"), policy: grants},
		{name: "the policy names nobody of the kind", client: names, policy: forServers("tools", "readers", []string{"github"}, rule("apps/other"))},
		{name: "the policy is about another server", client: names, policy: forServers("tools", "readers", []string{"other"}, rule("apps/agent"))},
		{name: "the policy is of another namespace", client: names, policy: forServers("apps", "readers", []string{"github"}, rule("apps/agent"))},
		{name: "the policy is being deleted", client: names, policy: *deletedPolicy},
		{name: "the rule has expired", client: names, policy: *expired},
		{name: "the rule will expire", client: names, policy: *limited, granted: true, next: now.Add(time.Hour)},
		{name: "another rule of the policy is invalid", client: names, policy: *invalid, problems: 1},
		{name: "the rule's expression is none", client: names, policy: *untyped, problems: 1},
		{name: "selected by label", client: names, policy: *labelled, granted: true},
		{name: "all are selected", client: names, policy: *everything, granted: true},
		{name: "another label", client: names, policy: *otherLabel},
		{name: "a selector that is none", client: names, policy: *badSelector},
		{name: "names and selector", client: names, policy: *both},
		{name: "an unknown type of subject beside", client: names, policy: *noSubject, problems: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := server("tools", "github", "tier", "one")
			r := access.Build(access.Input{
				Server: s, Clients: []v1alpha1.MCPClient{test.client}, Policies: []v1alpha1.MCPAccessPolicy{test.policy}, Now: now,
			})
			if got := len(r.Clients) == 1 && len(r.Policy.Rules) == 1; got != test.granted {
				t.Errorf("granted %t, want %t: %+v", got, test.granted, r)
			}
			if !r.Next.Equal(test.next) {
				t.Errorf("changes at %s, want %s", r.Next, test.next)
			}
			if len(r.Problems) != test.problems {
				t.Errorf("problems %v, want %d", r.Problems, test.problems)
			}
			// The client's side comes to the same.
			grants, next := access.Granted(&test.client, []v1alpha1.MCPServer{*s}, []v1alpha1.MCPAccessPolicy{test.policy}, now)
			if got := grants[0].State == v1alpha1.ServerGranted; got != test.granted || !next.Equal(test.next) {
				t.Errorf("Granted: %+v until %s", grants, next)
			}
		})
	}
}

func TestGranted(t *testing.T) {
	c := client("apps", "agent", "tools/github", "tools/absent", "data/db", "data/closed")
	servers := []v1alpha1.MCPServer{*server("tools", "github"), *server("data", "db"), *server("data", "closed")}
	policies := []v1alpha1.MCPAccessPolicy{
		forServers("tools", "a", []string{"github", "absent"}, rule("apps/agent")),
		forServers("data", "a", []string{"db"}, rule("apps/agent")),
	}
	grants, _ := access.Granted(&c, servers, policies, now)
	var got []string
	for _, g := range grants {
		got = append(got, fmt.Sprintf("%s/%s %s %t", g.Namespace, g.Name, g.State, g.Server != nil))
	}
	want := []string{"data/closed NotGranted true", "data/db Granted true", "tools/absent NotFound false", "tools/github Granted true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestKeys(t *testing.T) {
	const servers = "tools"
	hour, later := at(-time.Hour), at(time.Hour)
	unwanted := withKey(client("a", "c", "tools/s"), servers, "k", v1alpha1.KeyCurrent, hour, later)
	unwanted.Spec.RevokedKeys = []string{unwanted.Status.Credentials[0].Keys[0].ID}
	for _, test := range []struct {
		name     string
		client   v1alpha1.MCPClient
		want     int
		problems int
	}{
		{"pending", withKey(client("a", "c", "tools/s"), servers, "k", v1alpha1.KeyPending, hour, later), 1, 0},
		{"distributed", withKey(client("a", "c", "tools/s"), servers, "k", v1alpha1.KeyDistributed, hour, later), 1, 0},
		{"current", withKey(client("a", "c", "tools/s"), servers, "k", v1alpha1.KeyCurrent, hour, later), 1, 0},
		{"draining", withKey(client("a", "c", "tools/s"), servers, "k", v1alpha1.KeyDraining, hour, later), 1, 0},
		{"retired", withKey(client("a", "c", "tools/s"), servers, "k", v1alpha1.KeyRetired, hour, later), 0, 0},
		{"revoked", withKey(client("a", "c", "tools/s"), servers, "k", v1alpha1.KeyRevoked, hour, later), 0, 0},
		{"revoked by the spec, which the status does not show yet", unwanted, 0, 0},
		{"of a state that nobody knows", withKey(client("a", "c", "tools/s"), servers, "k", "Eternal", hour, later), 0, 0},
		{"expired", withKey(client("a", "c", "tools/s"), servers, "k", v1alpha1.KeyCurrent, hour, at(0)), 0, 0},
		{"for another namespace of servers", withKey(client("a", "c", "tools/s"), "data", "k", v1alpha1.KeyCurrent, hour, later), 0, 0},
		{"an id that is none", withKey(client("a", "c", "tools/s"), servers, "K/../", v1alpha1.KeyCurrent, hour, later), 0, 1},
		{"no end", withKey(client("a", "c", "tools/s"), servers, "k", v1alpha1.KeyCurrent, hour, &metav1.Time{}), 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := access.Build(access.Input{
				Server: server("tools", "s"), Clients: []v1alpha1.MCPClient{test.client}, Now: now,
				Policies: []v1alpha1.MCPAccessPolicy{forServers("tools", "p", []string{"s"}, rule("a/c"))},
			})
			if len(r.Clients) != 1 || len(r.Clients[0].Keys) != test.want || len(r.Problems) != test.problems {
				t.Errorf("got %+v, %v", r.Clients, r.Problems)
			}
		})
	}
	disabled := server("tools", "s")
	disabled.Spec.Authentication = &v1alpha1.Authentication{APIKeys: v1alpha1.APIKeys{Mode: v1alpha1.APIKeysDisabled}}
	r := access.Build(access.Input{
		Server: disabled, Now: now,
		Clients:  []v1alpha1.MCPClient{withKey(client("a", "c", "tools/s"), servers, "k", v1alpha1.KeyCurrent, hour, later)},
		Policies: []v1alpha1.MCPAccessPolicy{forServers("tools", "p", []string{"s"}, rule("a/c"))},
	})
	if len(r.Clients) != 1 || len(r.Clients[0].Keys) != 0 {
		t.Errorf("keys where keys are disabled: %+v", r.Clients)
	}
}

// TestCopiedKey: somebody who copies a key's id into another client neither gets in nor locks the owner out.
func TestCopiedKey(t *testing.T) {
	victim := withKey(client("good", "c", "tools/s"), "tools", "k", v1alpha1.KeyCurrent, at(-time.Hour), at(time.Hour))
	thief := withKey(client("evil", "c", "tools/s"), "tools", "k", v1alpha1.KeyCurrent, at(-time.Minute), at(time.Hour))
	r := access.Build(access.Input{
		Server: server("tools", "s"), Clients: []v1alpha1.MCPClient{thief, victim}, Now: now,
		Policies: []v1alpha1.MCPAccessPolicy{forServers("tools", "p", []string{"s"}, rule("good/c", "evil/c"))},
	})
	if len(r.Clients) != 2 || len(r.Clients[0].Keys) != 0 || len(r.Clients[1].Keys) != 1 || len(r.Problems) != 1 || r.Problems[0].Reason != "KeyNotUnique" {
		t.Errorf("got %+v, %v", r.Clients, r.Problems)
	}
}

// TestBuild compares everything at once, with the input in any order.
func TestBuild(t *testing.T) {
	in := everything(t)
	golden(t, "everything.yaml", access.Build(in))
	want, err := json.Marshal(access.Build(in))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		rand.Shuffle(len(in.Clients), func(i, j int) { in.Clients[i], in.Clients[j] = in.Clients[j], in.Clients[i] })
		rand.Shuffle(len(in.Policies), func(i, j int) { in.Policies[i], in.Policies[j] = in.Policies[j], in.Policies[i] })
		for i := range in.Policies {
			for _, r := range in.Policies[i].Spec.Rules {
				rand.Shuffle(len(r.Subjects), func(i, j int) { r.Subjects[i], r.Subjects[j] = r.Subjects[j], r.Subjects[i] })
			}
		}
		got, err := json.Marshal(access.Build(in))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Fatalf("the order of the input shows: %s", diff)
		}
	}
}

func everything(t *testing.T) access.Input {
	t.Helper()
	authority, err := os.ReadFile(filepath.Join("testdata", "authority.pem"))
	if err != nil {
		t.Fatal(err)
	}
	agent := client("apps", "agent", "tools/github", "data/db")
	agent.Spec.PodSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "agent"}}
	agent = withKey(agent, "tools", "m", v1alpha1.KeyDraining, at(-48*time.Hour), at(24*time.Hour))
	agent = withKey(agent, "tools", "b", v1alpha1.KeyCurrent, at(-time.Hour), at(48*time.Hour))
	bot := client("apps", "bot", "tools/github")
	bot.Spec.PodSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Bad"}}}
	cron := withKey(client("batch", "cron", "tools/github"), "tools", "c", v1alpha1.KeyPending, at(-time.Minute), at(72*time.Hour))
	cron.Spec.PodSelector = &metav1.LabelSelector{}

	writers := forServers("tools", "writers", []string{"github"}, rule("batch/cron", "apps/absent"), rule("apps/agent"))
	writers.Spec.Rules[0].NotAfter = at(6 * time.Hour)
	writers.Spec.Rules[1].NotAfter = at(-time.Hour)
	readers := forServers("tools", "readers", []string{"github"}, rule("batch/cron", "apps/agent", "apps/bot", "apps/agent"))
	readers.Spec.Rules[0] = v1alpha1.AccessRule{
		Subjects: readers.Spec.Rules[0].Subjects, Tools: []string{"search_*", "get_*"}, Prompts: []string{"review"},
		Resources: []string{"file:///docs/**"}, Methods: []string{"logging/setLevel"},
	}
	broken := forServers("tools", "broken", []string{"github"}, rule("apps/agent"))
	broken.Spec.Rules[0].Methods = []string{"tools/call"}
	return access.Input{
		Server:      server("tools", "github"),
		Clients:     []v1alpha1.MCPClient{agent, bot, cron, client("apps", "stranger", "tools/other")},
		Policies:    []v1alpha1.MCPAccessPolicy{writers, readers, broken, forServers("data", "all", []string{"github"}, rule("apps/stranger"))},
		Authorities: map[string]string{"apps": string(authority), "batch": "garbage", "unrelated": string(authority)},
		Now:         now,
	}
}

func golden(t *testing.T, name string, value any) {
	t.Helper()
	got, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}
