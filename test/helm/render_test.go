// Package helm_test tests the Helm chart: what it renders, what it refuses, and, on a real cluster, what becomes of it.
package helm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/bartizan-dev/bartizan/hack/toolchain"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

func TestMain(m *testing.M) { os.Exit(controlplane.Main(m)) }

const (
	root      = "../.."
	chart     = root + "/charts/bartizan"
	namespace = "bartizan-system"
	// assumed is the version of Kubernetes that charts are rendered for.
	assumed = "1.36.3"
)

// digests are what every installation needs.
var digests = []string{
	`images.manager.digest="sha256:` + strings.Repeat("1", 64) + `"`,
	`images.gate.digest="sha256:` + strings.Repeat("2", 64) + `"`,
}

// compiled remembers where tools are.
var compiled sync.Map

// program returns a tool, compiled if need be.
func program(t testing.TB, tool toolchain.Tool) string {
	t.Helper()
	if path, ok := compiled.Load(tool); ok {
		return path.(string)
	}
	path, err := tool.Path(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	compiled.Store(tool, path)
	return path
}

// execute runs a program and returns what it prints to its standard output, with all that it says in the error.
func execute(t testing.TB, stdin []byte, command string, arguments ...string) ([]byte, error) {
	t.Helper()
	var printed, said bytes.Buffer
	c := exec.CommandContext(t.Context(), command, arguments...)
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(stdin), &printed, &said
	if err := c.Run(); err != nil {
		return printed.Bytes(), fmt.Errorf("%s: %w: %s", filepath.Base(command), err, bytes.TrimSpace(said.Bytes()))
	}
	return printed.Bytes(), nil
}

// template renders the chart as release bartizan with some values, as --set-json takes them.
func template(t testing.TB, tool toolchain.Tool, values ...string) ([]byte, error) {
	t.Helper()
	return execute(t, nil, program(t, tool), templateArguments(values...)...)
}

func templateArguments(values ...string) []string {
	arguments := []string{"template", "bartizan", chart, "--namespace", namespace, "--kube-version", assumed}
	for _, value := range append(slices.Clone(digests), values...) {
		arguments = append(arguments, "--set-json", value)
	}
	return arguments
}

// render renders the chart with values that it must accept.
func render(t testing.TB, values ...string) []*unstructured.Unstructured {
	t.Helper()
	printed, err := template(t, toolchain.Helm3, values...)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, printed)
}

// kustomize renders an overlay of config/.
func kustomize(t testing.TB, overlay string) []*unstructured.Unstructured {
	t.Helper()
	printed, err := execute(t, nil, program(t, toolchain.Kustomize), "build", filepath.Join(root, "config", overlay))
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, printed)
}

func decode(t testing.TB, manifests []byte) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatalf("%v in %s", err, manifests)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// identity names an object.
func identity(object *unstructured.Unstructured) string {
	return fmt.Sprintf("%s %s/%s", object.GetKind(), object.GetNamespace(), object.GetName())
}

// TestUnittest runs the tests that are written beside the chart.
func TestUnittest(t *testing.T) {
	printed, err := execute(t, nil, program(t, toolchain.HelmUnittest), "--strict", chart)
	if err != nil {
		t.Errorf("%v\n%s", err, printed)
	}
	if !regexp.MustCompile(`Tests: +[0-9]{2,} passed`).Match(printed) {
		t.Errorf("hardly a test ran:\n%s", printed)
	}
}

// TestHelm4RendersTheSame: users of either Helm get the same objects.
func TestHelm4RendersTheSame(t *testing.T) {
	for name, values := range variants {
		t.Run(name, func(t *testing.T) {
			old, err := template(t, toolchain.Helm3, values...)
			if err != nil {
				t.Fatal(err)
			}
			current, err := template(t, toolchain.Helm4, values...)
			if err != nil {
				t.Fatal(err)
			}
			want, got := map[string]any{}, map[string]any{}
			for _, object := range decode(t, old) {
				want[identity(object)] = object.Object
			}
			for _, object := range decode(t, current) {
				got[identity(object)] = object.Object
			}
			same(t, "Helm 3", want, "Helm 4", got)
		})
	}
}

// variants are ways to install that several tests look at.
var variants = map[string][]string{
	"default":    nil,
	"namespaced": {`watchNamespaces=["team-a"]`},
	"ha":         {"replicas=2"},
	"monitoring": {`metrics.scraper={"name":"prometheus-k8s","namespace":"monitoring"}`, `metrics.serviceMonitor.mode="Enabled"`,
		`metrics.gates.podMonitor.mode="Enabled"`, `alerts.mode="Enabled"`, `dashboard.enabled=true`},
	"everything on": {
		`discovery={"enabled":true,"handshake":true}`,
		`watchNamespaces=["team-a","team-b","bartizan-system","kube-system"]`, "replicas=3", `metrics.certificate.enabled=true`,
		`metrics.serviceMonitor={"mode":"Enabled","labels":{"release":"prometheus"},"interval":"30s"}`,
		`metrics.gates={"enabled":true,"podMonitor":{"mode":"Enabled","labels":{"release":"prometheus"},"interval":"30s"}}`,
		`alerts={"mode":"Enabled","labels":{"release":"prometheus"},"alertLabels":{"team":"platform"},"runbooks":"https://runbooks.example/"}`,
		`alerts.rules={"BartizanFailedLogins":{"for":"10m","severity":"page","expr":"vector(1)","labels":{"a":"b"}},"BartizanGateOutdated":{"mode":"Disabled"}}`,
		`dashboard={"enabled":true,"labels":{"grafana_dashboard":"yes"},"annotations":{"grafana_folder":"MCP"},"namespace":"monitoring"}`,
		`metrics.scraper={"name":"prometheus","namespace":"monitoring"}`, `images.registry="mirror.example:5000"`, `images.pullSecrets=["mirror"]`,
		`nodeSelector={"disk":"ssd"}`, `tolerations=[{"key":"infra","operator":"Exists","effect":"NoSchedule"}]`,
		`affinity={"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"a","operator":"Exists"}]}]}}}`,
		`priorityClassName="system-cluster-critical"`, `commonLabels={"team":"platform"}`, `podLabels={"a":"b"}`, `podAnnotations={"example.com/note":"x: y"}`,
		`serviceAccount={"create":true,"name":"mine","annotations":{"example.com/id":"1"}}`, `operator.extraArgs=["--zap-log-level=debug"]`,
		`operator.clusterCIDRs=["2001:db8::/48"]`, `operator.issuerNetworks=["10.96.0.0/12"]`, `operator.issuerKinds=["StepIssuer.certmanager.step.sm"]`, `operator.rolloutBudget=2`,
		`networkPolicy.apiServer={"ports":[6443],"cidrs":["10.0.0.1/32"]}`,
		`networkPolicy.extraEgress=[{"to":[{"ipBlock":{"cidr":"192.0.2.0/24"}}],"ports":[{"protocol":"TCP","port":443}]}]`,
	},
	"everything off": {
		"crds.enabled=false", "metrics.enabled=false", "networkPolicy.enabled=false", "externalSecrets.enabled=false", "grantableRules=[]",
		"rbac.userRoles=false", "podDisruptionBudget.enabled=false",
	},
}
