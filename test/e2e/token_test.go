package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// account starts a pod with the label app=caller that runs as a ServiceAccount, with tokens of it for audiences, each at
// /token/<audience>, and trusts a server.
func (c *cluster) account(t *testing.T, name string, server *v1alpha1.MCPServer, audiences ...string) *pod {
	t.Helper()
	c.create(t, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: server.Namespace, Name: name}})
	made := c.podSpec(server.Namespace, "caller")
	made.Spec.ServiceAccountName = name
	sources := []corev1.VolumeProjection{{ConfigMap: &corev1.ConfigMapProjection{
		LocalObjectReference: corev1.LocalObjectReference{Name: server.Name + "-ca"}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
	}}}
	for _, audience := range audiences {
		sources = append(sources, corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
			Audience: audience, ExpirationSeconds: ptr.To(int64(600)), Path: audience,
		}})
	}
	made.Spec.Volumes = []corev1.Volume{{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources}}}}
	made.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "token", MountPath: "/token", ReadOnly: true}}
	return c.run(t, made)
}

// TestE2EServiceAccountToken: a pod calls as its ServiceAccount, with the token that the kubelet gives it and nothing else; a
// token of another ServiceAccount or for another audience is of no use, and what a policy takes away is gone soon. The operator finds out
// as much of a server that takes no tokens but those of an issuer elsewhere.
func TestE2EServiceAccountToken(t *testing.T) {
	t.Parallel()
	c := start(t)
	tools := c.namespace(t, "tools")
	server := c.server(tools, "tokens")
	server.Spec.Authentication = &v1alpha1.Authentication{
		APIKeys:            v1alpha1.APIKeys{Mode: v1alpha1.APIKeysDisabled},
		ClientCertificates: v1alpha1.ClientCertificates{Mode: v1alpha1.ClientCertificatesDisabled},
		Tokens: []v1alpha1.TokenIssuer{{Name: "cluster", Type: v1alpha1.TokenIssuerKubernetes,
			Kubernetes: &v1alpha1.KubernetesTokens{Audiences: []string{"mcp-tokens"}, MaxLifetime: "1h"}}},
	}
	server.Spec.Network = &v1alpha1.Network{Ingress: []v1alpha1.NetworkIngress{{From: []networkingv1.NetworkPolicyPeer{
		{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "caller"}}},
	}}}}
	policy := &v1alpha1.MCPAccessPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: tools, Name: "bot"},
		Spec: v1alpha1.MCPAccessPolicySpec{
			Servers: v1alpha1.ServerSelection{Names: []string{server.Name}},
			Rules: []v1alpha1.AccessRule{{
				Subjects: []v1alpha1.Subject{{Type: v1alpha1.SubjectServiceAccount, ServiceAccount: &v1alpha1.ServiceAccountSubject{Namespace: tools, Name: "bot"}}},
				Tools:    []string{"echo", "headers"},
			}},
		},
	}
	external := c.external(tools)
	c.create(t, server, policy, external)
	t.Logf("ready after %s", c.ready(t, server))
	bot, other := c.account(t, "bot", server, "mcp-tokens", "elsewhere"), c.account(t, "other", server, "mcp-tokens")
	bot.reaches(t, server, "token")
	other.reaches(t, server, "token")

	token := []string{"--key-file", "/token/mcp-tokens"}
	echo := []string{"--tool", "echo", "--args", `{"text":"hello"}`}
	if got := bot.mcp(t, server, "token", token, "call", echo...); got.Outcome != result.OK || got.Text != "hello" {
		t.Errorf("as the ServiceAccount: %+v", got)
	}
	expect(t, "a tool without a grant", bot.mcp(t, server, "token", token, "call", "--tool", "boot"), result.Forbidden)
	expect(t, "for another audience", bot.mcp(t, server, "token", []string{"--key-file", "/token/elsewhere"}, "call", echo...), result.Unauthorized)
	expect(t, "no token", bot.mcp(t, server, "token", nil, "call", echo...), result.Unauthorized)
	expect(t, "as another ServiceAccount", other.mcp(t, server, "token", token, "call", echo...), result.Forbidden)

	// The operator has the cluster make some, too, to attack with: one that the gate knows, and one for another audience.
	api, err := kubernetes.NewForConfig(c.config)
	must(t, err)
	eventually(t, "tokens of the cluster are among the attacks", 2*time.Minute, func(ctx context.Context) error {
		var pods corev1.PodList
		if err := c.List(ctx, &pods, client.InNamespace(tools), client.MatchingLabels{"bartizan.dev/server": server.Name}); err != nil {
			return err
		}
		log := ""
		for i := range pods.Items {
			text, err := api.CoreV1().Pods(tools).GetLogs(pods.Items[i].Name, &corev1.PodLogOptions{Container: "gate"}).DoRaw(ctx)
			if err != nil {
				return err
			}
			log += string(text)
		}
		for _, want := range []string{`:bartizan-verification"`, `"token-audience"`} {
			if !strings.Contains(log, want) {
				return fmt.Errorf("the audit log of the gate has no %s", want)
			}
		}
		found := &v1alpha1.MCPServer{}
		if err := c.Get(ctx, client.ObjectKeyFromObject(server), found); err != nil {
			return err
		}
		for _, control := range []string{"AUTH-6", "PERM-1", "PERM-2", "PERM-7", "TEST-2"} {
			if found.Status.Posture == nil || !slices.Contains(found.Status.Posture.PassedControls, control) {
				return fmt.Errorf("%s is not passed: %+v", control, found.Status.Posture)
			}
		}
		return nil
	})

	c.verifiedAsIssuer(t, external)

	must(t, c.Delete(t.Context(), policy))
	took := eventually(t, "the right is gone", time.Minute, func(ctx context.Context) error {
		got, err := bot.try(ctx, server, "token", token, "call", echo...)
		if err == nil && got.Outcome != result.Forbidden {
			err = fmt.Errorf("got %s", got.Outcome)
		}
		return err
	})
	t.Logf("a deleted policy is in force after %s", took)
}
