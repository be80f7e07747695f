package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// sabotageRights gives a server what nobody asked for, and its pods ways that no selector shows. Bindings and EndpointSlices are
// looked at once a minute for all servers.
func (c *cluster) sabotageRights(t *testing.T, table *sabotageTable) {
	namespace := c.namespace(t, "rights")
	server := c.sabotaged(t, namespace, "target")
	change(t, c, server.DeepCopy(), func(s *v1alpha1.MCPServer) {
		s.Spec.KubernetesAccess = &v1alpha1.KubernetesAccess{Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}}}}
	})
	t.Logf("nothing fails with rights after %s", c.failing(t, server))

	holds := &corev1.Secret{Type: corev1.SecretTypeServiceAccountToken, ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: "holds", Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"},
	}}
	c.create(t, holds)
	stray := c.twin(t, server, "holder")
	stray.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: holds.Name}}}}
	table.row(t, c, server, "a pod of the server with a Secret that holds another ServiceAccount's token", []string{"LEAST-3"},
		func() { c.create(t, stray) }, func() { must(t, c.Delete(t.Context(), stray, client.GracePeriodSeconds(0))) })

	admin := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "admin"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: server.Name}},
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "by-hand"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "mcp", Port: 80}}}}
	byHand := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "by-hand", Labels: map[string]string{discoveryv1.LabelServiceName: service.Name}}, AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{c.address(t, server)}}}, Ports: []discoveryv1.EndpointPort{{Name: ptr.To("mcp"), Port: ptr.To(int32(serverPort))}},
	}
	// One after the other, without a pause: the first heals while the second is seen.
	seen := make([]time.Duration, 3)
	c.create(t, admin)
	seen[0] = c.turns(t, server, []string{"LEAST-4"}, nil)
	must(t, c.Delete(t.Context(), admin))
	c.create(t, service)
	c.create(t, byHand)
	seen[1] = c.turns(t, server, []string{"LEAST-8"}, []string{"LEAST-4"})
	must(t, c.Delete(t.Context(), service))
	seen[2] = c.turns(t, server, nil, []string{"LEAST-8"})
	table.add(t, "a RoleBinding of somebody else's that makes the server's ServiceAccount an administrator", []string{"LEAST-4"}, seen[0], seen[1])
	table.add(t, "an EndpointSlice with a pod's address, written by hand for a Service without a selector", []string{"LEAST-8"}, seen[1], seen[2])
}

// address is that of the only pod of a server, once there is no other.
func (c *cluster) address(t *testing.T, server *v1alpha1.MCPServer) (address string) {
	t.Helper()
	c.ready(t, server.DeepCopy())
	eventually(t, "one pod is left", time.Minute, func(ctx context.Context) error {
		pods, err := c.running(ctx, server)
		if err != nil || len(pods) != 1 || pods[0].Status.PodIP == "" {
			return fmt.Errorf("%d pods run, error: %v", len(pods), err)
		}
		address = pods[0].Status.PodIP
		return nil
	})
	return address
}
