package controlplane_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"

	"github.com/bartizan-dev/bartizan/test/controlplane"
)

func TestMain(m *testing.M) { os.Exit(controlplane.Main(m)) }

func TestIntegrationKindsAreServed(t *testing.T) {
	config := controlplane.Start(t)
	client := discovery.NewDiscoveryClientForConfigOrDie(config)
	for groupVersion, kinds := range map[string][]string{
		"bartizan.dev/v1alpha1":  {"MCPServer", "MCPClient", "MCPAccessPolicy"},
		"cert-manager.io/v1":     {"Issuer", "Certificate", "CertificateRequest", "ClusterIssuer"},
		"external-secrets.io/v1": {"ExternalSecret", "SecretStore", "ClusterSecretStore"},
	} {
		resources, err := client.ServerResourcesForGroupVersion(groupVersion)
		if err != nil {
			t.Errorf("%s: %v", groupVersion, err)
			continue
		}
		served := map[string]bool{}
		for _, resource := range resources.APIResources {
			served[resource.Kind] = true
		}
		for _, kind := range kinds {
			if !served[kind] {
				t.Errorf("%s %s is not served", groupVersion, kind)
			}
		}
	}
}

func TestIntegrationGroupsComeLater(t *testing.T) {
	config := controlplane.Start(t, controlplane.Without(controlplane.CertManager), controlplane.WithControllerManager())
	client := kubernetes.NewForConfigOrDie(config)
	if _, err := client.Discovery().ServerResourcesForGroupVersion("cert-manager.io/v1"); !apierrors.IsNotFound(err) {
		t.Errorf("cert-manager.io/v1 was left out, but discovery says: %v", err)
	}
	controlplane.Install(t, config, controlplane.CertManager)
	if _, err := client.Discovery().ServerResourcesForGroupVersion("cert-manager.io/v1"); err != nil {
		t.Errorf("cert-manager.io/v1 was installed, but discovery says: %v", err)
	}

	owner, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name:            "owned",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().ConfigMaps("default").Delete(t.Context(), "owner", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	controlplane.Eventually(t, time.Minute, func(ctx context.Context) error {
		_, err := client.CoreV1().ConfigMaps("default").Get(ctx, "owned", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("the garbage collector has not removed the ConfigMap (error: %w)", err)
	})
}
