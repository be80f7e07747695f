package verification

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/controllers/internal/optional"
	"github.com/bartizan-dev/bartizan/internal/posture"
	"github.com/bartizan-dev/bartizan/internal/vulnerability"
)

// +kubebuilder:rbac:groups=aquasecurity.github.io,resources=vulnerabilityreports,verbs=list

// VulnerabilityReports is the API of Trivy operator, of which only reports are read. No cache has them, as they are large.
var VulnerabilityReports = optional.API{
	Name: "Trivy operator", Version: vulnerability.Kind.GroupVersion(), Resources: []string{vulnerability.Resource},
}

// reportsPage bounds how many reports are in memory at once.
const reportsPage = 10

// scan is what the reports said of the images of a server.
type scan struct {
	of      string
	at      time.Time
	verdict vulnerability.Verdict
}

// scan is what Trivy operator's reports say of the images that run.
func (r *Reconciler) scan(ctx context.Context, o *observed) (scan, error) {
	if !r.APIs.Served(vulnerability.Kind.Group) {
		return scan{at: o.now, verdict: vulnerability.Verdict{Missing: "the cluster has no VulnerabilityReport of Trivy operator"}}, nil
	}
	server, images := client.ObjectKeyFromObject(o.server), o.images()
	of := fmt.Sprint(images)
	if last, ok := r.scans.last(server); ok && last.of == of && o.now.Sub(last.at) < r.Settings.ReportsAge {
		return last, nil
	}
	next := scan{of: of, at: o.now}
	reports, err := r.reports(ctx, server.Namespace)
	switch {
	case apierrors.IsForbidden(err):
		next.verdict.Missing = "the operator may not list VulnerabilityReports"
	case err != nil:
		return scan{}, err
	default:
		next.verdict = vulnerability.Judge(images, reports, o.now)
	}
	r.scans.remember(server, next)
	return next, nil
}

// reports are those about containers of servers in a namespace.
func (r *Reconciler) reports(ctx context.Context, namespace string) (all []vulnerability.Report, err error) {
	page := &unstructured.UnstructuredList{}
	page.SetGroupVersionKind(vulnerability.Kind.GroupVersion().WithKind(vulnerability.Kind.Kind + "List"))
	for more := true; more; more = page.GetContinue() != "" {
		if err := r.Live.List(ctx, page, client.InNamespace(namespace), client.MatchingLabels{vulnerability.LabelContainer: manifests.ServerContainer},
			client.Limit(reportsPage), client.Continue(page.GetContinue())); err != nil {
			return nil, err
		}
		for i := range page.Items {
			content, err := json.Marshal(page.Items[i].Object)
			if err != nil {
				return nil, err
			}
			// One that cannot be read is as if it were not there: then nothing is known of the image.
			if report, err := vulnerability.Parse(content); err == nil {
				all = append(all, report)
			}
		}
	}
	return all, nil
}

var imageDigest = regexp.MustCompile(`sha256:[0-9a-f]{64}$`)

// images are the digests that stand for each of the images of the server's pods: that of the pod's spec, and the node's.
func (o *observed) images() (all [][]string) {
	for i := range o.pods {
		pod := &o.pods[i]
		if pod.DeletionTimestamp != nil {
			continue
		}
		names := []string{imageDigest.FindString(image(pod, manifests.ServerContainer))}
		for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			if status.Name == manifests.ServerContainer {
				names = append(names, imageDigest.FindString(status.ImageID))
			}
		}
		names = slices.DeleteFunc(names, func(n string) bool { return n == "" })
		slices.Sort(names)
		names = slices.Compact(names)
		if !slices.ContainsFunc(all, func(known []string) bool { return slices.Equal(known, names) }) {
			all = append(all, names)
		}
	}
	slices.SortFunc(all, func(a, b []string) int { return strings.Compare(strings.Join(a, " "), strings.Join(b, " ")) })
	return all
}

// scanFacts are what reports say of the images.
func (o *observed) scanFacts(s *posture.Snapshot) {
	if o.scan.verdict.Missing != "" {
		s.Vulnerabilities.Missing, s.OldImage.Missing = o.scan.verdict.Missing, o.scan.verdict.Missing
		return
	}
	const source = "VulnerabilityReports of Trivy operator"
	v := o.scan.verdict
	s.Vulnerabilities = posture.See(posture.Vulnerabilities{Over: v.Over, Unmended: v.Unmended}, source, o.scan.at)
	if v.Old != "" {
		s.OldImage = posture.See(v.Old, source, o.scan.at)
	}
}
