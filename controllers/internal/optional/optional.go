// Package optional knows which APIs of other projects the cluster serves, and notices when one appears or goes away.
package optional

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,verbs=get;list;watch

// API is an API of another project, all of whose kinds are needed together.
type API struct {
	// Name is what people call the project.
	Name string
	// Version is the group and version.
	Version schema.GroupVersion
	// Key names the API towards Served and On; empty: the group. For kinds of one group that may be there without the others.
	Key string
	// Resources are the plural names.
	Resources []string
	// Cached are the kinds that caches hold.
	Cached []client.Object
}

func (a *API) key() string { return cmp.Or(a.Key, a.Version.Group) }

// lag is how long to wait for an API whose definition is there to be served: no event tells when it is.
const lag = 2 * time.Second

// Hook is called when an API has appeared (served) or has gone (not served).
type Hook func(ctx context.Context, served bool) error

// Registry knows which of some APIs are served.
type Registry struct {
	discovery discovery.DiscoveryInterface
	cache     cache.Cache
	remove    func(context.Context, client.Object) error
	apis      []API

	mutex  sync.Mutex
	served map[string]bool
	hooks  map[string][]Hook
	// age ends when an API goes away, and another begins.
	age context.Context
	end context.CancelFunc
}

// New asks the API server which of the APIs it serves. Call SetupWithManager to notice changes.
func New(mgr ctrl.Manager, apis ...API) (*Registry, error) {
	d, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, err
	}
	remove := func(ctx context.Context, object client.Object) error {
		return mgr.GetCache().RemoveInformer(ctx, object)
	}
	r := &Registry{discovery: d, cache: mgr.GetCache(), remove: remove, apis: apis, served: map[string]bool{}, hooks: map[string][]Hook{}}
	r.age, r.end = context.WithCancel(context.Background())
	for _, api := range apis {
		if r.served[api.key()], err = r.ask(api); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Served says whether the API of a key is served.
func (r *Registry) Served(key string) bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.served[key]
}

// On calls the hook whenever the API of a key appears or goes away, and now if it is served. A hook that fails is
// called again.
func (r *Registry) On(ctx context.Context, key string, hook Hook) error {
	r.mutex.Lock()
	r.hooks[key] = append(r.hooks[key], hook)
	served := r.served[key]
	r.mutex.Unlock()
	if served {
		return hook(ctx, true)
	}
	return nil
}

// Interrupted ends what a reconciler is doing when an API goes away, and it is called again: a cache that is asked just then for
// a kind of that API waits for it for ever, and with it the object that is reconciled.
func (r *Registry) Interrupted(reconciler reconcile.Reconciler) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		r.mutex.Lock()
		age := r.age
		r.mutex.Unlock()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(age, cancel)()
		return reconciler.Reconcile(ctx, request)
	})
}

// SetupWithManager watches the definitions of the APIs.
func (r *Registry) SetupWithManager(mgr ctrl.Manager) error {
	definition := newDefinition()
	ours := predicate.NewPredicateFuncs(func(object client.Object) bool { return r.definedBy(object.GetName()) != nil })
	return ctrl.NewControllerManagedBy(mgr).
		Named("optional-apis").
		WatchesMetadata(definition, &handler.EnqueueRequestForObject{}).
		WithEventFilter(ours).
		Complete(r)
}

// Reconcile compares what is served with what is known, after a definition changed.
func (r *Registry) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	api := r.definedBy(request.Name)
	if api == nil {
		return ctrl.Result{}, nil
	}
	served, err := r.ask(*api)
	if err != nil {
		return ctrl.Result{}, err
	}
	if served == r.Served(api.key()) {
		return r.again(ctx, request.Name, served)
	}
	r.set(api.key(), served)
	if !served {
		r.interrupt()
		for _, object := range api.Cached {
			if err := r.remove(ctx, object); err != nil {
				r.set(api.key(), true) // so that the next attempt removes it
				return ctrl.Result{}, err
			}
		}
	}
	r.mutex.Lock()
	hooks := r.hooks[api.key()]
	r.mutex.Unlock()
	for _, hook := range hooks {
		if err := hook(ctx, served); err != nil {
			r.set(api.key(), !served) // so that the next attempt calls the hooks again
			return ctrl.Result{}, fmt.Errorf("%s: %w", api.Name, err)
		}
	}
	return ctrl.Result{}, nil
}

// again looks again as long as an API is not served although its definition is there, or served although it is not.
func (r *Registry) again(ctx context.Context, definition string, served bool) (ctrl.Result, error) {
	object := newDefinition()
	err := r.cache.Get(ctx, client.ObjectKey{Name: definition}, object)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err
	}
	if defined := err == nil && object.DeletionTimestamp.IsZero(); defined != served {
		return ctrl.Result{RequeueAfter: lag}, nil
	}
	return ctrl.Result{}, nil
}

func newDefinition() *metav1.PartialObjectMetadata {
	definition := &metav1.PartialObjectMetadata{}
	definition.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	return definition
}

func (r *Registry) set(key string, served bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.served[key] = served
}

// interrupt ends the age, after it was set what is served: who reads that in the next one does not ask for what is gone.
func (r *Registry) interrupt() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.end()
	r.age, r.end = context.WithCancel(context.Background())
}

func (r *Registry) definedBy(definition string) *API {
	for i := range r.apis {
		for _, resource := range r.apis[i].Resources {
			if definition == resource+"."+r.apis[i].Version.Group {
				return &r.apis[i]
			}
		}
	}
	return nil
}

// ask asks the API server itself: REST mappers never forget.
func (r *Registry) ask(api API) (bool, error) {
	list, err := r.discovery.ServerResourcesForGroupVersion(api.Version.String())
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("discover %s: %w", api.Version, err)
	}
	found := map[string]bool{}
	for _, resource := range list.APIResources {
		found[resource.Name] = true
	}
	for _, resource := range api.Resources {
		if !found[resource] {
			return false, nil
		}
	}
	return true, nil
}
