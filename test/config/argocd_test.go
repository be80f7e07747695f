package config_test

import (
	"os"
	"testing"

	lua "github.com/yuin/gopher-lua"
	"sigs.k8s.io/yaml"
)

// TestArgoCDHealth runs the health check as Argo CD does: it gives the object as the global obj, and takes a table with status
// and message back.
func TestArgoCDHealth(t *testing.T) {
	script := argoCDHealth(t)
	for name, test := range map[string]struct{ object, status, message string }{
		"new":                {`{metadata: {generation: 1}}`, "Progressing", "Waiting for the operator"},
		"without conditions": {`{metadata: {generation: 1}, status: {observedGeneration: 1}}`, "Progressing", "Waiting for the operator"},
		"changed since": {`{metadata: {generation: 2}, status: {observedGeneration: 1, conditions: [
			{type: Ready, status: "True", reason: AsSpecified, message: m, observedGeneration: 1}]}}`, "Progressing", "Waiting for the operator"},
		"ready": {`{metadata: {generation: 2}, status: {observedGeneration: 2, conditions: [
			{type: Ready, status: "True", reason: AsSpecified, message: m, observedGeneration: 2},
			{type: Isolated, status: "False", reason: Opened, message: other, observedGeneration: 2}]}}`, "Healthy", "AsSpecified: m"},
		"on its way": {`{metadata: {generation: 2}, status: {observedGeneration: 2, conditions: [
			{type: Ready, status: "False", reason: Progressing, message: m, observedGeneration: 2},
			{type: Reconciling, status: "True", reason: WaitingForPods, message: other, observedGeneration: 2}]}}`, "Progressing", "WaitingForPods: other"},
		"stalled": {`{metadata: {generation: 2}, status: {observedGeneration: 2, conditions: [
			{type: Ready, status: "False", reason: Stalled, message: m, observedGeneration: 2},
			{type: Stalled, status: "True", reason: ImageNotPinned, message: spec.image needs a digest, observedGeneration: 2}]}}`,
			"Degraded", "ImageNotPinned: spec.image needs a digest"},
		"not ready, and nothing is done about it": {`{metadata: {generation: 2}, status: {observedGeneration: 2, conditions: [
			{type: Ready, status: "False", reason: PodsFail, message: m, observedGeneration: 2}]}}`, "Degraded", "PodsFail: m"},
		"suspended": {`{metadata: {generation: 2}, status: {observedGeneration: 2, conditions: [
			{type: Ready, status: "True", reason: Suspended, message: m, observedGeneration: 2}]}}`, "Suspended", "Suspended: m"},
		"a condition of an earlier generation": {`{metadata: {generation: 2}, status: {conditions: [
			{type: Ready, status: "True", reason: AsSpecified, message: m, observedGeneration: 1}]}}`, "Progressing", "Waiting for the operator"},
		"unknown": {`{metadata: {generation: 2}, status: {observedGeneration: 2, conditions: [
			{type: Ready, status: Unknown, reason: Unanswered, message: m, observedGeneration: 2}]}}`, "Progressing", "Unanswered: m"},
	} {
		var object map[string]any
		if err := yaml.Unmarshal([]byte(test.object), &object); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		state := lua.NewState()
		defer state.Close()
		state.SetGlobal("obj", luaValue(state, object))
		if err := state.DoString(script); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		answer, ok := state.Get(-1).(*lua.LTable)
		if !ok {
			t.Errorf("%s: it returned %v", name, state.Get(-1))
			continue
		}
		status, message := answer.RawGetString("status").String(), answer.RawGetString("message").String()
		if status != test.status || message != test.message {
			t.Errorf("%s: %s (%s), not %s (%s)", name, status, message, test.status, test.message)
		}
	}
}

// argoCDHealth is the script in the ConfigMap for Argo CD.
func argoCDHealth(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("../../config/argocd/argocd-cm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var configMap struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(raw, &configMap); err != nil {
		t.Fatal(err)
	}
	var customizations map[string]map[string]string
	if err := yaml.UnmarshalStrict([]byte(configMap.Data["resource.customizations"]), &customizations); err != nil {
		t.Fatal(err)
	}
	script := customizations["bartizan.dev/*"]["health.lua"]
	if script == "" {
		t.Fatal("there is no health.lua for bartizan.dev/*")
	}
	return script
}

// luaValue is a value of JSON in Lua.
func luaValue(state *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, element := range v {
			table.RawSetString(key, luaValue(state, element))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, element := range v {
			table.Append(luaValue(state, element))
		}
		return table
	case string:
		return lua.LString(v)
	case float64:
		return lua.LNumber(v)
	case bool:
		return lua.LBool(v)
	}
	return lua.LNil
}
