package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	esmeta "github.com/external-secrets/external-secrets/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// serverPort is where the test server listens.
const serverPort = 8080

// server is an MCPServer of the test server.
func (c *cluster) server(namespace, name string, arguments ...string) *v1alpha1.MCPServer {
	return &v1alpha1.MCPServer{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.MCPServerSpec{
			Image:     c.images["e2e-server"],
			Args:      append([]string{fmt.Sprintf("--address=127.0.0.1:%d", serverPort)}, arguments...),
			Transport: v1alpha1.Transport{Type: v1alpha1.TransportStreamableHTTP, Port: serverPort, Sessions: v1alpha1.SessionsStateless},
			Authentication: &v1alpha1.Authentication{
				APIKeys:            v1alpha1.APIKeys{Mode: v1alpha1.APIKeysEnabled},
				ClientCertificates: v1alpha1.ClientCertificates{Mode: v1alpha1.ClientCertificatesRequired},
			},
		},
	}
}

// mcpClient is an MCPClient whose pods have the label app=<name>.
func mcpClient(namespace, name string, servers ...*v1alpha1.MCPServer) *v1alpha1.MCPClient {
	made := &v1alpha1.MCPClient{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.MCPClientSpec{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}},
	}
	for _, server := range servers {
		made.Spec.Servers = append(made.Spec.Servers, v1alpha1.ServerRef{Namespace: server.Namespace, Name: server.Name})
	}
	return made
}

// accessPolicy allows a client tools of one server.
func accessPolicy(server *v1alpha1.MCPServer, subject *v1alpha1.MCPClient, tools ...string) *v1alpha1.MCPAccessPolicy {
	return &v1alpha1.MCPAccessPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: server.Namespace, Name: server.Name + "-" + subject.Name},
		Spec: v1alpha1.MCPAccessPolicySpec{
			Servers: v1alpha1.ServerSelection{Names: []string{server.Name}},
			Rules: []v1alpha1.AccessRule{{
				Subjects: []v1alpha1.Subject{{
					Type:      v1alpha1.SubjectMCPClient,
					MCPClient: &v1alpha1.MCPClientSubject{Namespace: subject.Namespace, Name: subject.Name},
				}},
				Tools: tools,
			}},
		},
	}
}

// ready waits until an MCPServer or MCPClient is Ready, as its spec is now.
func (c *cluster) ready(t *testing.T, object client.Object) time.Duration {
	t.Helper()
	return eventually(t, object.GetName()+" is Ready", 3*time.Minute, func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		var all []metav1.Condition
		var observed int64
		switch o := object.(type) {
		case *v1alpha1.MCPServer:
			all, observed = o.Status.Conditions, o.Status.ObservedGeneration
		case *v1alpha1.MCPClient:
			all, observed = o.Status.Conditions, o.Status.ObservedGeneration
		default:
			return fmt.Errorf("%T has no conditions", object)
		}
		if observed != object.GetGeneration() || !meta.IsStatusConditionTrue(all, v1alpha1.ConditionReady) {
			return fmt.Errorf("observed generation %d of %d, conditions:%s", observed, object.GetGeneration(), conditions(all))
		}
		return nil
	})
}

// store makes a SecretStore in the namespace that reads another namespace, which plays the secret manager, and returns the
// Secret there.
func (c *cluster) store(t *testing.T, namespace string, values map[string]string) *corev1.Secret {
	t.Helper()
	manager := c.namespace(t, "store")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: manager, Name: "values"}, StringData: values}
	role := metav1.ObjectMeta{Namespace: manager, Name: "reader"}
	c.create(t, secret,
		&rbacv1.Role{ObjectMeta: role, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}}},
		&rbacv1.RoleBinding{
			ObjectMeta: role,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "reader"}},
		},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "reader"}},
		&externalsecrets.SecretStore{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "store"},
			Spec: externalsecrets.SecretStoreSpec{Provider: &externalsecrets.SecretStoreProvider{Kubernetes: &externalsecrets.KubernetesProvider{
				RemoteNamespace: manager,
				Server: externalsecrets.KubernetesServer{
					URL:        "https://kubernetes.default.svc",
					CAProvider: &externalsecrets.CAProvider{Type: externalsecrets.CAProviderTypeConfigMap, Name: "kube-root-ca.crt", Key: "ca.crt"},
				},
				Auth: &externalsecrets.KubernetesAuth{ServiceAccount: &esmeta.ServiceAccountSelector{Name: "reader"}},
			}}},
		})
	return secret
}

// allPods returns the pods of a server, those that are ending as well.
func (c *cluster) allPods(ctx context.Context, server *v1alpha1.MCPServer) ([]corev1.Pod, error) {
	var pods corev1.PodList
	err := c.List(ctx, &pods, client.InNamespace(server.Namespace), client.MatchingLabels{"bartizan.dev/server": server.Name})
	return pods.Items, err
}

// running returns the pods of a server that run and are not ending.
func (c *cluster) running(ctx context.Context, server *v1alpha1.MCPServer) ([]corev1.Pod, error) {
	pods, err := c.allPods(ctx, server)
	var found []corev1.Pod
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodRunning {
			found = append(found, pod)
		}
	}
	return found, err
}

// processes names the containers of a server's pods and how often each was restarted, to see that nothing was.
func (c *cluster) processes(t *testing.T, server *v1alpha1.MCPServer) map[string]int32 {
	t.Helper()
	pods, err := c.running(t.Context(), server)
	must(t, err)
	found := map[string]int32{}
	for _, pod := range pods {
		for _, status := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
			found[string(pod.UID)+"/"+status.Name] = status.RestartCount
		}
	}
	return found
}

// url is how pods reach a server.
func url(server *v1alpha1.MCPServer) string {
	return fmt.Sprintf("https://%s.%s.svc/mcp", server.Name, server.Namespace)
}
