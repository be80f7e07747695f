package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// brokenGates are what a gate does wrong, by the control that it breaks.
var brokenGates = []struct{ control, by string }{
	{"AUTH-1", "a gate that serves without a credential"},
	{"AUTH-5", "a gate that takes keys that are not in use"},
	{"AUTH-6", "a gate that does not check the signatures of tokens"},
	{"AUTH-7", "a gate that takes certificates of anybody"},
	{"AUTH-8", "a gate that sends those without a token to a stranger"},
	{"AUTH-10", "a gate that lets anybody guess keys for ever"},
	{"PERM-1", "a gate that lets call what no policy allows"},
	{"PERM-2", "a gate that shows lists to who may use nothing"},
	{"PERM-7", "a gate that passes on messages with two readings"},
	{"ENC-1", "a gate that speaks TLS 1.2, too"},
	{"ENC-2", "a gate that speaks plain HTTP, too"},
	{"ENC-3", "a gate with an expired certificate"},
	{"LOG-3", "a gate whose refusals repeat what was sent"},
	{"TEST-3", "a gate whose refusals tell of a panic"},
}

const sabotageAnnotation = "e2e.bartizan.dev/broken"

// sabotageGates has a pod of a server with a broken gate, in which one control after the other is broken.
func (c *cluster) sabotageGates(t *testing.T, table *sabotageTable) {
	namespace := c.namespace(t, "broken")
	server := c.sabotaged(t, namespace, "target")
	// There is an issuer to name, whose keys nobody will ever have.
	change(t, c, server.DeepCopy(), func(s *v1alpha1.MCPServer) {
		s.Spec.Authentication = &v1alpha1.Authentication{Tokens: []v1alpha1.TokenIssuer{{Name: "nobody", Type: v1alpha1.TokenIssuerOIDC,
			OIDC: &v1alpha1.OIDCTokens{Issuer: "https://issuer.invalid", Audiences: []string{"mcp"}}}}}
	})
	t.Logf("nothing fails with an issuer after %s", c.failing(t, server))
	c.create(t, c.expiredCertificate(t, server))
	pod := c.brokenGate(t, server)
	c.create(t, pod)
	eventually(t, "the pod with the broken gate is ready", 2*time.Minute, func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return errors.New(conditionsOfPod(pod))
	})
	// A gate that only refuses is as good as any to who has no rights.
	t.Logf("nothing fails of a gate with nothing broken, after %s", c.failing(t, server))
	set := func(control string) {
		change(t, c, pod, func(p *corev1.Pod) { p.Annotations[sabotageAnnotation] = control })
	}
	// One after the other, without a pause: what was broken heals while the next fails, which the run after says of both.
	var before []string
	seen := make([]time.Duration, len(brokenGates)+1)
	for i, broken := range brokenGates {
		set(broken.control)
		want := []string{broken.control, "TEST-2"}
		slices.Sort(want)
		seen[i] = c.turns(t, server, want, before)
		before = want
	}
	set("")
	seen[len(brokenGates)] = c.turns(t, server, nil, before)
	for i, broken := range brokenGates {
		table.add(t, broken.by, []string{broken.control}, seen[i], seen[i+1])
	}
	t.Run("isolated, and open again", func(t *testing.T) { c.isolate(t, server, set) })
	t.Cleanup(func() { _ = c.Delete(context.WithoutCancel(t.Context()), pod, client.GracePeriodSeconds(0)) })
	api, err := kubernetes.NewForConfig(c.config)
	must(t, err)
	log, err := api.CoreV1().Pods(namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: "server"}).DoRaw(t.Context())
	must(t, err)
	letIn := 0
	for line := range strings.Lines(string(log)) {
		body, found := strings.CutPrefix(line, "let in: ")
		if !found {
			continue
		}
		letIn++
		// What is random begins with zz; a list names nothing.
		if !strings.Contains(body, "zz") && !strings.Contains(body, "/list") {
			t.Errorf("reached the server through a broken gate: %s", body)
		}
	}
	if letIn == 0 {
		t.Error("nothing went through a broken gate")
	}
	t.Logf("%d requests reached the server, none of which names anything that exists", letIn)
}

// isolate has a server closed to its callers while a gate of it is broken: they get nowhere, the operator still does, and what it
// finds opens the server again.
func (c *cluster) isolate(t *testing.T, server *v1alpha1.MCPServer, set func(control string)) {
	change(t, c, server.DeepCopy(), func(s *v1alpha1.MCPServer) {
		s.Spec.Network = &v1alpha1.Network{Ingress: []v1alpha1.NetworkIngress{{From: []networkingv1.NetworkPolicyPeer{
			{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "caller"}}},
		}}}}
		s.Spec.Verification.OnFailure, s.Spec.Verification.IsolateAfter = v1alpha1.FailureIsolate, ptr.To(int32(1))
	})
	caller := c.run(t, c.podSpec(server.Namespace, "caller"))
	becomes := func(want result.Outcome) time.Duration {
		t.Helper()
		return eventually(t, "the caller gets "+string(want), 2*time.Minute, func(ctx context.Context) error {
			got, err := caller.do(ctx, "dial", "--timeout", "2s", "--address", server.Name+"."+server.Namespace+".svc:443")
			if err == nil && got.Outcome != want {
				err = fmt.Errorf("it gets %s: %s", got.Outcome, got.Message)
			}
			return err
		})
	}
	becomes(result.OK)
	set("PERM-1")
	closed := becomes(result.NoConnection)
	// It is verified as before.
	c.failing(t, server, "PERM-1", "TEST-2")
	set("")
	opened := becomes(result.OK)
	c.failing(t, server)
	t.Logf("closed %s after the gate broke, and opened %s after it did not any more", closed.Round(100*time.Millisecond), opened.Round(100*time.Millisecond))
}

// twin is another pod of a server, as the one that runs, which no ReplicaSet knows.
func (c *cluster) twin(t *testing.T, server *v1alpha1.MCPServer, name string) *corev1.Pod {
	t.Helper()
	var pods corev1.PodList
	must(t, c.List(t.Context(), &pods, client.InNamespace(server.Namespace), client.MatchingLabels{"bartizan.dev/server": server.Name}))
	if len(pods.Items) == 0 {
		t.Fatalf("MCPServer %s has no pod", server.Name)
	}
	real := &pods.Items[0]
	twin := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: real.Namespace, Name: name, Labels: real.Labels, Annotations: map[string]string{},
	}, Spec: *real.Spec.DeepCopy()}
	delete(twin.Labels, "pod-template-hash")
	twin.Spec.NodeName = ""
	return twin
}

// brokenGate is a pod of a server whose gate tells its status as it should, while something else stands at its port.
func (c *cluster) brokenGate(t *testing.T, server *v1alpha1.MCPServer) *corev1.Pod {
	t.Helper()
	pod := c.twin(t, server, "broken")
	pod.Annotations[sabotageAnnotation] = ""
	pod.Spec.Volumes = append(pod.Spec.Volumes,
		corev1.Volume{Name: "sabotage", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
			Items: []corev1.DownwardAPIVolumeFile{{Path: "control", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations['" + sabotageAnnotation + "']"}}},
		}}},
		corev1.Volume{Name: "expired", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "expired"}}})
	gate, behind := &pod.Spec.InitContainers[0], &pod.Spec.Containers[0]
	for _, m := range gate.VolumeMounts {
		if m.MountPath == gateconfig.Directory {
			behind.VolumeMounts = append(behind.VolumeMounts, m)
		}
	}
	behind.VolumeMounts = append(behind.VolumeMounts,
		corev1.VolumeMount{Name: "sabotage", MountPath: "/sabotage"}, corev1.VolumeMount{Name: "expired", MountPath: "/expired"})
	gate.Command = append(gate.Command, "--gate-address=127.0.0.1:15453")
	behind.Args = append(behind.Args, fmt.Sprintf("--broken-gate=:%d", gateconfig.GatePort), "--broken-file=/sabotage/control", "--expired=/expired")
	return pod
}

// expiredCertificate is a Secret with a certificate of a server that the right authority signed, and that has expired.
func (c *cluster) expiredCertificate(t *testing.T, server *v1alpha1.MCPServer) *corev1.Secret {
	t.Helper()
	var secrets corev1.SecretList
	must(t, c.List(t.Context(), &secrets, client.InNamespace(server.Namespace)))
	for _, secret := range secrets.Items {
		if !strings.HasPrefix(secret.Name, "bartizan-ca-") {
			continue
		}
		authority, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
		must(t, err)
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		template := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(-time.Minute),
			DNSNames: []string{server.Name + "." + server.Namespace + ".svc"}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, template, authority.Leaf, key.Public(), authority.PrivateKey)
		must(t, err)
		private, err := x509.MarshalPKCS8PrivateKey(key)
		must(t, err)
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: server.Namespace, Name: "expired"}, Type: corev1.SecretTypeTLS,
			Data: map[string][]byte{
				corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
				corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
			},
		}
	}
	t.Fatalf("namespace %s has no authority", server.Namespace)
	return nil
}

// outdated is a pod of a server whose gate has a configuration of its own, with the key of a client that there is not any more.
func (c *cluster) outdated(t *testing.T, server *v1alpha1.MCPServer) *corev1.Pod {
	t.Helper()
	secret := &corev1.Secret{}
	must(t, c.Get(t.Context(), client.ObjectKey{Namespace: server.Namespace, Name: server.Name + "-gate"}, secret))
	config, err := gateconfig.Parse(secret.Data[gateconfig.ConfigFile])
	must(t, err)
	key, err := keys.New(rand.Reader)
	must(t, err)
	config.Clients = []gateconfig.Client{{
		Object: gateconfig.Object{Namespace: server.Namespace, Name: "gone"},
		Keys:   []gateconfig.Key{{ID: key.ID, SHA256: keys.Hash(key.Text), NotAfter: time.Now().Add(time.Hour).UTC().Truncate(time.Second)}},
	}}
	document, _, err := gateconfig.Seal(config)
	must(t, err)
	old := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: server.Namespace, Name: "outdated"}, Data: map[string][]byte{gateconfig.ConfigFile: document},
	}
	c.create(t, old)
	pod := c.twin(t, server, "outdated")
	for _, volume := range pod.Spec.Volumes {
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			if source.Secret != nil && source.Secret.Name == server.Name+"-gate" {
				source.Secret.Name = old.Name
			}
		}
	}
	return pod
}

// impostor is a pod with the labels of a server's pods, and a server without TLS where the gate should be.
func (c *cluster) impostor(server *v1alpha1.MCPServer) *corev1.Pod {
	pod := c.podSpec(server.Namespace, "impostor")
	pod.GenerateName, pod.Name = "", "impostor"
	pod.Labels = map[string]string{"bartizan.dev/server": server.Name}
	container := pod.Spec.Containers[0]
	container.Image, container.Command = c.images["e2e-server"], nil
	container.Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	pod.Spec.Containers = []corev1.Container{container, container}
	pod.Spec.Containers[0].Name, pod.Spec.Containers[0].Args = "server", []string{fmt.Sprintf("--address=127.0.0.1:%d", serverPort)}
	pod.Spec.Containers[1].Name, pod.Spec.Containers[1].Args = "gate", []string{"--address=0.0.0.0:15443"}
	pod.Spec.TerminationGracePeriodSeconds = ptr.To(int64(0))
	return pod
}
