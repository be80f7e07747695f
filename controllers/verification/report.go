package verification

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	openreports "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/controllers/internal/optional"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// +kubebuilder:rbac:groups=openreports.io,resources=reports,verbs=get;create;patch

// reportKind is that of the objects that other tools read results of policies from.
var reportKind = schema.GroupVersionKind{Group: openreports.GroupName, Version: openreports.GroupVersion.Version, Kind: "Report"}

var serverKind = v1alpha1.GroupVersion.WithKind("MCPServer")

// Reports is the API of OpenReports.
var Reports = optional.API{Name: "OpenReports", Version: reportKind.GroupVersion(), Resources: []string{"reports"}}

// reportSource says in a Report who found it out.
const reportSource = "bartizan"

// reportName is the name of a server's Report.
func reportName(server string) string { return server + "-posture" }

// report is all results of a server, as other tools read them. It is pure. Its time is that of the last change of the posture, so
// that an evaluation that comes to the same writes nothing.
func (o *observed) report(of posture.Report, changed metav1.Time) *openreports.Report {
	server := o.server
	r := &openreports.Report{
		TypeMeta: metav1.TypeMeta{APIVersion: reportKind.GroupVersion().String(), Kind: reportKind.Kind},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: server.Namespace, Name: reportName(server.Name), Labels: manifests.Labels(server.Name),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(server, serverKind)},
		},
		Source: reportSource,
		Scope: &corev1.ObjectReference{
			APIVersion: serverKind.GroupVersion().String(), Kind: serverKind.Kind, Namespace: server.Namespace, Name: server.Name, UID: server.UID,
		},
		Summary: openreports.ReportSummary{Pass: of.Score.Pass, Fail: of.Score.Fail, Warn: of.Score.Warn, Error: of.Score.Error, Skip: of.Score.Skip},
	}
	for _, result := range of.Results {
		c, _ := posture.Find(result.Control)
		entry := openreports.ReportResult{
			Source: reportSource, Policy: c.ID, Category: "MCP server posture", Severity: openreports.ResultSeverity(c.Severity), Scored: true,
			Result: openreports.Result(result.Status), Description: result.Reason, Timestamp: metav1.Timestamp{Seconds: changed.Unix()},
			Properties: map[string]string{"control": c.Title, "answers": strings.Join(c.Maps, ", ")},
		}
		if result.Status == posture.Fail || result.Status == posture.Warn {
			entry.Properties["remediation"] = c.Remediation
		}
		r.Results = append(r.Results, entry)
	}
	return r
}

// writtenReport is a Report that is as it should be, and since when that is known.
type writtenReport struct {
	content [sha256.Size]byte
	at      time.Time
}

// writeReport brings the server's Report to what was found, where the cluster has the API. What is there already is not written
// again. Reports are not cached: all of them together are large, and nobody else writes them.
func (r *Reconciler) writeReport(ctx context.Context, o *observed, of posture.Report, changed metav1.Time) error {
	if !r.APIs.Served(reportKind.Group) {
		return nil
	}
	desired, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o.report(of, changed))
	if err != nil {
		return err
	}
	unstructured.RemoveNestedField(desired, "metadata", "creationTimestamp")
	want := &unstructured.Unstructured{Object: desired}
	content := sha256.Sum256(fmt.Append(nil, desired))
	server := client.ObjectKeyFromObject(o.server)
	if last, _ := r.written.last(server); last.content == content && o.now.Sub(last.at) < r.Settings.ReportsAge {
		return nil
	}
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(reportKind)
	switch err := r.Live.Get(ctx, client.ObjectKeyFromObject(want), live); {
	case apierrors.IsNotFound(err):
	case apierrors.IsForbidden(err):
		return nil // the administrator has taken the right away
	case err != nil:
		return err
	case !o.owns(live):
		logf.FromContext(ctx).Info("a Report of somebody else's has the name of the server's; delete it or give it another name", "report", want.GetName())
		return nil
	case contains(live.Object, desired):
		r.written.remember(server, writtenReport{content, o.now})
		return nil
	}
	if err := r.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(want), client.FieldOwner(statusOwner), client.ForceOwnership); err != nil {
		return fmt.Errorf("write Report %s/%s: %w", want.GetNamespace(), want.GetName(), err)
	}
	r.written.remember(server, writtenReport{content, o.now})
	return nil
}

// contains says whether an object has all that is wanted. Lists are wanted as they are.
func contains(live, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		live, ok := live.(map[string]any)
		if !ok {
			return false
		}
		for key, value := range want {
			if !contains(live[key], value) {
				return false
			}
		}
		return true
	case []any:
		live, ok := live.([]any)
		if !ok || len(live) != len(want) {
			return false
		}
		for i := range want {
			if !contains(live[i], want[i]) {
				return false
			}
		}
		return true
	}
	return live == want
}
