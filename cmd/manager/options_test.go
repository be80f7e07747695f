package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	directory := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	gate := "--gate-image=registry.example/gate@sha256:" + strings.Repeat("1", 64)
	for _, test := range []struct {
		name string
		args []string
		want string // part of the error; empty: accepted
	}{
		{"the least", []string{gate, "--namespace=a"}, ""},
		{"no gate", []string{"--namespace=a"}, "--gate-image is required"},
		{"a gate by tag", []string{"--gate-image=registry.example/gate:latest", "--namespace=a"}, "by digest"},
		{"no namespace", []string{gate}, "--namespace is required outside a pod"},
		{"no name of a namespace", []string{gate, "--namespace=a", "--watch-namespaces=b,C"}, `"C" is no name`},
		{"no budget", []string{gate, "--namespace=a", "--rollout-budget=0"}, "rollout budget"},
		{"authorities of a short life", []string{gate, "--namespace=a", "--authority-lifetime=24h", "--authority-overlap=2h", "--rotate-authorities-after=2030-01-01T12:00:00Z"}, ""},
		{"authorities of too short a life", []string{gate, "--namespace=a", "--authority-lifetime=23h", "--authority-overlap=1h"}, "is not between 24h and 87600h"},
		{"an overlap that is too long", []string{gate, "--namespace=a", "--authority-lifetime=24h"}, "a twelfth of their lifetime"},
		{"no time", []string{gate, "--namespace=a", "--rotate-authorities-after=now"}, "--rotate-authorities-after"},
		{"no labels", []string{gate, "--namespace=a", "--pod-labels="}, "--pod-labels"},
		{"a stray argument", []string{gate, "--namespace=a", "start"}, `"start" is no flag`},
		{"an unknown flag", []string{gate, "--namespace=a", "--colour"}, "colour"},
		{"rules", []string{gate, "--namespace=a", "--grantable-rules=" + file("good", "- {apiGroups: [\"\"], resources: [pods], verbs: [get, list]}\n")}, ""},
		{"rules with a wildcard", []string{gate, "--namespace=a", "--grantable-rules=" + file("wild", "- {apiGroups: [\"\"], resources: [\"*\"], verbs: [get]}\n")}, "wildcard"},
		{"rules of another shape", []string{gate, "--namespace=a", "--grantable-rules=" + file("odd", "rules: []\n")}, "no YAML list"},
		{"rules with an unknown field", []string{gate, "--namespace=a", "--grantable-rules=" + file("typo", "- {verb: [get]}\n")}, "no YAML list"},
		{"rules that are not there", []string{gate, "--namespace=a", "--grantable-rules=" + filepath.Join(directory, "none")}, "--grantable-rules"},
		{"an issuer without a group", []string{gate, "--namespace=a", "--issuer-kinds=Issuer"}, "has no group"},
		{"a range", []string{gate, "--namespace=a", "--cluster-cidrs=2001:db8::/48"}, ""},
		{"without external-secrets", []string{gate, "--namespace=a", "--without-apis=external-secrets.io"}, ""},
		{"without cert-manager", []string{gate, "--namespace=a", "--without-apis=cert-manager.io"}, "cannot be left alone"},
		{"readers of the gates' metrics", []string{gate, "--namespace=a", `--gate-metrics-from=[{"namespaceSelector":{"matchLabels":{"metrics":"enabled"}}}]`}, ""},
		{"readers of another shape", []string{gate, "--namespace=a", `--gate-metrics-from={"namespaceSelector":{}}`}, "--gate-metrics-from"},
		{"a reader with an unknown field", []string{gate, "--namespace=a", `--gate-metrics-from=[{"podSelektor":{}}]`}, "--gate-metrics-from"},
		{"everybody as a reader", []string{gate, "--namespace=a", `--gate-metrics-from=[{}]`}, "would mean everybody"},
		{"discovery", []string{gate, "--namespace=a", "--discovery-interval=4m", "--discovery-handshake"}, ""},
		{"discovery that evidence would outlive", []string{gate, "--namespace=a", "--discovery-interval=10m"}, "is not between 1s and 5m"},
		{"a handshake without discovery", []string{gate, "--namespace=a", "--discovery-handshake"}, "discovery is off"},
		{"no range", []string{gate, "--namespace=a", "--cluster-cidrs=here"}, "no address range"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parse(test.args, io.Discard)
			if test.want == "" && err != nil {
				t.Fatal(err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Fatalf("error %v, want one with %q", err, test.want)
			}
		})
	}
}
