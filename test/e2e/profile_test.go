package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// profile makes the profile of a preset for the namespaces with a label of the test's own.
func (c *cluster) profile(t *testing.T, preset, label string) *v1alpha1.MCPSecurityProfile {
	t.Helper()
	raw, err := os.ReadFile("../../config/profiles/" + preset + ".yaml")
	must(t, err)
	p := &v1alpha1.MCPSecurityProfile{}
	must(t, yaml.UnmarshalStrict(raw, p))
	p.Name, p.Spec.NamespaceSelector = label, &v1alpha1.NamespaceSelector{MatchLabels: map[string]string{"e2e-profile": label}}
	// On the testbed they run beside the cluster, as users of their own.
	p.Spec.Protection.TrustedUsers = []string{"testbed:cert-manager", "testbed:external-secrets"}
	must(t, c.Create(t.Context(), p))
	t.Cleanup(func() {
		if err := c.Delete(context.Background(), p); client.IgnoreNotFound(err) != nil {
			t.Errorf("deleting the profile: %v", err)
		}
	})
	return p
}

// TestE2ERestrictedProfile: under the preset restricted, the operator, cert-manager, external-secrets and Kubernetes' own controllers
// do all that they do otherwise, and an administrator of the cluster gets neither into a pod nor around the gate.
func TestE2ERestrictedProfile(t *testing.T) {
	t.Parallel()
	c := start(t)
	tools, callers := c.namespace(t, "restricted"), c.namespace(t, "callers")
	c.profile(t, "restricted", tools)
	change(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: tools}}, func(n *corev1.Namespace) { n.Labels["e2e-profile"] = tools })
	c.store(t, tools, map[string]string{"token": "of the store"})
	server := c.server(tools, "guarded")
	server.Spec.Secrets = []v1alpha1.SecretGroup{{
		Name: "values", StoreRef: v1alpha1.SecretStoreRef{Name: "store"},
		Data: []v1alpha1.SecretData{{RemoteRef: v1alpha1.RemoteRef{Key: "values", Property: "token"}, File: "token"}},
	}}
	friend := mcpClient(callers, "friend", server)

	below := server.DeepCopy()
	below.Spec.Authentication.ClientCertificates.Mode = v1alpha1.ClientCertificatesOptional
	eventually(t, "a server below the profile is refused", time.Minute, func(ctx context.Context) error {
		err := c.Create(ctx, below.DeepCopy(), client.DryRunAll)
		return refused(err, "spec.authentication.clientCertificates.mode: MCPSecurityProfile "+tools+" asks for Required at least")
	})
	c.create(t, server, friend, accessPolicy(server, friend, "echo"))
	t.Logf("ready after %s", c.ready(t, server))
	c.ready(t, friend)
	pod := c.pod(t, callers, "friend", tools, "friend")
	pod.reaches(t, server, "friend")
	call := func(what string) {
		t.Helper()
		expect(t, what, pod.mcp(t, server, "friend", as("friend", "friend"), "call", "--tool", "echo", "--args", `{"text":"hello"}`), result.OK)
	}
	call("an allowed call")

	for _, attempt := range []struct {
		name, says string
		try        func(context.Context) error
	}{
		{"a shell in the server's pod", "denies exec, by its spec.protection.podAccess", func(ctx context.Context) error {
			pods, err := c.running(ctx, server)
			if err != nil || len(pods) == 0 {
				return fmt.Errorf("%d pods: %w", len(pods), err)
			}
			return kubernetes.NewForConfigOrDie(c.config).CoreV1().RESTClient().Post().Namespace(tools).Resource("pods").Name(pods[0].Name).SubResource("exec").
				Param("container", "server").Param("command", "/server").Param("stdout", "true").Do(ctx).Error()
		}},
		{"an ephemeral container", "denies ephemeralcontainers", func(ctx context.Context) error {
			pods, err := c.running(ctx, server)
			if err != nil || len(pods) == 0 {
				return fmt.Errorf("%d pods: %w", len(pods), err)
			}
			pods[0].Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
				Name: "debug", Image: server.Spec.Image, SecurityContext: pods[0].Spec.Containers[0].SecurityContext,
			}}}
			return c.SubResource("ephemeralcontainers").Update(ctx, &pods[0])
		}},
		{"a bare pod", "denies pods without a controller", func(ctx context.Context) error {
			return c.Create(ctx, c.podSpec(tools, "bare"))
		}},
		{"a Service around the gate", "denies ways to the pods of servers beside the gate", func(ctx context.Context) error {
			return c.Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: tools, Name: "around"}, Spec: corev1.ServiceSpec{
				Selector: map[string]string{"bartizan.dev/server": server.Name}, Ports: []corev1.ServicePort{{Port: serverPort}},
			}})
		}},
		{"an opening of the network", "denies openings of the pods of servers", func(ctx context.Context) error {
			return c.Create(ctx, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: tools, Name: "open"}, Spec: networkingv1.NetworkPolicySpec{
				Ingress: []networkingv1.NetworkPolicyIngressRule{{}},
			}})
		}},
		{"a change of the Deployment", "lets only the operator write what it makes", func(ctx context.Context) error {
			d := &appsv1.Deployment{}
			if err := c.Get(ctx, client.ObjectKeyFromObject(server), d); err != nil {
				return err
			}
			d.Spec.Template.Spec.HostNetwork = true
			return c.Update(ctx, d)
		}},
		{"a client certificate of the private authority", "lets only the operator use its private authorities", func(ctx context.Context) error {
			return c.Create(ctx, &certmanager.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: tools, Name: "forged"}, Spec: certmanager.CertificateSpec{
				SecretName: "forged", URIs: []string{"spiffe://bartizan/ns/" + callers + "/mcpclient/friend"}, IssuerRef: cmmeta.IssuerReference{Name: "bartizan-ca-1"},
			}})
		}},
	} {
		if err := refused(attempt.try(t.Context()), attempt.says); err != nil {
			t.Errorf("%s: %v", attempt.name, err)
		}
	}

	// The operator, the controllers and the kubelet go on with their work.
	change(t, c, server, func(s *v1alpha1.MCPServer) { s.Spec.Replicas = ptr.To(int32(2)) })
	c.ready(t, server)
	if pods, err := c.running(t.Context(), server); err != nil || len(pods) != 2 {
		t.Errorf("the MCPServer is ready, and %d pods run after scaling it: %v", len(pods), err)
	}
	key := c.key(t, friend, tools)
	change(t, c, friend, func(f *v1alpha1.MCPClient) {
		f.Spec.Rotation = &v1alpha1.KeyRotation{Overlap: "1m", MaximumAge: "24h", RotateAfter: ptr.To(metav1.NewTime(time.Now().Truncate(time.Second)))}
	})
	eventually(t, "the key is rotated", 2*time.Minute, func(context.Context) error {
		if c.key(t, friend, tools) == key {
			return errors.New("it is the same")
		}
		return nil
	})
	call("a call after the rotation")
	must(t, c.Delete(t.Context(), server))
	eventually(t, "nothing of the server is left", 2*time.Minute, func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(server), &appsv1.Deployment{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("its Deployment: %w", err)
		}
		pods, err := c.allPods(ctx, server)
		if err != nil || len(pods) > 0 {
			return fmt.Errorf("%d pods: %w", len(pods), err)
		}
		return nil
	})
}

// key is the id of the key that a client uses for the servers of a namespace.
func (c *cluster) key(t *testing.T, mcpClient *v1alpha1.MCPClient, servers string) string {
	t.Helper()
	found := &v1alpha1.MCPClient{}
	must(t, c.Get(t.Context(), client.ObjectKeyFromObject(mcpClient), found))
	for _, credential := range found.Status.Credentials {
		for _, k := range credential.Keys {
			if credential.Namespace == servers && k.State == v1alpha1.KeyCurrent {
				return k.ID
			}
		}
	}
	return ""
}

// refused says what is wrong when somebody was not refused in these words.
func refused(err error, words string) error {
	switch {
	case err == nil:
		return errors.New("it succeeds")
	case !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), words):
		return fmt.Errorf("it fails for another reason: %w", err)
	}
	return nil
}
