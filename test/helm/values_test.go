package helm_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/hack/toolchain"
)

// TestWrongValuesAreRefused: a typing error never installs something else than what was meant.
func TestWrongValuesAreRefused(t *testing.T) {
	for _, test := range []struct {
		value string
		// says is part of the error.
		says string
	}{
		{`replica=2`, "replica"},
		{`crd={"enabled":true}`, "crd"},
		{`crds.enable=true`, "enable"},
		{`crds.keep="yes"`, "keep"},
		{`images.tag="latest"`, "tag"},
		{`images.gate.tag="latest"`, "tag"},
		{`images.gate.digest="latest"`, "digest"},
		{`images.gate.digest=""`, "images.gate.digest is required: sha256:"},
		{`images.manager.digest=""`, "images.manager.digest is required: sha256:"},
		{`images.manager.digest="sha256:123"`, "digest"},
		{`images.manager.repository="a/b:tag"`, "repository"},
		{`images.pullPolicy="Sometimes"`, "pullPolicy"},
		{`replicas="two"`, "replicas"},
		{`replicas=-1`, "replicas"},
		{`watchNamespaces="team-a"`, "watchNamespaces"},
		{`watchNamespaces=["Team A"]`, "watchNamespaces"},
		{`watchNamespaces=["a","a"]`, "watchNamespaces"},
		{`grantableRules=[{"apiGroups":["*"],"resources":["pods"],"verbs":["get"]}]`, "grantableRules"},
		{`grantableRules=[{"apiGroups":[""],"resources":["*"],"verbs":["get"]}]`, "grantableRules"},
		{`grantableRules=[{"apiGroups":[""],"resources":["pods/*"],"verbs":["get"]}]`, "grantableRules"},
		{`grantableRules=[{"apiGroups":[""],"resources":["pods"],"verbs":["*"]}]`, "grantableRules"},
		{`grantableRules=[{"apiGroups":[""],"resources":["roles"],"verbs":["escalate"]}]`, "grantableRules"},
		{`grantableRules=[{"apiGroups":[""],"resources":["users"],"verbs":["impersonate"]}]`, "grantableRules"},
		{`grantableRules=[{"nonResourceURLs":["/metrics"],"verbs":["get"]}]`, "grantableRules"},
		{`operator.rolloutBudget=0`, "rolloutBudget"},
		{`operator.clusterCIDRs=["here"]`, "clusterCIDRs"},
		{`operator.issuerNetworks=["here"]`, "issuerNetworks"},
		{`operator.issuerKinds=["Issuer"]`, "issuerKinds"},
		{`operator.extraArgs=["debug"]`, "extraArgs"},
		{`operator.extraArgs=["--gate-image=evil"]`, "operator.extraArgs: --gate-image is set by images.gate"},
		{`operator.extraArgs=["--grantable-rules=/tmp/x"]`, "operator.extraArgs: --grantable-rules is set by grantableRules"},
		{`serviceAccount.create=false`, "serviceAccount.name: name your ServiceAccount"},
		{`metrics.scraper.name="prometheus"`, "metrics.scraper: set both"},
		{`metrics.serviceMonitor.mode="On"`, "mode"},
		{`metrics.serviceMonitor.interval="often"`, "interval"},
		{`metrics.gates.podMonitor.mode="On"`, "mode"},
		{`metrics.gates.podMonitors={}`, "podMonitors"},
		{`alerts.mode="On"`, "mode"},
		{`alerts.runbooks="here"`, "runbooks"},
		{`alerts.rules={"BartizanFailedLogins":{"for":"soon"}}`, "for"},
		{`alerts.rules={"BartizanFailedLogins":{"threshold":3}}`, "threshold"},
		{`alerts={"mode":"Enabled","runbooks":"https://a/","rules":{"BartizanFailedLogin":{"for":"1m"}}}`, "there is no alert BartizanFailedLogin; there are BartizanOperatorDown"},
		{`operator.extraArgs=["--gate-metrics-from=[]"]`, "operator.extraArgs: --gate-metrics-from is set by metrics.from"},
		{`dashboard.folder="MCP"`, "folder"},
		{`networkPolicy.apiServer.ports=[]`, "ports"},
		{`networkPolicy.extraEgress=[{}]`, "extraEgress"},
		{`networkPolicy.extraEgress=[{"form":[]}]`, "extraEgress"},
		{`podSecurity.runAsUser=0`, "runAsUser"},
		{`podSecurity.privileged=true`, "privileged"},
		{`podLabels={"app.kubernetes.io/name":"other"}`, "podLabels"},
		{`commonLabels={"bartizan.dev/server":"x"}`, "commonLabels"},
		{`resources.limit={}`, "limit"},
		{`tolerations=[{"keys":"a"}]`, "tolerations"},
		{`affinity={"podAfinity":{}}`, "podAfinity"},
	} {
		t.Run(test.value, func(t *testing.T) {
			for _, helm := range []toolchain.Tool{toolchain.Helm3, toolchain.Helm4} {
				printed, err := template(t, helm, test.value)
				if err == nil {
					t.Fatalf("it is accepted:\n%.300s", printed)
				}
				if !strings.Contains(err.Error(), test.says) {
					t.Errorf("the error does not say %q: %v", test.says, err)
				}
			}
		})
	}
}

// TestValuesMakeNoOtherObjects: whatever stands in a string, it is refused, or it stays a string: the objects are those of
// harmless values, with the same rights and the same containers.
func TestValuesMakeNoOtherObjects(t *testing.T) {
	free := map[string]bool{
		"podAnnotations": true, "serviceAccount.annotations": true, "affinity": true, "topologySpreadConstraints": true,
		"operator.extraArgs": true, "metrics.from": true, "networkPolicy.extraEgress": true,
	}
	hostile := []string{
		"a\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: x}\n",
		"a\"\n      hostNetwork: true\n      x: \"",
		"{{ .Release }}",
		"a: b",
		"'; {{ fail \"x\" }}",
		"- a",
		"# nothing",
		"\u2028kind: Pod",
		"a\n        - --gate-image=evil",
		"*", "&a", "!!binary aa", "~", "null", "true", "1e3", "0x10",
	}
	values, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var initial map[string]any
	if err := yaml.Unmarshal(values, &initial); err != nil {
		t.Fatal(err)
	}
	places := []string{
		`podAnnotations={"example.com/note":%}`, `podAnnotations={%:"x"}`, `serviceAccount.annotations={"a":%}`, `commonLabels={"a":%}`, `podLabels={%:"a"}`,
		`nodeSelector={"a":%}`, `tolerations=[{"key":%}]`, `affinity={"nodeAffinity":{"a":%}}`, `resources={"limits":{"cpu":%}}`, `resources={"limits":{%:"1"}}`,
		`topologySpreadConstraints=[{"maxSkew":1,"topologyKey":%,"whenUnsatisfiable":"ScheduleAnyway"}]`,
		`operator.extraArgs=["--zap-log-level=" , %]`, `watchNamespaces=[%]`, `images.pullSecrets=[%]`, `metrics.from=[{"namespaceSelector":{"matchLabels":{"a":%}}}]`,
		`networkPolicy.extraEgress=[{"to":[{"ipBlock":{"cidr":%}}]}]`, `networkPolicy.dns.podLabels={"a":%}`, `metrics.serviceMonitor.labels={"a":%}`,
		`grantableRules=[{"apiGroups":[%],"resources":["pods"],"verbs":["get"]}]`,
		`grantableRules=[{"apiGroups":[""],"resources":["pods"],"resourceNames":[%],"verbs":["get"]}]`,
	}
	for path := range textPaths(initial, "") {
		places = append(places, path+"=%")
	}
	slices.Sort(places)
	if len(places) < 35 {
		t.Fatalf("only %d places", len(places))
	}
	helm := program(t, toolchain.Helm3)
	for _, place := range places {
		t.Run(place, func(t *testing.T) {
			texts := hostile
			if !free[strings.SplitN(place, "=", 2)[0]] {
				texts = hostile[:4] // Most places take nothing of the kind.
			}
			for _, text := range texts {
				encoded, err := json.Marshal(text)
				if err != nil {
					t.Fatal(err)
				}
				arguments := templateArguments(`metrics.serviceMonitor.mode="Enabled"`, "replicas=2", strings.Replace(place, "%", string(encoded), 1))
				printed, err := execute(t, nil, helm, append(arguments, "--skip-crds", "--set-json", "crds.enabled=false")...)
				if err != nil {
					continue
				}
				kinds := map[string]int{}
				for _, object := range decode(t, printed) {
					kinds[object.GetKind()]++
					if object.GetKind() == "Deployment" {
						checkPod(t, text, object.Object)
					}
				}
				if kinds["Secret"] != 0 || kinds["Pod"] != 0 || kinds["Deployment"] != 1 || kinds["NetworkPolicy"] != 1 || kinds["ConfigMap"] != 1 {
					t.Errorf("%q makes %v", text, kinds)
				}
			}
		})
	}
}

// checkPod shows that a pod is still the operator's alone.
func checkPod(t *testing.T, text string, deployment map[string]any) {
	t.Helper()
	pod := deployment["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
	containers := pod["containers"].([]any)
	if pod["hostNetwork"] != nil || len(containers) != 1 {
		t.Errorf("%q changes the pod: %v", text, pod)
	}
	gates := 0
	for _, argument := range containers[0].(map[string]any)["args"].([]any) {
		if a, ok := argument.(string); !ok {
			t.Errorf("%q makes an argument that is no string: %v", text, argument)
		} else if strings.HasPrefix(a, "--gate-image=") {
			gates++
		}
	}
	if gates != 1 {
		t.Errorf("%q makes %d gates", text, gates)
	}
}

// textPaths are the paths of all values that are strings.
func textPaths(values map[string]any, path string) map[string]bool {
	found := map[string]bool{}
	for name, value := range values {
		at := strings.TrimPrefix(path+"."+name, ".")
		switch v := value.(type) {
		case string:
			found[at] = true
		case map[string]any:
			if at == "nodeSelector" || strings.HasSuffix(at, "abels") {
				continue
			}
			for deeper := range textPaths(v, at) {
				found[deeper] = true
			}
		}
	}
	return found
}

// TestSchemaKnowsEveryValue: the schema names the values of values.yaml and no others, and lets nothing else through.
func TestSchemaKnowsEveryValue(t *testing.T) {
	var schema, values map[string]any
	for file, into := range map[string]any{"values.schema.json": &schema, "values.yaml": &values} {
		content, err := os.ReadFile(filepath.Join(chart, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(content, into); err != nil {
			t.Fatal(err)
		}
	}
	definitions := schema["definitions"].(map[string]any)
	var compare func(path string, schema map[string]any, value any)
	compare = func(path string, schema map[string]any, value any) {
		if reference, ok := schema["$ref"].(string); ok {
			schema = definitions[strings.TrimPrefix(reference, "#/definitions/")].(map[string]any)
		}
		properties, ok := schema["properties"].(map[string]any)
		if !ok || schema["type"] != "object" {
			return
		}
		if schema["additionalProperties"] != false {
			t.Errorf("%s: the schema lets unknown values through", path)
		}
		actual, _ := value.(map[string]any)
		for name := range actual {
			if properties[name] == nil {
				t.Errorf("%s.%s is not in the schema", path, name)
			}
		}
		for name, property := range properties {
			// Helm itself puts global there.
			if path == "" && name == "global" || path == ".resources" {
				continue
			}
			if _, there := actual[name]; !there {
				t.Errorf("%s.%s is in the schema, but not in values.yaml", path, name)
				continue
			}
			compare(path+"."+name, property.(map[string]any), actual[name])
		}
	}
	compare("", schema, values)
}
