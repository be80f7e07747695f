package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	neturl "net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/hack/toolchain"
	"github.com/bartizan-dev/bartizan/test/prometheus"
)

// reader is a Prometheus in a pod.
type reader struct {
	*cluster
	namespace, name string
}

// prometheus starts one in a namespace, with alert rules and what docs/metrics.md says that it needs.
func (c *cluster) prometheus(t *testing.T, namespace string, groups []prometheus.Group) *reader {
	t.Helper()
	change(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, func(n *corev1.Namespace) { n.Labels["metrics"] = "enabled" })
	program, err := toolchain.Prometheus.Path(t.Context())
	must(t, err)
	image := c.image(t, "prometheus", program, "/prometheus")
	identity := &corev1.Secret{}
	eventually(t, "the identity of monitoring", time.Minute, func(ctx context.Context) error {
		return c.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: "bartizan-monitoring"}, identity)
	})
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "prometheus"}}
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account.Name}}
	pods := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: namespace + "-pods"}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch"},
	}}}
	bind := func(name, role string) *rbacv1.ClusterRoleBinding {
		return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}}
	}
	everywhere := []client.Object{pods, bind(pods.Name, pods.Name), bind(namespace+"-metrics", "bartizan-metrics-reader")}
	t.Cleanup(func() {
		for _, object := range everywhere {
			if err := c.Delete(context.WithoutCancel(t.Context()), object); err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		}
	})
	c.create(t, everywhere...)
	rules, err := yaml.Marshal(map[string]any{"groups": groups})
	must(t, err)
	c.create(t, account,
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: identity.Name}, Data: identity.Data},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "prometheus"},
			Data: map[string]string{"prometheus.yaml": configuration(t), "rules.yaml": string(rules)}})
	made := c.podSpec(namespace, "prometheus")
	made.Spec.ServiceAccountName, made.Spec.AutomountServiceAccountToken = account.Name, ptr.To(true)
	container := &made.Spec.Containers[0]
	container.Image, container.Command = image, []string{"/prometheus", "--config.file=/etc/prometheus/prometheus.yaml", "--storage.tsdb.path=/data"}
	container.ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/-/ready", Port: intstr.FromInt32(9090)}}}
	for path, source := range map[string]corev1.VolumeSource{
		"/data":                    {EmptyDir: &corev1.EmptyDirVolumeSource{}},
		"/etc/prometheus":          {ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "prometheus"}}},
		"/etc/bartizan-monitoring": {Secret: &corev1.SecretVolumeSource{SecretName: identity.Name}},
	} {
		name := filepath.Base(path)
		made.Spec.Volumes = append(made.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: path})
	}
	return &reader{c, namespace, c.run(t, made).name}
}

// configuration is that of docs/metrics.md, with rules, and with each job once more, without what it shows itself by.
func configuration(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	must(t, err)
	block := regexp.MustCompile("(?ms)^<!-- file: prometheus.yaml -->\n```yaml\n(.*?)^```$").FindSubmatch(page)
	if block == nil {
		t.Fatal("docs/metrics.md has no prometheus.yaml")
	}
	var config map[string]any
	must(t, yaml.UnmarshalStrict(block[1], &config))
	config["global"] = map[string]any{"scrape_interval": "5s", "evaluation_interval": "5s"}
	config["rule_files"] = []string{"rules.yaml"}
	jobs := config["scrape_configs"].([]any)
	for _, job := range jobs {
		nobody := maps.Clone(job.(map[string]any))
		nobody["job_name"] = fmt.Sprintf("nobody-%s", nobody["job_name"])
		delete(nobody, "authorization")
		nobody["tls_config"] = map[string]any{"insecure_skip_verify": true}
		jobs = append(jobs, nobody)
	}
	config["scrape_configs"] = jobs
	text, err := yaml.Marshal(config)
	must(t, err)
	return string(text)
}

// get asks the Prometheus through the API server.
func (r *reader) get(ctx context.Context, path string, query neturl.Values) (json.RawMessage, error) {
	set, err := kubernetes.NewForConfig(r.config)
	if err != nil {
		return nil, err
	}
	parameters := map[string]string{}
	for name := range query {
		parameters[name] = query.Get(name)
	}
	raw, err := set.CoreV1().Pods(r.namespace).ProxyGet("http", r.name, "9090", path, parameters).DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, raw)
	}
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, errors.New(answer.Error)
	}
	return answer.Data, nil
}

// up says whether all targets of a job are, and if not whether that is for a reason.
func (r *reader) up(ctx context.Context, job string, want int, reason string) error {
	raw, err := r.get(ctx, "/api/v1/targets", nil)
	if err != nil {
		return err
	}
	var answer struct {
		ActiveTargets []struct {
			Labels            map[string]string
			Health, LastError string
		}
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return err
	}
	seen := 0
	for _, target := range answer.ActiveTargets {
		if target.Labels["job"] != job {
			continue
		}
		// Other tests' gates come and go.
		if strings.HasPrefix(target.Labels["namespace"], "e2e-") && target.Labels["server"] != "measured" {
			continue
		}
		seen++
		if wanted := map[int]string{1: "up", 0: "down"}[want]; target.Health != wanted || !strings.Contains(target.LastError, reason) {
			return fmt.Errorf("%v is %s (%s), want %s for %q", target.Labels, target.Health, target.LastError, wanted, reason)
		}
	}
	if seen == 0 {
		return fmt.Errorf("the job %s has no targets", job)
	}
	return nil
}

// alerts says whether an alert with a label fires, as wanted.
func (r *reader) alerts(ctx context.Context, alert, label, value string, want bool) error {
	raw, err := r.get(ctx, "/api/v1/alerts", nil)
	if err != nil {
		return err
	}
	var answer struct {
		Alerts []struct {
			Labels map[string]string
			State  string
		}
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return err
	}
	fires := false
	for _, a := range answer.Alerts {
		fires = fires || a.Labels["alertname"] == alert && a.Labels[label] == value && a.State == "firing"
	}
	if fires != want {
		return fmt.Errorf("%s fires for %s %s: %t", alert, label, value, fires)
	}
	return nil
}

// fires waits until an alert with a label fires.
func (r *reader) fires(t *testing.T, alert, label, value string) {
	t.Helper()
	took := eventually(t, alert+" fires for "+value, 5*time.Minute, func(ctx context.Context) error { return r.alerts(ctx, alert, label, value, true) })
	t.Logf("after %s: %s fires for %s", took.Round(time.Second), alert, value)
}

// resolves waits until an alert with a label does not fire any more.
func (r *reader) resolves(t *testing.T, alert, label, value string) {
	t.Helper()
	eventually(t, alert+" resolves for "+value, 2*time.Minute, func(ctx context.Context) error { return r.alerts(ctx, alert, label, value, false) })
}

// image makes an image of one program, at a path, and brings it to the nodes.
func (c *cluster) image(t *testing.T, name, program, at string) string {
	t.Helper()
	archive := filepath.Join(t.TempDir(), name+".tar")
	repository := "bartizan.dev/" + name
	if len(c.load) == 0 {
		repository = strings.TrimSuffix(os.Getenv("BARTIZAN_REGISTRY"), "/") + "/" + name
	}
	arguments := []string{"build", "--name", repository + ":e2e", "--out", archive, "--file", program + ":" + at, "--entrypoint", at}
	if len(c.load) == 0 {
		arguments = append(arguments, "--push")
	}
	printed, err := exec.CommandContext(t.Context(), c.builder, arguments...).Output()
	must(t, err)
	if len(c.load) > 0 {
		if said, err := exec.CommandContext(t.Context(), c.load[0], append(slices.Clone(c.load[1:]), archive)...).CombinedOutput(); err != nil {
			t.Fatalf("load %s: %v: %s", name, err, said)
		}
	}
	return strings.TrimSpace(string(printed))
}
