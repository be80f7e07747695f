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

var reportGVK = schema.GroupVersionKind{Group: openreports.GroupName, Version: "v1alpha1", Kind: "Report"}

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
			"publishedDate": "2030-01-01T00:00:00Z", "lastModifiedDate": "2030-01-01T00:00:00Z", "title": "x",
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

// TestIntegrationReports: with the real CRDs of Trivy operator and OpenReports on a real API server, what others report about the
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
