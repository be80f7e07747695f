package verification

import (
	"context"
	"encoding/json"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bartizan-dev/bartizan/controllers/internal/optional"
	"github.com/bartizan-dev/bartizan/internal/signature"
)

// +kubebuilder:rbac:groups=wgpolicyk8s.io,resources=policyreports,verbs=get

// policyReportKind is that of the reports that came before those of OpenReports.
var policyReportKind = schema.GroupVersionKind{Group: "wgpolicyk8s.io", Version: "v1alpha2", Kind: "PolicyReport"}

// PolicyReports is the API of the policy reports that Kyverno writes unless it is told to write those of OpenReports.
var PolicyReports = optional.API{Name: "policy reports", Version: policyReportKind.GroupVersion(), Resources: []string{"policyreports"}}

// running are the pods whose images are to be signed.
func (o *observed) running() (all []signature.Pod) {
	for i := range o.pods {
		if pod := &o.pods[i]; pod.DeletionTimestamp == nil {
			all = append(all, signature.Pod{Name: pod.Name, UID: string(pod.UID)})
		}
	}
	return all
}

// signed is what Kyverno's reports say of the signatures of the pods' images, where a profile asks for it. Annotations of pods are
// no evidence: who writes a pod writes them.
func (r *Reconciler) signed(ctx context.Context, o *observed, demands []signature.Demand) (signature.Verdict, error) {
	if len(demands) == 0 {
		return signature.Verdict{Missing: "no MCPSecurityProfile names the policies of Kyverno that verify signatures: spec.images.signatures"}, nil
	}
	var kinds []schema.GroupVersionKind
	for _, kind := range []schema.GroupVersionKind{policyReportKind, reportKind} {
		if r.APIs.Served(kind.Group) {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) == 0 {
		return signature.Verdict{Missing: "the cluster has no policy reports: install Kyverno, and the policies that an MCPSecurityProfile names in spec.images.signatures"}, nil
	}
	var reports []signature.Report
	for _, pod := range o.running() {
		for _, kind := range kinds {
			object := &unstructured.Unstructured{}
			object.SetGroupVersionKind(kind)
			// Kyverno names the report about an object by the object's UID.
			err := r.Live.Get(ctx, types.NamespacedName{Namespace: o.server.Namespace, Name: pod.UID}, object)
			switch {
			case apierrors.IsNotFound(err):
				continue
			case apierrors.IsForbidden(err):
				return signature.Verdict{Missing: "the operator may not read policy reports (" + kind.Group + ")"}, nil
			case err != nil:
				return signature.Verdict{}, err
			}
			content, err := json.Marshal(object.Object)
			if err != nil {
				return signature.Verdict{}, err
			}
			if report, err := signature.Parse(content); err == nil {
				reports = append(reports, report)
			}
		}
	}
	return signature.Judge(demands, o.running(), reports), nil
}
