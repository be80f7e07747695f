package verification

import (
	"context"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/vulnerability"
)

// reportCache holds, of the reports about servers' containers, which there are. Whether the operator leads is of no matter to it.
type reportCache struct{ cache.Cache }

// NeedLeaderElection has it begin before the controllers.
func (reportCache) NeedLeaderElection() bool { return false }

// watchReports has the servers evaluated that a new report is about, as long as Trivy operator's APIs are served. The reports have
// a cache of their own: the operator's holds only what carries its label.
func (r *Reconciler) watchReports(ctx context.Context, mgr ctrl.Manager, c controller.Controller) error {
	options := cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		DefaultLabelSelector: labels.SelectorFromSet(labels.Set{vulnerability.LabelContainer: manifests.ServerContainer}),
		DefaultTransform:     identityOnly,
	}
	for _, namespace := range r.WatchNamespaces {
		if options.DefaultNamespaces == nil {
			options.DefaultNamespaces = map[string]cache.Config{}
		}
		options.DefaultNamespaces[namespace] = cache.Config{}
	}
	made, err := cache.New(mgr.GetConfig(), options)
	if err != nil {
		return err
	}
	reports := reportCache{made}
	if err := mgr.Add(reports); err != nil {
		return err
	}
	for key, kind := range map[string]schema.GroupVersionKind{VulnerabilityReports.Key: vulnerability.Kind, BOMReports.Key: vulnerability.BOMKind} {
		object := &metav1.PartialObjectMetadata{}
		object.SetGroupVersionKind(kind)
		if err := r.APIs.On(ctx, key, func(ctx context.Context, served bool) error {
			if !served {
				return reports.RemoveInformer(ctx, object)
			}
			if may, err := r.mayList(ctx, kind); err != nil || !may {
				return err
			}
			return c.Watch(source.Kind[client.Object](reports, object, handler.EnqueueRequestsFromMapFunc(r.ofReport), predicate.ResourceVersionChangedPredicate{}))
		}); err != nil {
			return err
		}
	}
	return nil
}

// mayList says whether the operator may list reports of a kind. A watch that is forbidden would keep the controller from starting, for
// something that is only read then.
func (r *Reconciler) mayList(ctx context.Context, kind schema.GroupVersionKind) (bool, error) {
	namespaces := r.WatchNamespaces
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	for _, namespace := range namespaces {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		err := r.Live.List(ctx, list, client.InNamespace(namespace), client.Limit(1))
		if apierrors.IsForbidden(err) {
			logf.FromContext(ctx).Info("reports are not watched: the operator may not list them", "kind", kind.Kind, "namespace", namespace)
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// identityOnly keeps of a report's metadata which one it is, and of what.
func identityOnly(object any) (any, error) {
	m, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return object, nil
	}
	kept := &metav1.PartialObjectMetadata{TypeMeta: m.TypeMeta, ObjectMeta: metav1.ObjectMeta{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion,
	}}
	for _, key := range []string{vulnerability.LabelContainer, vulnerability.LabelResource} {
		if value, ok := m.Labels[key]; ok {
			metav1.SetMetaDataLabel(&kept.ObjectMeta, key, value)
		}
	}
	return kept, nil
}

// ofReport asks for the server that a report is about, by the name of the ReplicaSet, and where that does not tell for all of the
// namespace.
func (r *Reconciler) ofReport(ctx context.Context, object client.Object) []reconcile.Request {
	requests := r.servers(ctx, object.GetNamespace())
	set := object.GetLabels()[vulnerability.LabelResource]
	if at := strings.LastIndexByte(set, '-'); at > 0 {
		for _, request := range requests {
			if request.Name == set[:at] {
				requests = []reconcile.Request{request}
				break
			}
		}
	}
	for _, request := range requests {
		r.news.remember(request.NamespacedName, string(object.GetUID())+" "+object.GetResourceVersion())
	}
	return requests
}
