package posture_test

import (
	"flag"
	"math/rand/v2"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/internal/posture"
)

var update = flag.Bool("update", false, "write the golden files")

var now = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

const (
	digestA = "registry.example/server@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB = "registry.example/server@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// probedControls are the controls that need a probe.
var probedControls = []string{"AUTH-1", "AUTH-5", "AUTH-6", "AUTH-7", "AUTH-8", "AUTH-10", "PERM-1", "PERM-2", "PERM-7", "ENC-1", "ENC-2", "ENC-3", "LOG-3", "TEST-3", "LEAST-6"}

// healthy is a snapshot in which everything is known and good.
func healthy() *posture.Snapshot {
	seen := now.Add(-time.Minute)
	fine := func(source string) posture.Fact[[]string] { return posture.See([]string(nil), source, seen) }
	s := &posture.Snapshot{
		Server: "tools/github", Now: now, StaleAfter: 2 * time.Hour,
		Classification: posture.Say(posture.Classification{Level: "Internal", Owner: "team-a", Categories: []string{"Code"}}, "MCPServer spec.classification"),
		Offers:         posture.See(2, "gates", seen),
		Tools:          posture.See([]posture.Tool{{Name: "list"}, {Name: "write", Writes: true}}, "gates", seen),
		Unmanaged:      posture.See(posture.Unmanaged{}, "discovery", seen),
		Clients: posture.See([]posture.Client{
			{Name: "apps/agent", Listed: true, MaximumAge: 2160 * time.Hour, Keys: []posture.Key{
				{ID: "k1", IssuedAt: now.Add(-time.Hour), NotAfter: now.Add(2159 * time.Hour), Accepted: true},
				{ID: "k0", IssuedAt: now.Add(-5000 * time.Hour), NotAfter: now.Add(-2840 * time.Hour)},
			}},
			{Name: "apps/other", Listed: true, MaximumAge: 2160 * time.Hour},
		}, "MCPClients", seen),
		StaleKeys:       fine("gates"),
		APIKeys:         posture.Say(true, "MCPServer spec.authentication"),
		Bearer:          posture.Say(true, "MCPServer spec.authentication"),
		Tokens:          posture.Say(true, "MCPServer spec.authentication"),
		LoginAlerts:     posture.See(true, "PrometheusRule", seen),
		Grants:          posture.Say([]posture.Grant{{Rule: "readers/0", Tools: []string{"list"}}}, "MCPAccessPolicies"),
		Unpinned:        fine("gates"),
		Unconstrained:   fine("MCPAccessPolicies"),
		Certificate:     posture.See(posture.Certificate{Algorithm: "ECDSA", Bits: 256, FreshKeys: true}, "Certificate", seen),
		Authority:       posture.See(posture.Authority{NotAfter: now.Add(1000 * time.Hour), LeafNotAfter: now.Add(time.Hour), RollsOver: true}, "Secret", seen),
		Literals:        fine("MCPServer spec.env"),
		AtRest:          posture.Say(posture.Attestation{Owner: "ops", Evidence: "KMS v2", Expires: now.Add(time.Hour)}, "attestation"),
		Volumes:         posture.Say(posture.Attestation{Owner: "ops", Evidence: "LUKS", Expires: now.Add(time.Hour)}, "attestation"),
		Audit:           posture.See(posture.Audit{Replicas: 2, Chained: 2}, "gates", seen),
		Alerts:          posture.See(true, "PrometheusRule", seen),
		Scraped:         posture.See(true, "PodMonitor", seen),
		Image:           posture.See(posture.Image{Spec: digestA, Running: []string{digestA}}, "pods", seen),
		OldImage:        posture.See("", "report", seen),
		Vulnerabilities: posture.See(posture.Vulnerabilities{}, "VulnerabilityReport", seen),
		Unsigned:        fine("policy reports"),
		Gate:            posture.See(posture.Gate{Want: digestB, Running: []string{digestB}}, "pods", seen),
		ServerRequests:  fine("gates"),
		PodSecurity:     fine("pods"), Containers: fine("pods"), Rights: fine("bindings"), NetworkOpenings: fine("NetworkPolicies"),
		Listeners: fine("gates"), Egress: fine("NetworkPolicy"), Detours: fine("Services"),
		Token: posture.See(posture.ServiceAccountToken{}, "pods", seen),
	}
	run := posture.Run{Interval: time.Hour}
	for _, id := range probedControls {
		run.Probes = append(run.Probes, posture.Probe{Name: "probe of " + id, Control: id, Pod: "github-1", Outcome: posture.Held})
	}
	run.Probes = append(run.Probes, posture.Probe{Name: posture.RetiredKey, Control: "AUTH-5", Pod: "github-1", Outcome: posture.Held},
		posture.Probe{Name: posture.RetiredToken, Control: "AUTH-5", Pod: "github-1", Outcome: posture.Held},
		posture.Probe{Name: posture.OwnToken + " that has expired", Control: "AUTH-6", Pod: "github-1", Outcome: posture.Held})
	s.Run = posture.Prove(run, "verification", seen)
	return s
}

// breaks are, for each control, what makes it fail and what makes it unknown. A control that is not here fails by a
// broken probe, and is unknown without a probe.
var breaks = map[string]struct{ fail, unknown func(*posture.Snapshot) }{
	"INV-1": {
		func(s *posture.Snapshot) { s.Classification.Value.Owner = "" },
		func(s *posture.Snapshot) { s.Classification = posture.Fact[posture.Classification]{} }},
	"INV-2": {
		func(s *posture.Snapshot) { s.Offers.Value = 0 },
		func(s *posture.Snapshot) {
			s.Offers = posture.Unknown[int]("the gates do not list what the server offers")
		}},
	"INV-3": {
		func(s *posture.Snapshot) {
			s.Unmanaged.Value = posture.Unmanaged{Certain: []string{"Deployment wild/mcp"}, Elsewhere: true}
		},
		func(s *posture.Snapshot) { s.Unmanaged = posture.Unknown[posture.Unmanaged]("nobody looked") }},
	"INV-4": {
		func(s *posture.Snapshot) { s.Clients.Value[0].Listed = false },
		noClients},
	"AUTH-2": {
		func(s *posture.Snapshot) { s.Clients.Value[1].Keys = []posture.Key{{ID: "k1", Accepted: true}} },
		noClients},
	"AUTH-3": {
		func(s *posture.Snapshot) {
			s.Clients.Value[0].Keys[1].Accepted = true
			s.Clients.Value[0].Keys[1].NotAfter = now.Add(time.Hour)
		},
		noClients},
	"AUTH-4": {
		func(s *posture.Snapshot) { s.Clients.Value[0].RotationFailed = "WaitingForGates" },
		noClients},
	"AUTH-5":  wrong(func(s *posture.Snapshot) *posture.Fact[[]string] { return &s.StaleKeys }, "key k0 at github-1"),
	"AUTH-9":  {nil, func(s *posture.Snapshot) { s.Gate.Value.Running = []string{digestA} }},
	"AUTH-10": is(func(s *posture.Snapshot) *posture.Fact[bool] { return &s.LoginAlerts }),
	"PERM-3": {
		func(s *posture.Snapshot) { s.Grants.Value[0].Tools = []string{"wr*"} },
		func(s *posture.Snapshot) {
			s.Grants.Value[0].Tools = []string{"**"}
			s.Tools = posture.Unknown[[]posture.Tool]("the gates do not list tools")
		}},
	"PERM-4": wrong(func(s *posture.Snapshot) *posture.Fact[[]string] { return &s.Unpinned }, "tool write"),
	"PERM-5": {
		func(s *posture.Snapshot) { s.Tools.Value[1].Forbidden = true },
		func(s *posture.Snapshot) { s.Tools.Known = false }},
	"PERM-6": wrong(func(s *posture.Snapshot) *posture.Fact[[]string] { return &s.Unconstrained }, "rule writers/0"),
	"ENC-4": {
		func(s *posture.Snapshot) { s.Certificate.Value.FreshKeys = false },
		func(s *posture.Snapshot) { s.Certificate.Known = false }},
	"ENC-5": {
		func(s *posture.Snapshot) { s.Authority.Value.LeafNotAfter = s.Authority.Value.NotAfter.Add(1) },
		func(s *posture.Snapshot) { s.Authority.Known = false }},
	"ENC-6": wrong(func(s *posture.Snapshot) *posture.Fact[[]string] { return &s.Literals }, "spec.env[TOKEN]"),
	"ENC-7": {nil, func(s *posture.Snapshot) { s.Gate.Value.Running = nil }},
	"ENC-8": {
		func(s *posture.Snapshot) { s.AtRest.Value.Expires = now },
		func(s *posture.Snapshot) { s.AtRest = posture.Fact[posture.Attestation]{} }},
	"ENC-9": {
		func(s *posture.Snapshot) { s.Volumes.Value.Evidence = "" },
		func(s *posture.Snapshot) { s.Volumes = posture.Fact[posture.Attestation]{} }},
	"LOG-1": {
		func(s *posture.Snapshot) { s.Audit.Value.Chained = 1 },
		func(s *posture.Snapshot) { s.Audit.Value.Replicas = 0 }},
	"LOG-2": is(func(s *posture.Snapshot) *posture.Fact[bool] { return &s.Alerts }),
	"LOG-4": is(func(s *posture.Snapshot) *posture.Fact[bool] { return &s.Scraped }),
	"UPD-1": {
		func(s *posture.Snapshot) { s.Image.Value.Running = []string{digestB} },
		func(s *posture.Snapshot) { s.Image.Known = false }},
	"UPD-2": {
		func(s *posture.Snapshot) { s.OldImage.Value = "the image was built in 2019" },
		func(s *posture.Snapshot) { s.OldImage.Known = false }},
	"UPD-3": {
		func(s *posture.Snapshot) { s.Vulnerabilities.Value.Over = []string{"CVE-2030-1"} },
		func(s *posture.Snapshot) {
			s.Vulnerabilities = posture.Unknown[posture.Vulnerabilities]("nobody looked")
		}},
	"UPD-4": {
		func(s *posture.Snapshot) { s.Gate.Value.Running = []string{digestB, digestA} },
		func(s *posture.Snapshot) { s.Gate.Known = false }},
	"UPD-5": wrong(func(s *posture.Snapshot) *posture.Fact[[]string] { return &s.Unsigned }, "Pod github-1 does not pass the policy signed"),
	"TEST-1": {
		func(s *posture.Snapshot) { s.Run.Time = now.Add(-91 * time.Minute) },
		func(s *posture.Snapshot) { s.Run = posture.Unknown[posture.Run]("no verification has run yet") }},
	"TEST-2": {
		func(s *posture.Snapshot) { s.Run.Value.Probes[3].Outcome = posture.Broken },
		func(s *posture.Snapshot) { s.Run.Value.Probes[3].Outcome = posture.Inconclusive }},
	"FLOW-1":  wrong(func(s *posture.Snapshot) *posture.Fact[[]string] { return &s.ServerRequests }, "sampling/createMessage"),
	"LEAST-1": wrong(func(s *posture.Snapshot) *posture.Fact[[]string] { return &s.PodSecurity }, "container injected runs as root"),
	"LEAST-2": wrong(func(s *posture.Snapshot) *posture.Fact[[]string] { return &s.Containers }, "container injected has no limits"),
	"LEAST-3": {
		func(s *posture.Snapshot) { s.Token.Value.Mounted = []string{"github-1"} },
		func(s *posture.Snapshot) { s.Token.Known = false }},
	"LEAST-4": wrong(func(s *posture.Snapshot) *posture.Fact[[]string] { return &s.Rights }, "get secrets"),
	"LEAST-5": wrong(func(s *posture.Snapshot) *posture.Fact[[]string] { return &s.NetworkOpenings }, "NetworkPolicy open"),
	"LEAST-7": wrong(func(s *posture.Snapshot) *posture.Fact[[]string] { return &s.Egress }, "0.0.0.0/0"),
	"LEAST-8": wrong(func(s *posture.Snapshot) *posture.Fact[[]string] { return &s.Detours }, "Service round"),
}

func noClients(s *posture.Snapshot) { s.Clients.Known = false }

func wrong(f func(*posture.Snapshot) *posture.Fact[[]string], what string) struct{ fail, unknown func(*posture.Snapshot) } {
	return struct{ fail, unknown func(*posture.Snapshot) }{
		func(s *posture.Snapshot) { f(s).Value = []string{what} },
		func(s *posture.Snapshot) { *f(s) = posture.Unknown[[]string]("nobody looked") },
	}
}

func is(f func(*posture.Snapshot) *posture.Fact[bool]) struct{ fail, unknown func(*posture.Snapshot) } {
	return struct{ fail, unknown func(*posture.Snapshot) }{
		func(s *posture.Snapshot) { f(s).Value = false },
		func(s *posture.Snapshot) { f(s).Known = false },
	}
}

func setProbe(id string, outcome posture.Outcome) func(*posture.Snapshot) {
	return func(s *posture.Snapshot) {
		for i := range s.Run.Value.Probes {
			if p := &s.Run.Value.Probes[i]; p.Control == id {
				p.Outcome, p.Detail = outcome, "it was said so"
			}
		}
	}
}

func result(t *testing.T, s *posture.Snapshot, id string) posture.Result {
	t.Helper()
	for _, r := range posture.Evaluate(s).Results {
		if r.Control == id {
			return r
		}
	}
	t.Fatalf("no result for %s", id)
	return posture.Result{}
}

// TestControls has for every control a snapshot that passes, one that fails and one that is unknown. Controls that hold by
// construction cannot fail: they are unknown where the construction is another.
func TestControls(t *testing.T) {
	type outcome struct {
		Passes, Fails, Unknown posture.Result
	}
	all := map[string]outcome{}
	for _, c := range posture.Catalogue() {
		b, ok := breaks[c.ID]
		if !ok {
			if !slices.Contains(probedControls, c.ID) {
				t.Fatalf("%s has no snapshots", c.ID)
			}
			b.fail, b.unknown = setProbe(c.ID, posture.Broken), setProbe(c.ID, posture.Inconclusive)
		}
		var o outcome
		o.Passes = result(t, healthy(), c.ID)
		if o.Passes.Status != posture.Pass || len(o.Passes.Evidence) == 0 {
			t.Errorf("%s: healthy: %+v", c.ID, o.Passes)
		}
		for _, e := range o.Passes.Evidence {
			if !slices.Contains(c.Evidence, e.Kind) {
				t.Errorf("%s: evidence of kind %s, which the catalogue does not name", c.ID, e.Kind)
			}
		}
		if b.fail != nil {
			s := healthy()
			b.fail(s)
			if o.Fails = result(t, s, c.ID); o.Fails.Status != posture.Fail || len(o.Fails.Evidence) == 0 {
				t.Errorf("%s: broken: %+v", c.ID, o.Fails)
			}
		}
		s := healthy()
		b.unknown(s)
		if o.Unknown = result(t, s, c.ID); o.Unknown.Status != posture.Error {
			t.Errorf("%s: unknown: %+v", c.ID, o.Unknown)
		}
		all[c.ID] = o
	}
	got, err := yaml.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/controls.yaml", got)
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (write it with -update):\n%s", file, diff)
	}
}

func TestCatalogue(t *testing.T) {
	id := regexp.MustCompile(`^(INV|AUTH|PERM|ENC|LOG|UPD|TEST|FLOW|LEAST)-[1-9][0-9]?$`)
	maps := regexp.MustCompile(`^(MCP(0[1-9]|10)|T([1-9]|1[0-2])|L[1-4]|PSS|all)$`)
	// The ids never change: what is here once stays.
	const ids = "INV-1 INV-2 INV-3 INV-4 AUTH-1 AUTH-2 AUTH-3 AUTH-4 AUTH-5 AUTH-6 AUTH-7 AUTH-8 AUTH-9 AUTH-10 " +
		"PERM-1 PERM-2 PERM-3 PERM-4 PERM-5 PERM-6 PERM-7 ENC-1 ENC-2 ENC-3 ENC-4 ENC-5 ENC-6 ENC-7 ENC-8 ENC-9 " +
		"LOG-1 LOG-2 LOG-3 LOG-4 UPD-1 UPD-2 UPD-3 UPD-4 UPD-5 TEST-1 TEST-2 TEST-3 FLOW-1 " +
		"LEAST-1 LEAST-2 LEAST-3 LEAST-4 LEAST-5 LEAST-6 LEAST-7 LEAST-8"
	var got []string
	for _, c := range posture.Catalogue() {
		got = append(got, c.ID)
		if !id.MatchString(c.ID) || c.Title == "" || c.Enforcement == "" || len(c.Evidence) == 0 || len(c.Maps) == 0 ||
			!strings.HasSuffix(c.Remediation, ".") || !slices.Contains([]posture.Severity{posture.Critical, posture.High, posture.Medium}, c.Severity) {
			t.Errorf("incomplete: %+v", c)
		}
		for _, m := range c.Maps {
			if !maps.MatchString(m) {
				t.Errorf("%s: no framework has %q", c.ID, m)
			}
		}
	}
	if diff := cmp.Diff(strings.Fields(ids), got); diff != "" {
		t.Error(diff)
	}
}

// TestNothingKnown: where nothing is known nothing passes.
func TestNothingKnown(t *testing.T) {
	r := posture.Evaluate(&posture.Snapshot{Now: now})
	if r.Score != (posture.Score{Error: len(posture.Catalogue())}) {
		t.Errorf("%+v", r.Score)
	}
}

// TestStale: what was seen or proven too long ago is unknown, and so is what was at no time or in the future.
func TestStale(t *testing.T) {
	for _, test := range []struct {
		age  time.Duration
		want posture.Status
	}{{2 * time.Hour, posture.Pass}, {2*time.Hour + 1, posture.Error}, {-2 * time.Minute, posture.Error}} {
		s := healthy()
		setTimes(s, now.Add(-test.age))
		for _, r := range posture.Evaluate(s).Results {
			declared := len(r.Evidence) > 0 && r.Evidence[0].Kind == posture.Declared
			if r.Status != test.want && !declared && r.Control != "TEST-1" {
				t.Errorf("age %s: %+v", test.age, r)
			}
		}
	}
	// That nobody verified for long is known, and no reason to know nothing.
	long := healthy()
	long.Run.Time = now.Add(-100 * time.Hour)
	if r := result(t, long, "TEST-1"); r.Status != posture.Fail {
		t.Errorf("%+v", r)
	}
	s := healthy()
	setTimes(s, time.Time{})
	if r := posture.Evaluate(s); r.Score.Pass > 5 {
		t.Errorf("without a time: %+v", r.Score)
	}
}

// setTimes sets the time of everything that was seen or proven.
func setTimes(s *posture.Snapshot, at time.Time) {
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Kind() != reflect.Struct || !f.FieldByName("Known").IsValid() || f.FieldByName("Kind").String() == string(posture.Declared) {
			continue
		}
		f.FieldByName("Time").Set(reflect.ValueOf(at))
	}
}

func TestExemptions(t *testing.T) {
	exemption := posture.Exemption{Control: "ENC-6", Owner: "team-a", Reason: "a public demo token", Expires: now.Add(1)}
	s := healthy()
	s.Literals.Value = []string{"spec.env[TOKEN]"}
	s.Exemptions = []posture.Exemption{exemption}
	r := result(t, s, "ENC-6")
	if r.Status != posture.Skip || !strings.Contains(r.Reason, "team-a") || !strings.Contains(r.Reason, "a public demo token") {
		t.Errorf("%+v", r)
	}
	if r := result(t, s, "INV-1"); r.Status != posture.Pass {
		t.Errorf("another control: %+v", r)
	}
	s.Exemptions[0].Expires = now
	if r := result(t, s, "ENC-6"); r.Status != posture.Fail || !strings.Contains(r.Reason, "ended on 2030-06-01") {
		t.Errorf("past its day: %+v", r)
	}
	for _, spoil := range []func(*posture.Exemption){
		func(e *posture.Exemption) { e.Owner = "" },
		func(e *posture.Exemption) { e.Reason = "" },
		func(e *posture.Exemption) { e.Expires = time.Time{} },
	} {
		e := exemption
		spoil(&e)
		s.Exemptions = []posture.Exemption{e}
		if r := result(t, s, "ENC-6"); r.Status != posture.Fail {
			t.Errorf("%+v: %+v", e, r)
		}
	}
}

// TestScore walks through what a score must never do, over random results.
func TestScore(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	all := []posture.Status{posture.Pass, posture.Fail, posture.Warn, posture.Error, posture.Skip}
	catalogue := posture.Catalogue()
	for range 2000 {
		results := make([]posture.Result, len(catalogue))
		few := random.IntN(len(all)) + 1
		for i, c := range catalogue {
			results[i] = posture.Result{Control: c.ID, Status: all[random.IntN(few)]}
		}
		before := posture.Weigh(results)
		if before.Value < 0 || before.Value > 100 || before.Coverage < 0 || before.Coverage > 100 {
			t.Fatalf("out of range: %+v", before)
		}
		if before.Pass+before.Warn+before.Fail == 0 && (before.Value != 0 || before.Coverage != 0) {
			t.Fatalf("nothing evaluated: %+v", before)
		}
		if before.Value == 100 && before.Fail+before.Warn > 0 {
			t.Fatalf("100 with failures: %+v", before)
		}
		i := random.IntN(len(results))
		worse := slices.Clone(results)
		worse[i].Status = posture.Fail
		after := posture.Weigh(worse)
		if after.Value > before.Value {
			t.Fatalf("%s from %s to fail: the score rose from %+v to %+v", results[i].Control, results[i].Status, before, after)
		}
		if catalogue[i].Severity == posture.Critical && after.Value > 40 {
			t.Fatalf("a failed critical control, and %+v", after)
		}
		unknown := slices.Clone(results)
		unknown[i].Status = posture.Error
		if after := posture.Weigh(unknown); after.Coverage > before.Coverage && results[i].Status != posture.Skip {
			t.Fatalf("%s became unknown, and the coverage rose from %+v to %+v", results[i].Control, before, after)
		}
	}
}

// TestHostile: names from servers and clients cannot break lines, steer a terminal or fill a status.
func TestHostile(t *testing.T) {
	s := healthy()
	s.Detours.Value = []string{"Service \x1b[31m\n\u202e" + strings.Repeat("é", 10000)}
	r := result(t, s, "LEAST-8")
	if strings.ContainsAny(r.Reason, "\x1b\n\u202e") || len([]rune(r.Reason)) > 401 {
		t.Errorf("%q", r.Reason)
	}
}

func TestFailing(t *testing.T) {
	s := healthy()
	s.Classification.Value.Categories = nil
	s.Detours.Value = []string{"x"}
	setProbe("PERM-1", posture.Broken)(s)
	s.Containers.Value = []string{"x"}
	var got []string
	for _, r := range posture.Evaluate(s).Failing() {
		got = append(got, r.Control)
	}
	if diff := cmp.Diff([]string{"PERM-1", "TEST-2", "LEAST-8", "LEAST-2", "INV-1"}, got); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkEvaluate(b *testing.B) {
	s := healthy()
	b.ReportAllocs()
	for b.Loop() {
		posture.Evaluate(s)
	}
}
