package signature_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-dev/bartizan/internal/signature"
)

// result is one of a policy report: source, policy and result.
type result [3]string

// about is a policy report about an object, in the shape of Kyverno's.
func about(kind, uid string, results ...result) []byte {
	var all []map[string]any
	for _, r := range results {
		all = append(all, map[string]any{"source": r[0], "policy": r[1], "result": r[2], "rule": "signed", "scored": true, "timestamp": map[string]any{"seconds": 1900000000, "nanos": 0}})
	}
	content, err := json.Marshal(map[string]any{
		"apiVersion": "wgpolicyk8s.io/v1alpha2", "kind": "PolicyReport", "metadata": map[string]any{"name": uid},
		"scope": map[string]any{"apiVersion": "v1", "kind": kind, "name": "weather-1", "namespace": "tools", "uid": uid}, "results": all,
	})
	if err != nil {
		panic(err)
	}
	return content
}

func TestJudge(t *testing.T) {
	const ivp = "KyvernoImageValidatingPolicy"
	demand := signature.Demand{Profile: "production", Policies: []signature.Policy{{Source: ivp, Name: "signed"}, {Source: "kyverno", Name: "vendor"}}}
	pods := []signature.Pod{{Name: "weather-1", UID: "u1"}}
	const missing = "no report about Pod weather-1 has a result of signed (KyvernoImageValidatingPolicy) or vendor (kyverno), which MCPSecurityProfile production names in spec.images.signatures"
	for _, test := range []struct {
		name    string
		demands []signature.Demand
		pods    []signature.Pod
		reports [][]byte
		want    signature.Verdict
	}{
		{"passed", []signature.Demand{demand}, pods, [][]byte{about("Pod", "u1", result{ivp, "signed", "pass"})}, signature.Verdict{}},
		{"passed by the other", []signature.Demand{demand}, pods, [][]byte{about("Pod", "u1", result{ivp, "signed", "skip"}, result{"kyverno", "vendor", "pass"})}, signature.Verdict{}},
		{"failed", []signature.Demand{demand}, pods, [][]byte{about("Pod", "u1", result{ivp, "signed", "fail"}, result{"kyverno", "vendor", "pass"})},
			signature.Verdict{Unsigned: []string{"Pod weather-1 does not pass the policy signed (KyvernoImageValidatingPolicy)"}}},
		{"failed in a policy that is not scored", []signature.Demand{demand}, pods, [][]byte{about("Pod", "u1", result{ivp, "signed", "warn"}, result{ivp, "signed", "pass"})},
			signature.Verdict{Unsigned: []string{"Pod weather-1 does not pass the policy signed (KyvernoImageValidatingPolicy)"}}},
		{"could not be tried", []signature.Demand{demand}, pods, [][]byte{about("Pod", "u1", result{ivp, "signed", "error"}, result{"kyverno", "vendor", "pass"})},
			signature.Verdict{Missing: "the policy signed (KyvernoImageValidatingPolicy) could not be tried for Pod weather-1"}},
		{"an exception", []signature.Demand{demand}, pods, [][]byte{about("Pod", "u1", result{ivp, "signed", "skip"})}, signature.Verdict{Missing: missing}},
		{"no report", []signature.Demand{demand}, pods, nil, signature.Verdict{Missing: missing}},
		{"another policy", []signature.Demand{demand}, pods, [][]byte{about("Pod", "u1", result{ivp, "mine", "pass"})}, signature.Verdict{Missing: missing}},
		{"a policy of the namespace", []signature.Demand{demand}, pods, [][]byte{about("Pod", "u1", result{ivp, "tools/signed", "pass"})}, signature.Verdict{Missing: missing}},
		{"the name with another source", []signature.Demand{demand}, pods, [][]byte{about("Pod", "u1", result{"kyverno", "signed", "pass"})}, signature.Verdict{Missing: missing}},
		{"about another pod", []signature.Demand{demand}, pods, [][]byte{about("Pod", "u2", result{ivp, "signed", "pass"})}, signature.Verdict{Missing: missing}},
		{"about something else", []signature.Demand{demand}, pods, [][]byte{about("Deployment", "u1", result{ivp, "signed", "pass"})}, signature.Verdict{Missing: missing}},
		{"one of two pods", []signature.Demand{demand}, append([]signature.Pod{{Name: "weather-2", UID: "u2"}}, pods...), [][]byte{about("Pod", "u2", result{ivp, "signed", "pass"})}, signature.Verdict{Missing: missing}},
		{"unknown of one, failed for the other", []signature.Demand{demand}, append([]signature.Pod{{Name: "weather-2", UID: "u2"}}, pods...), [][]byte{about("Pod", "u1", result{ivp, "signed", "fail"})},
			signature.Verdict{
				Unsigned: []string{"Pod weather-1 does not pass the policy signed (KyvernoImageValidatingPolicy)"},
				Missing:  "no report about Pod weather-2 has a result of signed (KyvernoImageValidatingPolicy) or vendor (kyverno), which MCPSecurityProfile production names in spec.images.signatures",
			}},
		{"two profiles, one of them met", []signature.Demand{{Profile: "other", Policies: []signature.Policy{{Source: ivp, Name: "signed"}}}, {Profile: "third", Policies: []signature.Policy{{Source: ivp, Name: "third"}}}}, pods,
			[][]byte{about("Pod", "u1", result{ivp, "signed", "pass"})},
			signature.Verdict{Missing: "no report about Pod weather-1 has a result of third (KyvernoImageValidatingPolicy), which MCPSecurityProfile third names in spec.images.signatures"}},
		{"no pod", []signature.Demand{demand}, nil, nil, signature.Verdict{Missing: "no pod runs"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var reports []signature.Report
			for _, content := range test.reports {
				r, err := signature.Parse(content)
				if err != nil {
					t.Fatal(err)
				}
				reports = append(reports, r)
			}
			if diff := cmp.Diff(test.want, signature.Judge(test.demands, test.pods, reports)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestParse: what is not about one object is no report about a pod.
func TestParse(t *testing.T) {
	for _, content := range []string{``, `[]`, `{}`, `{"scope":null}`, `{"scope":{}}`, `{"scope":{"kind":"Pod","name":"weather-1"},"results":[{"source":"kyverno","policy":"a","result":"pass"}]}`} {
		if r, err := signature.Parse([]byte(content)); err == nil {
			t.Errorf("%s: %+v", content, r)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(about("Pod", "u1", result{"kyverno", "signed", "pass"}))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := signature.Parse(content)
		demand := signature.Demand{Profile: "p", Policies: []signature.Policy{{Source: "kyverno", Name: "signed"}}}
		v := signature.Judge([]signature.Demand{demand}, []signature.Pod{{Name: "a", UID: "u1"}}, []signature.Report{r})
		if err != nil && v.Missing == "" {
			t.Error("what cannot be read passes")
		}
	})
}
