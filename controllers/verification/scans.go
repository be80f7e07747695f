package verification

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/signature"
	"github.com/bartizan-dev/bartizan/internal/vulnerability"
)

// reportsPage bounds how many reports are in memory at once.
const reportsPage = 10

// scan is what others report of the images that a server runs.
type scan struct {
	// of is what was asked: about which images and pods, by which limits, after which report.
	of         string
	at         time.Time
	vulnerable vulnerability.Verdict
	age        vulnerability.Age
	signed     signature.Verdict
}

// scan is what reports say of the images that run.
func (r *Reconciler) scan(ctx context.Context, o *observed) (scan, error) {
	server, images := client.ObjectKeyFromObject(o.server), o.images()
	limits, demands := o.floor.VulnerabilityLimits(), o.floor.Signatures()
	maximum, _ := o.floor.MaximumImageAge()
	news, _ := r.news.last(server)
	of := fmt.Sprint(images, o.running(), limits, maximum, demands, news, r.APIs.Served(VulnerabilityReports.Key), r.APIs.Served(BOMReports.Key))
	if last, known := r.scans.last(server); known && last.of == of && o.now.Sub(last.at) < r.Settings.ReportsAge {
		return last, nil
	}
	next := scan{of: of, at: o.now}
	for _, look := range []func() error{
		func() (err error) { next.vulnerable, err = r.vulnerable(ctx, o, limits); return err },
		func() (err error) { next.age, err = r.age(ctx, o); return err },
		func() (err error) { next.signed, err = r.signed(ctx, o, demands); return err },
	} {
		if err := look(); err != nil {
			return scan{}, err
		}
	}
	r.scans.remember(server, next)
	return next, nil
}

// vulnerable is what VulnerabilityReports say of the images that run.
func (r *Reconciler) vulnerable(ctx context.Context, o *observed, limits vulnerability.Limits) (vulnerability.Verdict, error) {
	if !r.APIs.Served(VulnerabilityReports.Key) {
		return vulnerability.Verdict{Missing: "the cluster has no VulnerabilityReport of Trivy operator"}, nil
	}
	var reports []vulnerability.Report
	err := r.each(ctx, o, vulnerability.Kind, func(content []byte) (digest string) {
		// One that cannot be read is as if it were not there: then nothing is known of the image.
		report, err := vulnerability.Parse(content, limits, o.now)
		if err == nil {
			reports = append(reports, report)
		}
		return report.Digest
	})
	if apierrors.IsForbidden(err) {
		return vulnerability.Verdict{Missing: "the operator may not list VulnerabilityReports"}, nil
	}
	return vulnerability.Judge(o.images(), reports, o.now), err
}

// age is what SbomReports say of when the images that run were built, where a profile asks for it.
func (r *Reconciler) age(ctx context.Context, o *observed) (vulnerability.Age, error) {
	maximum, by := o.floor.MaximumImageAge()
	switch {
	case by == "":
		return vulnerability.Age{Missing: "no MCPSecurityProfile says how old an image may be: spec.images.maximumAge"}, nil
	case !r.APIs.Served(BOMReports.Key):
		return vulnerability.Age{Missing: "no report tells when the image was built: the cluster has no SbomReport of Trivy operator"}, nil
	}
	var reports []vulnerability.Built
	err := r.each(ctx, o, vulnerability.BOMKind, func(content []byte) (digest string) {
		report, err := vulnerability.ParseBOM(content)
		if err == nil {
			reports = append(reports, report)
		}
		return report.Digest
	})
	if apierrors.IsForbidden(err) {
		return vulnerability.Age{Missing: "the operator may not list SbomReports"}, nil
	}
	a := vulnerability.JudgeAge(o.images(), reports, maximum, o.now)
	if a.Old != "" {
		a.Old += fmt.Sprintf(", and MCPSecurityProfile %s allows an age of %s", by, maximum)
	}
	return a, err
}

// each calls take with each of Trivy operator's reports of a kind about the server's container: with those of the ReplicaSets of
// the server's pods, and only where they are not about all images that run with all of the namespace, since reports can be without
// that label. take says which image a report is about.
func (r *Reconciler) each(ctx context.Context, o *observed, kind schema.GroupVersionKind, take func(content []byte) (digest string)) error {
	missing := o.images()
	note := func(content []byte) {
		digest := take(content)
		missing = slices.DeleteFunc(missing, func(names []string) bool { return slices.Contains(names, digest) })
	}
	for _, set := range o.replicaSets() {
		if err := r.pages(ctx, o.server.Namespace, kind, client.MatchingLabels{vulnerability.LabelContainer: manifests.ServerContainer, vulnerability.LabelResource: set}, note); err != nil {
			return err
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return r.pages(ctx, o.server.Namespace, kind, client.MatchingLabels{vulnerability.LabelContainer: manifests.ServerContainer}, note)
}

// pages calls note with each report that has labels.
func (r *Reconciler) pages(ctx context.Context, namespace string, kind schema.GroupVersionKind, labels client.MatchingLabels, note func(content []byte)) error {
	page := &unstructured.UnstructuredList{}
	page.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	for more := true; more; more = page.GetContinue() != "" {
		if err := r.Live.List(ctx, page, client.InNamespace(namespace), labels, client.Limit(reportsPage), client.Continue(page.GetContinue())); err != nil {
			return err
		}
		for i := range page.Items {
			content, err := json.Marshal(page.Items[i].Object)
			if err != nil {
				return err
			}
			note(content)
		}
	}
	return nil
}
