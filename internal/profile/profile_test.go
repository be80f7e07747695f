package profile_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/profile"
	"github.com/bartizan-dev/bartizan/internal/profile/profiletest"
	"github.com/bartizan-dev/bartizan/internal/signature"
	"github.com/bartizan-dev/bartizan/internal/vulnerability"
)

func named(name string, change func(*v1alpha1.MCPSecurityProfileSpec)) v1alpha1.MCPSecurityProfile {
	p := v1alpha1.MCPSecurityProfile{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.MCPSecurityProfileSpec{NamespaceSelector: &v1alpha1.NamespaceSelector{}}}
	change(&p.Spec)
	return p
}

func floorOf(change func(*v1alpha1.MCPSecurityProfileSpec)) profile.Floor {
	return profile.Of([]v1alpha1.MCPSecurityProfile{named("strict", change)}, nil)
}

func server(change func(*v1alpha1.MCPServerSpec)) *v1alpha1.MCPServer {
	s := &v1alpha1.MCPServer{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "weather"},
		Spec:       v1alpha1.MCPServerSpec{Image: profiletest.Image},
	}
	change(&s.Spec)
	return s
}

func TestSelects(t *testing.T) {
	requirement := func(key string, operator v1alpha1.NamespaceOperator, values ...string) *v1alpha1.NamespaceSelector {
		return &v1alpha1.NamespaceSelector{MatchExpressions: []v1alpha1.NamespaceRequirement{{Key: key, Operator: operator, Values: values}}}
	}
	labels := map[string]string{"team": "a", "empty": ""}
	for _, test := range []struct {
		name     string
		selector *v1alpha1.NamespaceSelector
		want     bool
	}{
		{"none", nil, true},
		{"empty", &v1alpha1.NamespaceSelector{}, true},
		{"label", &v1alpha1.NamespaceSelector{MatchLabels: map[string]string{"team": "a"}}, true},
		{"other value", &v1alpha1.NamespaceSelector{MatchLabels: map[string]string{"team": "b"}}, false},
		{"empty value of no label", &v1alpha1.NamespaceSelector{MatchLabels: map[string]string{"none": ""}}, false},
		{"In", requirement("team", v1alpha1.NamespaceIn, "b", "a"), true},
		{"not In", requirement("team", v1alpha1.NamespaceIn, "b"), false},
		{"In without the label", requirement("none", v1alpha1.NamespaceIn, ""), false},
		{"NotIn", requirement("team", v1alpha1.NamespaceNotIn, "b"), true},
		{"NotIn without the label", requirement("none", v1alpha1.NamespaceNotIn, "b"), true},
		{"not NotIn", requirement("team", v1alpha1.NamespaceNotIn, "a"), false},
		{"Exists", requirement("empty", v1alpha1.NamespaceExists), true},
		{"not Exists", requirement("none", v1alpha1.NamespaceExists), false},
		{"DoesNotExist", requirement("none", v1alpha1.NamespaceDoesNotExist), true},
		{"not DoesNotExist", requirement("empty", v1alpha1.NamespaceDoesNotExist), false},
		{"an operator that nobody knows", requirement("team", "Sometimes"), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := named("p", func(s *v1alpha1.MCPSecurityProfileSpec) { s.NamespaceSelector = test.selector })
			if got := profile.Selects(&p, labels); got != test.want {
				t.Errorf("it selects: %t", got)
			}
			if got := profile.Of([]v1alpha1.MCPSecurityProfile{p}, labels).Any(); got != test.want {
				t.Errorf("there is a floor: %t", got)
			}
		})
	}
}

func TestServer(t *testing.T) {
	for _, test := range profiletest.Servers() {
		t.Run(test.Name, func(t *testing.T) {
			found := floorOf(test.Floor).Server(server(test.Server))
			var fields []string
			for _, v := range found {
				fields = append(fields, v.Field)
				if want := "MCPServer team-a/weather: " + v.Field + ": MCPSecurityProfile strict "; !strings.HasPrefix(v.Message, want) || !strings.Contains(v.Message, ";") {
					t.Errorf("it does not begin with %q, or has no way out: %s", want, v.Message)
				}
			}
			if want := strings.Fields(test.Field); !slices.Equal(fields, want) {
				t.Errorf("below are %v, want %v", fields, want)
			}
		})
	}
}

func TestClient(t *testing.T) {
	month := floorOf(func(s *v1alpha1.MCPSecurityProfileSpec) {
		s.Authentication = &v1alpha1.ProfileAuthentication{MaximumKeyAge: "720h"}
	})
	age := func(age string) *v1alpha1.MCPClient {
		return &v1alpha1.MCPClient{Spec: v1alpha1.MCPClientSpec{Rotation: &v1alpha1.KeyRotation{MaximumAge: age}}}
	}
	kept := age("1h")
	kept.Spec.APIKey.Stores = []v1alpha1.ClientKeyStore{{StoreRef: v1alpha1.SecretStoreRef{Kind: v1alpha1.SecretStoreCluster, Name: "vault"}}}
	for _, test := range []struct {
		name   string
		client *v1alpha1.MCPClient
		want   string
	}{
		{"says nothing", &v1alpha1.MCPClient{}, "spec.rotation.maximumAge"},
		{"older", age("721h"), "spec.rotation.maximumAge"},
		{"as old", age("720h"), ""},
		{"a store of the cluster", kept, "spec.apiKey.stores"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var fields []string
			for _, v := range month.Client(test.client) {
				fields = append(fields, v.Field)
			}
			if !slices.Equal(fields, strings.Fields(test.want)) {
				t.Errorf("below are %v", fields)
			}
		})
	}
}

func certificates(mode v1alpha1.ClientCertificateMode) func(*v1alpha1.MCPServerSpec) {
	return func(s *v1alpha1.MCPServerSpec) {
		s.Authentication = &v1alpha1.Authentication{ClientCertificates: v1alpha1.ClientCertificates{Mode: mode}}
	}
}

// TestStrictest: of several profiles each must be met, and a dry run asks for nothing.
func TestStrictest(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	end := func(days int) metav1.Time { return metav1.NewTime(now.AddDate(0, 0, days)) }
	all := []v1alpha1.MCPSecurityProfile{
		named("b", func(s *v1alpha1.MCPSecurityProfileSpec) {
			s.Authentication = &v1alpha1.ProfileAuthentication{MaximumKeyAge: "48h", ClientCertificates: v1alpha1.ClientCertificatesOptional}
			s.Tools = &v1alpha1.ProfileTools{Forbidden: []string{"*exec*", "[", "z"}}
			s.ClusterScoped = &v1alpha1.ProfileClusterScoped{Stores: []string{"both", "one"}}
			s.Attestations = []v1alpha1.Attestation{{Control: v1alpha1.AttestedSecrets, Owner: "later", NotAfter: end(9)}}
			s.Exemptions = []v1alpha1.Exemption{{Control: "LOG-4"}}
		}),
		named("a", func(s *v1alpha1.MCPSecurityProfileSpec) {
			s.Authentication = &v1alpha1.ProfileAuthentication{MaximumKeyAge: "24h", ClientCertificates: v1alpha1.ClientCertificatesRequired}
			s.Tools = &v1alpha1.ProfileTools{Forbidden: []string{"*exec*", "a"}}
			s.ClusterScoped = &v1alpha1.ProfileClusterScoped{Stores: []string{"both"}}
			s.Attestations = []v1alpha1.Attestation{{Control: v1alpha1.AttestedSecrets, Owner: "sooner", NotAfter: end(1)}}
			s.Exemptions = []v1alpha1.Exemption{{Control: "INV-1"}}
		}),
		named("dry", func(s *v1alpha1.MCPSecurityProfileSpec) {
			s.Enforcement = v1alpha1.ProfileDryRun
			s.Authentication = &v1alpha1.ProfileAuthentication{MaximumKeyAge: "1h"}
			s.Tools = &v1alpha1.ProfileTools{Forbidden: []string{"**"}}
			s.Exemptions = []v1alpha1.Exemption{{Control: "AUTH-1"}}
		}),
	}
	f := profile.Of(all, nil)
	if names := f.Names(); !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("the profiles are %v", names)
	}
	if limit, ok := f.MaximumKeyAge(); !ok || limit != 24*time.Hour {
		t.Errorf("keys may be %s old (%t)", limit, ok)
	}
	if tools := f.ForbiddenTools(); !slices.Equal(tools, []string{"*exec*", "a", "z"}) {
		t.Errorf("forbidden are %q", tools)
	}
	if !f.ClusterStore("both") || f.ClusterStore("one") || (profile.Floor{}).ClusterStore("both") {
		t.Error("a store of the cluster is allowed that not every profile lists, or one without any profile")
	}
	if a := f.Attestation(v1alpha1.AttestedSecrets); a == nil || a.Owner != "later" || a.Profile != "b" {
		t.Errorf("the attestation is %v", a)
	}
	if a := f.Attestation(v1alpha1.AttestedVolumes); a != nil {
		t.Errorf("there is an attestation of volumes: %v", a)
	}
	var exempted []string
	for _, e := range f.Exemptions() {
		exempted = append(exempted, e.Control)
	}
	if !slices.Equal(exempted, []string{"INV-1", "LOG-4"}) {
		t.Errorf("exempted are %v", exempted)
	}
	found := f.Server(server(certificates(v1alpha1.ClientCertificatesOptional)))
	if len(found) != 1 || found[0].Profile != "a" {
		t.Errorf("below are %v", found)
	}
	if found := f.Server(server(certificates(v1alpha1.ClientCertificatesDisabled))); len(found) != 2 {
		t.Errorf("below are %v", found)
	}
	if only := profile.Only(&all[2]); len(only.Client(&v1alpha1.MCPClient{})) != 1 {
		t.Error("a dry run finds nothing")
	}
}

// TestImageFloors: of several profiles the strictest counts, for each severity and for the age, and every one that asks for
// signatures is asked.
func TestImageFloors(t *testing.T) {
	images := func(i v1alpha1.ProfileImages) func(*v1alpha1.MCPSecurityProfileSpec) {
		return func(s *v1alpha1.MCPSecurityProfileSpec) { s.Images = &i }
	}
	limit := func(severity v1alpha1.VulnerabilitySeverity, age string) v1alpha1.VulnerabilityLimit {
		return v1alpha1.VulnerabilityLimit{Severity: severity, MaximumAge: age}
	}
	signed := v1alpha1.SignaturePolicy{Source: v1alpha1.SignatureKyverno, Policy: "signed"}
	all := []v1alpha1.MCPSecurityProfile{
		named("a", images(v1alpha1.ProfileImages{MaximumAge: "2160h", Vulnerabilities: []v1alpha1.VulnerabilityLimit{limit("High", "720h"), limit("Critical", "24h")}})),
		named("b", images(v1alpha1.ProfileImages{MaximumAge: "720h", Vulnerabilities: []v1alpha1.VulnerabilityLimit{limit("Medium", "2160h"), limit("High", "168h")}})),
		named("c", images(v1alpha1.ProfileImages{Registries: []string{"registry.example"}, Signatures: []v1alpha1.SignaturePolicy{signed}})),
		named("d", func(s *v1alpha1.MCPSecurityProfileSpec) {
			images(v1alpha1.ProfileImages{MaximumAge: "24h", Vulnerabilities: []v1alpha1.VulnerabilityLimit{limit("Low", "0s")}, Signatures: []v1alpha1.SignaturePolicy{signed}})(s)
			s.Enforcement = v1alpha1.ProfileDryRun
		}),
		named("e", func(*v1alpha1.MCPSecurityProfileSpec) {}),
	}
	floor := profile.Of(all, nil)
	if age, by := floor.MaximumImageAge(); age != 720*time.Hour || by != "b" {
		t.Errorf("the age is %s, by %s", age, by)
	}
	want := vulnerability.Limits{vulnerability.Critical: 24 * time.Hour, vulnerability.High: 168 * time.Hour, vulnerability.Medium: 2160 * time.Hour}
	if diff := cmp.Diff(want, floor.VulnerabilityLimits()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]signature.Demand{{Profile: "c", Policies: []signature.Policy{{Source: "kyverno", Name: "signed"}}}}, floor.Signatures()); diff != "" {
		t.Error(diff)
	}

	silent := profile.Of(all[2:3], nil)
	if age, by := silent.MaximumImageAge(); age != 0 || by != "" {
		t.Errorf("the age is %s, by %s", age, by)
	}
	if diff := cmp.Diff(vulnerability.DefaultLimits(), silent.VulnerabilityLimits()); diff != "" {
		t.Error(diff)
	}
	if found := profile.Of(all[4:], nil).Signatures(); len(found) != 0 {
		t.Errorf("signatures are asked for by %v", found)
	}
	// What admission has let pass before it knew better counts at once.
	strange := floorOf(images(v1alpha1.ProfileImages{Vulnerabilities: []v1alpha1.VulnerabilityLimit{limit("High", "soon")}}))
	if diff := cmp.Diff(vulnerability.Limits{vulnerability.Critical: 0, vulnerability.High: 0}, strange.VulnerabilityLimits()); diff != "" {
		t.Error(diff)
	}
}
