// Package admission_test tries the ValidatingAdmissionPolicies of config/admission on a real API server: what each refuses, in
// which words, and what it lets pass.
package admission_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/profile/profiletest"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(controlplane.Main(m))
}

// soon is how long a change of a profile may take until admission knows it.
const soon = time.Minute

// world is an API server with the policies, and a namespace of a test.
type world struct {
	t      *testing.T
	config *rest.Config
	client.Client
	namespace string
}

func newWorld(t *testing.T, labels ...string) *world {
	t.Helper()
	config := controlplane.Start(t)
	config.QPS = -1
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(config, client.Options{Scheme: scheme, FieldOwner: "test"})
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../config/admission/profile-*.yaml")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d policies: %v", len(files), err)
	}
	for _, file := range files {
		for _, object := range read(t, file) {
			if err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object)); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
	}
	return &world{t: t, config: config, Client: c, namespace: controlplane.Namespace(t, config, "team", labels...)}
}

func read(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, object)
	}
}

// in is the world of a subtest.
func (w *world) in(t *testing.T) *world {
	inner := *w
	inner.t = t
	return &inner
}

// as is the API server as somebody meets it who has every right.
func (w *world) as(user string, groups ...string) client.Client {
	w.t.Helper()
	config := rest.CopyConfig(w.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append([]string{"system:masters", "system:authenticated"}, groups...)}
	c, err := client.New(config, client.Options{Scheme: w.Scheme(), FieldOwner: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

var profiles atomic.Int32

// profile makes a profile for the namespace, and waits until admission knows it.
func (w *world) profile(change func(*v1alpha1.MCPSecurityProfileSpec)) *v1alpha1.MCPSecurityProfile {
	w.t.Helper()
	p := &v1alpha1.MCPSecurityProfile{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("profile-%d", profiles.Add(1))}}
	p.Spec.NamespaceSelector = &v1alpha1.NamespaceSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": w.namespace}}
	change(&p.Spec)
	if p.Spec.Authentication == nil {
		p.Spec.Authentication = &v1alpha1.ProfileAuthentication{}
	}
	p.Spec.Authentication.MaximumKeyAge = canaryAge
	if err := w.Create(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := w.Delete(context.Background(), p); client.IgnoreNotFound(err) != nil {
			w.t.Error(err)
		}
	})
	controlplane.Eventually(w.t, soon, func(ctx context.Context) error {
		if says := w.canary(ctx); !strings.Contains(says, "MCPSecurityProfile "+p.Name+" ") {
			return fmt.Errorf("profile %s is not in force: %q", p.Name, says)
		}
		return nil
	})
	return p
}

// canaryAge is the age of keys that every profile of a test asks for, and no client but the canary breaks.
const canaryAge = "720h"

// canary is how a client is refused that every profile refuses; "" when it is not.
func (w *world) canary(ctx context.Context) string {
	c := &v1alpha1.MCPClient{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "canary"}, Spec: v1alpha1.MCPClientSpec{
		Servers: []v1alpha1.ServerRef{{Namespace: w.namespace, Name: "a"}}, Rotation: &v1alpha1.KeyRotation{MaximumAge: "8760h"},
	}}
	return denied(w.Create(ctx, c, client.DryRunAll))
}

// try is what the API server says to an attempt to make an object. One that must be refused is tried again while it is not: of the
// policies, which were just installed, one may be in force a moment later than that which refuses the canary.
func (w *world) try(object client.Object, refused bool) (err error) {
	w.t.Helper()
	controlplane.Eventually(w.t, soon, func(ctx context.Context) error {
		if err = w.Create(ctx, object.DeepCopyObject().(client.Object), client.DryRunAll); err == nil && refused {
			return errors.New("it is not refused")
		}
		return nil
	})
	return err
}

// denied is what an admission policy says; "" where none refused.
func denied(err error) string {
	if err != nil && apierrors.IsForbidden(err) && strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
		return err.Error()
	}
	return ""
}

// server is an MCPServer that is above every floor.
func (w *world) server(name string) *v1alpha1.MCPServer {
	return &v1alpha1.MCPServer{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "MCPServer"},
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec:       v1alpha1.MCPServerSpec{Image: profiletest.Image, Transport: v1alpha1.Transport{Type: v1alpha1.TransportStreamableHTTP, Port: 8080}},
	}
}
