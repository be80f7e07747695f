package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// pod is a pod with the MCP client, and credentials under /<client>.
type pod struct {
	*cluster
	namespace, name string
}

// pod starts a pod with the label app=<app> and the credentials of clients of its namespace for the servers of another.
func (c *cluster) pod(t *testing.T, namespace, app, servers string, clients ...string) *pod {
	t.Helper()
	made := c.podSpec(namespace, app)
	for _, name := range clients {
		mount(made, name,
			corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: name + "." + servers}}, tlsOf(name+"."+servers))
	}
	return c.run(t, made)
}

// podWithAuthority is a pod whose credentials are for the servers of one namespace, and that trusts the servers of another.
func (c *cluster) podWithAuthority(t *testing.T, namespace, app, servers, trusted, name string) *pod {
	t.Helper()
	made := c.podSpec(namespace, app)
	mount(made, name,
		corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: name + "." + servers}}, tlsOf(name+"."+servers))
	mount(made, "authority", corev1.SecretProjection{
		LocalObjectReference: corev1.LocalObjectReference{Name: name + "." + trusted}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
	})
	return c.run(t, made)
}

func tlsOf(secret string) corev1.SecretProjection {
	return corev1.SecretProjection{
		LocalObjectReference: corev1.LocalObjectReference{Name: secret + ".tls"},
		Items:                []corev1.KeyToPath{{Key: corev1.TLSCertKey, Path: "tls.crt"}, {Key: corev1.TLSPrivateKeyKey, Path: "tls.key"}},
	}
}

// mount mounts Secrets together at /<name>.
func mount(p *corev1.Pod, name string, secrets ...corev1.SecretProjection) {
	var sources []corev1.VolumeProjection
	for _, secret := range secrets {
		sources = append(sources, corev1.VolumeProjection{Secret: &secret})
	}
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
		Projected: &corev1.ProjectedVolumeSource{Sources: sources},
	}})
	container := &p.Spec.Containers[0]
	container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/" + name, ReadOnly: true})
}

// podSpec is a pod of the MCP client under the restricted Pod Security Standard.
func (c *cluster) podSpec(namespace, app string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: app + "-", Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken:  ptr.To(false),
			EnableServiceLinks:            ptr.To(false),
			TerminationGracePeriodSeconds: ptr.To(int64(1)),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To(int64(65532)), RunAsGroup: ptr.To(int64(65532)), FSGroup: ptr.To(int64(65532)),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "client", Image: c.images["mcpclient"], Command: []string{"/mcpclient", "wait"},
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("5m"), corev1.ResourceMemory: resource.MustParse("16Mi")},
				},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

// run starts a pod and waits until it runs.
func (c *cluster) run(t *testing.T, made *corev1.Pod) *pod {
	t.Helper()
	c.create(t, made)
	eventually(t, "pod "+made.Name+" runs", 2*time.Minute, func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(made), made); err != nil {
			return err
		}
		if made.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("it is %s: %s", made.Status.Phase, conditionsOfPod(made))
		}
		return nil
	})
	return &pod{cluster: c, namespace: made.Namespace, name: made.Name}
}

func conditionsOfPod(p *corev1.Pod) string {
	var text []string
	for _, status := range p.Status.ContainerStatuses {
		text = append(text, status.Name+" "+state(status.State))
	}
	return strings.Join(text, ", ")
}

// as are the flags for the credentials of a client, below one mount: its key, its certificate, or both.
func as(key, certificate string) []string {
	var flags []string
	if key != "" {
		flags = append(flags, "--key-file", "/"+key+"/api-key")
	}
	if certificate != "" {
		flags = append(flags, "--cert", "/"+certificate+"/tls.crt", "--key", "/"+certificate+"/tls.key")
	}
	return flags
}

// mcp runs one command of the MCP client against a server.
func (p *pod) mcp(t *testing.T, server *v1alpha1.MCPServer, authority string, credentials []string, command string, arguments ...string) result.Result {
	t.Helper()
	got, err := p.try(t.Context(), server, authority, credentials, command, arguments...)
	must(t, err)
	return got
}

func (p *pod) try(ctx context.Context, server *v1alpha1.MCPServer, authority string, credentials []string, command string, arguments ...string) (result.Result, error) {
	all := append([]string{command, "--url", url(server), "--ca", "/" + authority + "/ca.crt", "--timeout", "8s"}, credentials...)
	return p.do(ctx, append(all, arguments...)...)
}

// reaches waits until the pod reaches the server's gate: the network learns of a new pod a moment after it runs. What the gate
// answers does not matter.
func (p *pod) reaches(t *testing.T, server *v1alpha1.MCPServer, authority string) {
	t.Helper()
	eventually(t, "the pod reaches the gate", time.Minute, func(ctx context.Context) error {
		got, err := p.try(ctx, server, authority, as("", ""), "list")
		if err == nil && got.Outcome == result.NoConnection {
			err = fmt.Errorf("no connection: %s", got.Message)
		}
		return err
	})
}

// dial opens a TCP connection from the pod.
func (p *pod) dial(t *testing.T, address string) result.Result {
	t.Helper()
	got, err := p.do(t.Context(), "dial", "--timeout", "4s", "--address", address)
	must(t, err)
	return got
}

// do executes /mcpclient in the pod.
func (p *pod) do(ctx context.Context, arguments ...string) (result.Result, error) {
	return p.doWith(ctx, nil, arguments...)
}

// doWith is do with something on standard input.
func (p *pod) doWith(ctx context.Context, stdin io.Reader, arguments ...string) (result.Result, error) {
	var got result.Result
	var printed, said bytes.Buffer
	err := p.exec(ctx, append([]string{"/mcpclient"}, arguments...), stdin, &printed, &said)
	// An exit code other than 0 comes as an error, with the result printed all the same.
	if decoded := json.Unmarshal(printed.Bytes(), &got); decoded != nil {
		return got, fmt.Errorf("mcpclient %v in pod %s: %w: %s%s", arguments, p.name, err, printed.String(), said.String())
	}
	if got.Outcome == result.Usage {
		return got, fmt.Errorf("mcpclient %v in pod %s: %s", arguments, p.name, got.Message)
	}
	return got, nil
}

func (p *pod) exec(ctx context.Context, command []string, stdin io.Reader, stdout, stderr io.Writer) error {
	set, err := kubernetes.NewForConfig(p.config)
	if err != nil {
		return err
	}
	request := set.CoreV1().RESTClient().Post().Namespace(p.namespace).Resource("pods").Name(p.name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: "client", Command: command, Stdin: stdin != nil, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(p.config, http.MethodGet, request.URL().String())
	if err != nil {
		return err
	}
	return executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: stdout, Stderr: stderr})
}

// log returns the end of a container's log.
func (c *cluster) log(ctx context.Context, namespace, pod, container string) (string, error) {
	set, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		return "", err
	}
	raw, err := set.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container, TailLines: ptr.To(int64(15))}).DoRaw(ctx)
	return string(raw), err
}

// load is a load that runs in the background.
type load struct {
	done chan struct{}
	got  result.Result
	err  error
}

// load calls a tool from the pod for a while.
func (p *pod) load(t *testing.T, server *v1alpha1.MCPServer, authority string, credentials []string, duration time.Duration, arguments ...string) *load {
	t.Helper()
	l := &load{done: make(chan struct{})}
	ctx := t.Context()
	go func() {
		defer close(l.done)
		l.got, l.err = p.try(ctx, server, authority, credentials, "load", append([]string{"--for", duration.String()}, arguments...)...)
	}()
	return l
}

// wait returns what became of a load.
func (l *load) wait(t *testing.T) *result.Load {
	t.Helper()
	<-l.done
	must(t, l.err)
	if l.got.Load == nil {
		t.Fatalf("the load ended with %+v", l.got)
	}
	return l.got.Load
}
