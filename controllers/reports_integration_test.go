package controllers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	openreports "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/vulnerability"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

var (
	reportGVK       = schema.GroupVersionKind{Group: openreports.GroupName, Version: "v1alpha1", Kind: "Report"}
	policyReportGVK = schema.GroupVersionKind{Group: controlplane.PolicyReports, Version: "v1alpha2", Kind: "PolicyReport"}
)

// report is a server's Report; an error as long as it is not there.
func (w *world) report(name string) (*openreports.Report, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(reportGVK)
	if err := w.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name + "-posture"}, object); err != nil {
		return nil, err
	}
	report := &openreports.Report{}
	return report, runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, report, true)
}

// scanned is a report of Trivy operator about an image, with a critical vulnerability or none.
func (w *world) scanned(name, digest string, updated time.Time, critical int) *unstructured.Unstructured {
	w.t.Helper()
	found := []any{}
	for range critical {
		found = append(found, map[string]any{
			"vulnerabilityID": "CVE-2030-4711", "severity": "CRITICAL", "resource": "libssl3", "installedVersion": "3.0.15", "fixedVersion": "3.0.16",
			"publishedDate": updated.Add(-time.Hour).UTC().Format(time.RFC3339), "lastModifiedDate": "2026-01-01T00:00:00Z", "title": "x",
		})
	}
	object := &unstructured.Unstructured{Object: map[string]any{"report": map[string]any{
		"updateTimestamp": updated.UTC().Format(time.RFC3339), "artifact": map[string]any{"repository": "mcp/everything", "digest": digest},
		"os": map[string]any{"family": "debian", "name": "12.11"}, "scanner": map[string]any{"name": "Trivy", "vendor": "Aqua Security", "version": "0.65.0"},
		"summary":         map[string]any{"criticalCount": int64(critical), "highCount": int64(0), "mediumCount": int64(0), "lowCount": int64(0), "unknownCount": int64(0)},
		"vulnerabilities": found,
	}}}
	object.SetGroupVersionKind(vulnerability.Kind)
	object.SetNamespace(w.namespace)
	object.SetName(name)
	object.SetLabels(map[string]string{vulnerability.LabelContainer: "server"})
	return object
}

// bom is an SbomReport of Trivy operator about an image with the label that says when it was built.
func (w *world) bom(name, digest string, created time.Time) *unstructured.Unstructured {
	w.t.Helper()
	object := &unstructured.Unstructured{Object: map[string]any{"report": map[string]any{
		"updateTimestamp": time.Now().UTC().Format(time.RFC3339), "artifact": map[string]any{"repository": "mcp/everything", "digest": digest},
		"scanner": map[string]any{"name": "Trivy", "vendor": "Aqua Security", "version": "0.65.0"}, "summary": map[string]any{"componentsCount": int64(1), "dependenciesCount": int64(1)},
		"components": map[string]any{"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": map[string]any{"component": map[string]any{"type": "container", "properties": []any{
			map[string]any{"name": "aquasecurity:trivy:Labels:org.opencontainers.image.created", "value": created.UTC().Format(time.RFC3339)},
		}}}},
	}}}
	object.SetGroupVersionKind(vulnerability.BOMKind)
	object.SetNamespace(w.namespace)
	object.SetName(name)
	object.SetLabels(map[string]string{vulnerability.LabelContainer: "server"})
	return object
}

// signed is a report of Kyverno about a pod, of a kind of either API: what its policy says of the image's signature.
func (w *world) signed(kind schema.GroupVersionKind, pod *corev1.Pod, source, policy, result string) *unstructured.Unstructured {
	w.t.Helper()
	object := &unstructured.Unstructured{Object: map[string]any{
		"scope": map[string]any{"apiVersion": "v1", "kind": "Pod", "namespace": pod.Namespace, "name": pod.Name, "uid": string(pod.UID)},
		"results": []any{map[string]any{
			"source": source, "policy": policy, "rule": "signed", "result": result, "scored": true, "message": "x", "category": "Supply chain", "severity": "high",
			"properties": map[string]any{"process": "background scan"}, "timestamp": map[string]any{"seconds": int64(1900000000), "nanos": int64(0)},
		}},
		"summary": map[string]any{"pass": int64(0), "fail": int64(0), "warn": int64(0), "error": int64(0), "skip": int64(0)},
	}}
	object.SetGroupVersionKind(kind)
	object.SetNamespace(w.namespace)
	object.SetName(string(pod.UID))
	object.SetLabels(map[string]string{"app.kubernetes.io/managed-by": "kyverno"})
	object.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}})
	return object
}

// TestIntegrationReports: with the real CRDs of Trivy operator, Kyverno and OpenReports on a real API server, what others report about the
// image counts while it is about the image that runs and fresh, and what was found is written as a Report, and no more often than
// it changes.
func TestIntegrationReports(t *testing.T) {
	w := newWorld(t, controlplane.WithControllerManager())
	w.everybody()
	c := &writes{}
	w.run(c.use, w.watchesItself)
	server := w.server("weather")
	server.Spec.Classification = &v1alpha1.Classification{Level: "Internal", Owner: "team-a", Categories: []string{"Weather"}}
	w.create(server)
	w.ready("weather")
	w.failing("weather")

	// Both APIs come later.
	controlplane.Install(t, w.config, controlplane.Trivy)
	controlplane.Install(t, w.config, controlplane.OpenReports)
	result := func(policy string) func(want string, words string) {
		return func(want, words string) {
			t.Helper()
			controlplane.Eventually(t, soon, func(context.Context) error {
				w.verifyNow("weather")
				report, err := w.report("weather")
				if err != nil {
					return err
				}
				for _, r := range report.Results {
					if r.Policy == policy {
						if string(r.Result) != want || !strings.Contains(r.Description, words) {
							return fmt.Errorf("%s is %s: %s", policy, r.Result, r.Description)
						}
						return nil
					}
				}
				return fmt.Errorf("the Report has no %s", policy)
			})
		}
	}
	upd3 := result("UPD-3")
	upd3("error", "no VulnerabilityReport is about the image that runs")
	own, other := strings.Split(image, "@")[1], "sha256:"+strings.Repeat("e", 64)
	old := w.scanned("other", other, time.Now(), 1)
	w.create(old)
	stale := w.scanned("stale", own, time.Now().Add(-100*time.Hour), 0)
	w.create(stale)
	upd3("error", "too long ago")
	bad := w.scanned("own", own, time.Now().Add(-time.Hour), 1)
	w.create(bad)
	upd3("fail", "CVE-2030-4711 (CRITICAL) in libssl3, mended in 3.0.16")
	w.says("weather", "UPD-3", "CVE-2030-4711")
	if err := w.Delete(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	w.create(w.scanned("mended", own, time.Now(), 0))
	upd3("pass", "")

	report, err := w.report("weather")
	if err != nil {
		t.Fatal(err)
	}
	s := &v1alpha1.MCPServer{}
	if err := w.get("weather", s); err != nil {
		t.Fatal(err)
	}
	if owner := metav1.GetControllerOf(report); owner == nil || owner.UID != s.UID {
		t.Errorf("owners: %+v", report.OwnerReferences)
	}
	if int32(report.Summary.Pass) != *s.Status.Posture.Passed || int32(report.Summary.Error) != *s.Status.Posture.Unknown || report.Source != "bartizan" || report.Scope.Name != "weather" {
		t.Errorf("%+v, and the status says %+v", report.Summary, s.Status.Posture)
	}
	if content, err := json.Marshal(report); err != nil || len(content) > 100<<10 {
		t.Errorf("%v, %d bytes", err, len(content))
	}

	// At rest nothing is written, and what is deleted comes back.
	w.quiet(c, 3*time.Second)
	controlplane.Eventually(t, time.Minute, func(context.Context) error {
		before, after := &v1alpha1.MCPServer{}, &v1alpha1.MCPServer{}
		written, err := w.report("weather")
		if err := errors.Join(err, w.get("weather", before)); err != nil {
			return err
		}
		w.verifyNow("weather")
		report, err := w.report("weather")
		if err := errors.Join(err, w.get("weather", after)); err != nil {
			return err
		}
		if !after.Status.Posture.EvaluatedAt.Equal(before.Status.Posture.EvaluatedAt) {
			return errors.New("the posture has changed")
		}
		if report.ResourceVersion != written.ResourceVersion {
			t.Error("written although nothing changed")
		}
		return nil
	})
	gone := &unstructured.Unstructured{}
	gone.SetGroupVersionKind(reportGVK)
	gone.SetNamespace(w.namespace)
	gone.SetName("weather-posture")
	if err := w.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	upd3("pass", "")

	// A profile of the organisation has its say of what is old and known for too long, and whose word counts for signatures; without
	// it nobody knows.
	upd2, upd5 := result("UPD-2"), result("UPD-5")
	upd2("error", "no MCPSecurityProfile says how old an image may be")
	upd5("error", "no MCPSecurityProfile names the policies")
	w.create(&v1alpha1.MCPSecurityProfile{ObjectMeta: metav1.ObjectMeta{Name: "images"}, Spec: v1alpha1.MCPSecurityProfileSpec{
		NamespaceSelector: &v1alpha1.NamespaceSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace}},
		Images: &v1alpha1.ProfileImages{
			MaximumAge: "720h", Vulnerabilities: []v1alpha1.VulnerabilityLimit{{Severity: v1alpha1.VulnerabilityCritical, MaximumAge: "87600h"}},
			Signatures: []v1alpha1.SignaturePolicy{
				{Source: v1alpha1.SignatureKyvernoImageValidatingPolicy, Policy: "signed"}, {Source: v1alpha1.SignatureKyverno, Policy: "verify-images"},
			},
		},
	}})
	upd2("error", "no SbomReport is about the image that runs")
	upd5("error", "no report about Pod weather-")
	ancient := w.bom("ancient", own, time.Now().Add(-1000*time.Hour))
	w.create(ancient)
	upd2("fail", "MCPSecurityProfile images allows an age of 720h0m0s")
	if err := w.Delete(t.Context(), ancient); err != nil {
		t.Fatal(err)
	}
	w.create(w.bom("recent", own, time.Now().Add(-time.Hour)))
	upd2("pass", "the image is recent")
	// It would be over the limit of those who have no profile.
	known := w.scanned("known", own, time.Now(), 1)
	w.create(known)
	upd3("pass", "")
	if err := w.Delete(t.Context(), known); err != nil {
		t.Fatal(err)
	}
	pods := &corev1.PodList{}
	if err := w.List(t.Context(), pods, client.InNamespace(w.namespace), client.MatchingLabels{v1alpha1.LabelServer: "weather"}); err != nil || len(pods.Items) == 0 {
		t.Fatalf("%v, %d pods", err, len(pods.Items))
	}
	// Kyverno writes one API or the other, as it is told to.
	controlplane.Install(t, w.config, controlplane.PolicyReports)
	ivp := string(v1alpha1.SignatureKyvernoImageValidatingPolicy)
	for _, api := range []struct {
		kind           schema.GroupVersionKind
		source, policy string
	}{{policyReportGVK, string(v1alpha1.SignatureKyverno), "verify-images"}, {reportGVK, ivp, "signed"}} {
		written := func(i int, result string) *unstructured.Unstructured {
			return w.signed(api.kind, &pods.Items[i], api.source, api.policy, result)
		}
		for i := range pods.Items {
			w.create(written(i, "pass"))
		}
		upd5("pass", "the policies that count have verified the signatures")
		if err := w.Delete(t.Context(), written(0, "pass")); err != nil {
			t.Fatal(err)
		}
		w.create(written(0, "fail"))
		upd5("fail", "Pod "+pods.Items[0].Name+" does not pass the policy "+api.policy)
		for i := range pods.Items {
			if err := w.Delete(t.Context(), written(i, "")); err != nil {
				t.Fatal(err)
			}
		}
		upd5("error", "no report about Pod weather-")
	}

	// A new report changes the status by itself: the next look at the server is minutes away, and nobody asks for one.
	w.quiet(c, 3*time.Second)
	news := w.scanned("news", own, time.Now().Add(time.Minute), 1)
	published := []any{map[string]any{
		"vulnerabilityID": "CVE-2019-0815", "severity": "CRITICAL", "resource": "zlib", "installedVersion": "1", "fixedVersion": "2",
		"publishedDate": "2010-01-01T00:00:00Z", "lastModifiedDate": "2010-01-01T00:00:00Z", "title": "x",
	}}
	if err := unstructured.SetNestedSlice(news.Object, published, "report", "vulnerabilities"); err != nil {
		t.Fatal(err)
	}
	w.create(news)
	w.says("weather", "UPD-3", "CVE-2019-0815")
	// One that says the same writes nothing.
	w.quiet(c, 3*time.Second)
	before := len(c.all())
	same := news.DeepCopy()
	same.SetName("same")
	same.SetResourceVersion("")
	same.SetUID("")
	w.create(same)
	w.quiet(c, 3*time.Second)
	if after := c.all(); len(after) != before {
		t.Errorf("a report that says the same has written %v", after[before:])
	}

	// It goes with its server.
	if err := w.Delete(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	controlplane.Eventually(t, 2*soon, func(context.Context) error {
		if _, err := w.report("weather"); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the Report is still there: %v", err)
		}
		return nil
	})
}
