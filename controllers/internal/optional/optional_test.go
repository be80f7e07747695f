package optional

import (
	"context"
	"errors"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// serves answers for an API server that serves some resources of every API.
type serves struct {
	discovery.DiscoveryInterface
	resources []string
}

func (s *serves) ServerResourcesForGroupVersion(string) (*metav1.APIResourceList, error) {
	list := &metav1.APIResourceList{}
	for _, name := range s.resources {
		list.APIResources = append(list.APIResources, metav1.APIResource{Name: name})
	}
	return list, nil
}

// TestGoneWhileReconciling: what is being reconciled when an API goes is interrupted, sees it gone when it is called again, and is
// not interrupted again. A cache is removed only when nobody waits for it any more.
func TestGoneWhileReconciling(t *testing.T) {
	api := API{
		Name: "cert-manager", Version: certmanager.SchemeGroupVersion, Resources: []string{"certificates"}, Cached: []client.Object{&certmanager.Certificate{}},
	}
	server := &serves{resources: api.Resources}
	r := &Registry{discovery: server, apis: []API{api}, served: map[string]bool{api.key(): true}, hooks: map[string][]Hook{}}
	r.age, r.end = context.WithCancel(context.Background())
	begun, returned := make(chan struct{}, 1), make(chan error, 1)
	reconciler := r.Interrupted(reconcile.Func(func(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
		if !r.Served(api.key()) {
			return ctrl.Result{}, ctx.Err()
		}
		begun <- struct{}{}
		<-ctx.Done() // as the cache waits for a kind that is not served
		return ctrl.Result{}, ctx.Err()
	}))
	go func() {
		_, err := reconciler.Reconcile(t.Context(), ctrl.Request{})
		returned <- err
	}()
	<-begun
	removed, called := 0, 0
	r.remove = func(context.Context, client.Object) error {
		select {
		case err := <-returned:
			returned <- err
		case <-time.After(10 * time.Second):
			t.Error("the cache is removed while it is waited for")
		}
		if removed++; removed == 1 {
			return errors.New("not yet")
		}
		return nil
	}
	if err := r.On(t.Context(), api.key(), func(_ context.Context, served bool) error {
		if !served {
			called++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	server.resources = nil
	request := ctrl.Request{NamespacedName: types.NamespacedName{Name: "certificates.cert-manager.io"}}
	if _, err := r.Reconcile(t.Context(), request); err == nil {
		t.Error("a cache that was not removed is no error")
	}
	if _, err := r.Reconcile(t.Context(), request); err != nil || removed != 2 || called != 1 {
		t.Errorf("removed %d times, hooks called %d times, %v", removed, called, err)
	}
	if err := <-returned; !errors.Is(err, context.Canceled) {
		t.Errorf("what was being reconciled returned %v", err)
	}
	if _, err := reconciler.Reconcile(t.Context(), ctrl.Request{}); err != nil {
		t.Errorf("called again: %v", err)
	}
}
