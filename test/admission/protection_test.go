package admission_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// people are who writes in a namespace, with the group that matters.
var people = map[string][]string{
	"alice":            {"alice"},
	"the operator":     {"system:serviceaccount:bartizan-system:bartizan-controller-manager", "system:serviceaccounts:bartizan-system"},
	"cert-manager":     {"system:serviceaccount:cert-manager:cert-manager", "system:serviceaccounts:cert-manager"},
	"external-secrets": {"system:serviceaccount:external-secrets:external-secrets", "system:serviceaccounts:external-secrets"},
	"a controller":     {"system:serviceaccount:kube-system:replicaset-controller", "system:serviceaccounts:kube-system"},
	"all controllers":  {"system:kube-controller-manager"},
	"a kubelet":        {"system:node:node-1", "system:nodes"},
	"backup":           {"system:serviceaccount:velero:velero"},
	"bob at night":     {"bob", "break-glass"},
	// A namespace of that name in which nobody has this ServiceAccount but whose name looks alike.
	"an impostor": {"system:serviceaccount:bartizan-system:bartizan-controller-manager2"},
}

func (w *world) person(name string) client.Client {
	w.t.Helper()
	who, known := people[name]
	if !known {
		w.t.Fatalf("who is %s", name)
	}
	return w.as(who[0], who[1:]...)
}

var (
	builtIn = []string{"a controller", "all controllers", "a kubelet"}
	trusted = []string{"backup", "bob at night"}
)

// protected makes a profile that protects everything.
func (w *world) protected() {
	w.t.Helper()
	w.profile(func(s *v1alpha1.MCPSecurityProfileSpec) {
		s.Protection = &v1alpha1.Protection{
			Children: v1alpha1.ChildrenOperatorOnly, CertificateRequests: v1alpha1.ChildrenOperatorOnly, PodAccess: v1alpha1.PermissionDenied,
			BarePods: v1alpha1.PermissionDenied, Detours: v1alpha1.PermissionDenied,
			TrustedUsers: []string{people["backup"][0]}, TrustedGroups: []string{"break-glass"},
		}
	})
}

// object reads an object from YAML.
func (w *world) object(text string) *unstructured.Unstructured {
	w.t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.UnmarshalStrict([]byte(text), &object.Object); err != nil {
		w.t.Fatalf("%v in %s", err, text)
	}
	object.SetNamespace(w.namespace)
	return object
}

const (
	managed  = "labels: {app.kubernetes.io/managed-by: bartizan, app.kubernetes.io/name: mcpserver, app.kubernetes.io/instance: a, bartizan.dev/server: a}"
	spec     = "spec: {containers: [{name: a, image: 'a:1'}]}"
	template = "template: {metadata: {labels: {app: a}}, " + spec + "}"
	passing  = "template: {metadata: {labels: {app: a, bartizan.dev/server: a}}, " + spec + "}"
	owner    = "ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: a, uid: 0-1, controller: true}]"
)

// creations are objects, who may create them, and what everybody else reads.
var creations = []struct {
	name, object string
	may          []string
	says         string
}{
	// children
	{"a child", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, " + managed + "}}", slices.Concat([]string{"the operator", "cert-manager", "external-secrets"}, builtIn, trusted),
		"lets only the operator write what it makes, by its spec.protection.children; change the MCPServer or MCPClient that it is of"},
	{"somebody's own ConfigMap", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {app.kubernetes.io/managed-by: Helm}}}", nil, ""},
	{"a Deployment of the operator's", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, " + managed + "}, spec: {selector: {matchLabels: {app: a}}, " + template + "}}",
		slices.Concat([]string{"the operator", "cert-manager", "external-secrets"}, builtIn, trusted), "spec.protection.children"},
	{"a Secret of the operator's", "{apiVersion: v1, kind: Secret, metadata: {name: a, " + managed + "}}", slices.Concat([]string{"the operator", "cert-manager", "external-secrets"}, builtIn, trusted), "spec.protection.children"},
	{"a RoleBinding of the operator's", "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: a, " + managed + "}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: a}}",
		slices.Concat([]string{"the operator", "cert-manager", "external-secrets"}, builtIn, trusted), "spec.protection.children"},
	// certificates
	{"a certificate of a private authority", "{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: a}, spec: {secretName: a, issuerRef: {name: bartizan-ca-1}, uris: ['spiffe://x']}}",
		slices.Concat([]string{"the operator"}, trusted), "lets only the operator use its private authorities, by its spec.protection.certificateRequests; use an Issuer of your own"},
	{"a request to a private authority", "{apiVersion: cert-manager.io/v1, kind: CertificateRequest, metadata: {name: a}, spec: {request: YQ==, issuerRef: {name: bartizan-ca-12}}}",
		slices.Concat([]string{"cert-manager"}, trusted), "spec.protection.certificateRequests"},
	{"another issuer of a private authority", "{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: a}, spec: {ca: {secretName: bartizan-ca-1}}}",
		slices.Concat([]string{"the operator"}, trusted), "spec.protection.certificateRequests"},
	{"a certificate of one's own issuer", "{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: a}, spec: {secretName: a, issuerRef: {name: corp}}}", nil, ""},
	// pods
	{"a bare pod", "{apiVersion: v1, kind: Pod, metadata: {name: a}, " + spec + "}", slices.Concat(builtIn, trusted), "denies pods without a controller, by its spec.protection.barePods; make a Deployment or a Job"},
	{"a pod of a controller", "{apiVersion: v1, kind: Pod, metadata: {name: a, " + owner + "}, " + spec + "}", nil, ""},
	{"a pod that passes for a server's", "{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {bartizan.dev/server: a}, " + owner + "}, " + spec + "}", slices.Concat(builtIn, trusted),
		"lets only the operator set the label bartizan.dev/server of pods, by its spec.protection.barePods; remove the label"},
	{"a Deployment", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {selector: {matchLabels: {app: a}}, " + template + "}}", nil, ""},
	{"a Deployment of pods that pass for a server's", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {selector: {matchLabels: {app: a}}, " + passing + "}}",
		slices.Concat([]string{"the operator"}, builtIn, trusted), "set the label bartizan.dev/server of pods"},
	{"a CronJob of pods that pass for a server's", "{apiVersion: batch/v1, kind: CronJob, metadata: {name: a}, spec: {schedule: '* * * * *', jobTemplate: {spec: {" +
		strings.Replace(passing, "spec: {", "spec: {restartPolicy: Never, ", 1) + "}}}}", slices.Concat([]string{"the operator"}, builtIn, trusted), "set the label bartizan.dev/server of pods"},
	{"a CronJob", "{apiVersion: batch/v1, kind: CronJob, metadata: {name: a}, spec: {schedule: '* * * * *', jobTemplate: {spec: {" + strings.Replace(template, "spec: {", "spec: {restartPolicy: Never, ", 1) + "}}}}", nil, ""},
	// detours
	{"a Service of a server's pods", "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {selector: {bartizan.dev/server: a}, ports: [{port: 8080}]}}", slices.Concat([]string{"the operator"}, builtIn, trusted),
		"spec.selector: MCPSecurityProfile profile-1 denies ways to the pods of servers beside the gate"},
	{"a Service of all servers' pods", "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {selector: {app.kubernetes.io/managed-by: bartizan}, ports: [{port: 8080}]}}", slices.Concat([]string{"the operator"}, builtIn, trusted), "spec.protection.detours"},
	{"a Service of other pods", "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {selector: {app.kubernetes.io/name: grafana, app.kubernetes.io/instance: a}, ports: [{port: 8080}]}}", nil, ""},
	{"a Service of no pods", "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {type: ExternalName, externalName: example.com}}", nil, ""},
	{"addresses by hand", "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a, labels: {kubernetes.io/service-name: a}}, addressType: IPv4, endpoints: [{addresses: [10.1.0.1]}]}",
		slices.Concat([]string{"the operator"}, builtIn, trusted), "denies addresses of Services that are written by hand"},
	{"an opening for every pod", "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a}, spec: {podSelector: {}, ingress: [{}]}}", slices.Concat([]string{"the operator"}, builtIn, trusted), "denies openings of the pods of servers"},
	{"an opening for a server's pods", "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a}, spec: {podSelector: {matchLabels: {bartizan.dev/server: a, app: b}}, egress: [{}]}}", slices.Concat([]string{"the operator"}, builtIn, trusted), "denies openings"},
	{"an opening for pods with any label", "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a}, spec: {podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [b]}]}, ingress: [{}]}}", slices.Concat([]string{"the operator"}, builtIn, trusted), "denies openings"},
	{"an opening for all but servers' pods", "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a}, spec: {podSelector: {matchExpressions: [{key: bartizan.dev/server, operator: DoesNotExist}]}, ingress: [{}]}}", nil, ""},
	{"an opening for other pods", "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a}, spec: {podSelector: {matchLabels: {app: b}}, ingress: [{}]}}", nil, ""},
	{"a closing for every pod", "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a}, spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}", nil, ""},
}

// TestIntegrationProtectedCreations: each object is refused to all who may not make it, and to nobody else.
func TestIntegrationProtectedCreations(t *testing.T) {
	w := newWorld(t)
	w.protected()
	for _, test := range creations {
		t.Run(test.name, func(t *testing.T) {
			w := w.in(t)
			for name := range people {
				says := denied(w.person(name).Create(t.Context(), w.object(test.object), client.DryRunAll))
				want := strings.ReplaceAll(test.says, "profile-1 ", "")
				switch refused := test.says != "" && !slices.Contains(test.may, name); {
				case !refused && says != "":
					t.Errorf("%s is refused: %s", name, says)
				case refused && !strings.Contains(withoutNumbers(says), want):
					t.Errorf("%s is told %q, not %q", name, says, want)
				}
			}
			// Without the profile's namespace it is nobody's concern.
			other := w.object(test.object)
			other.SetNamespace("default")
			if says := denied(w.person("alice").Create(t.Context(), other, client.DryRunAll)); says != "" {
				t.Errorf("refused in another namespace: %s", says)
			}
		})
	}
	// What is not refused is not refused for another reason either.
	for _, test := range creations {
		if err := w.Create(t.Context(), w.object(test.object), client.DryRunAll); err != nil && denied(err) == "" {
			t.Errorf("%s: the API server refuses it anyhow: %v", test.name, err)
		}
	}
}

// withoutNumbers takes the names of profiles out of a message.
func withoutNumbers(text string) string {
	words := strings.Split(text, " ")
	return strings.Join(slices.DeleteFunc(words, func(word string) bool { return strings.HasPrefix(word, "profile-") }), " ")
}

// changes are changes of stored objects, and who may make them.
var changes = []struct {
	name, object, patch string
	subresource         string
	may                 []string
}{
	{"data of a child", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, " + managed + "}}", `{"data": {"a": "b"}}`, "", slices.Concat([]string{"the operator", "cert-manager", "external-secrets"}, builtIn, trusted)},
	{"a label of a child", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, " + managed + "}}", `{"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}`, "", slices.Concat([]string{"the operator", "cert-manager", "external-secrets"}, builtIn, trusted)},
	{"a finalizer of a child", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, finalizers: [example.com/a], " + managed + "}}", `{"metadata": {"finalizers": null}}`, "", all()},
	{"the spec of a Deployment", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, " + managed + "}, spec: {selector: {matchLabels: {app: a}}, " + template + "}}", `{"spec": {"paused": true}}`, "", slices.Concat([]string{"the operator", "cert-manager", "external-secrets"}, builtIn, trusted)},
	{"the scale of a server's Deployment", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, " + managed + "}, spec: {selector: {matchLabels: {bartizan.dev/server: a}}, " + strings.Replace(passing, "app: a, ", "", 1) + "}}", `{"spec": {"replicas": 5}}`, "scale", slices.Concat([]string{"the operator"}, builtIn, trusted)},
	{"the scale of another Deployment", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {selector: {matchLabels: {app: a}}, " + template + "}}", `{"spec": {"replicas": 5}}`, "scale", all()},
	{"one's own ConfigMap", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}", `{"data": {"a": "b"}}`, "", all()},
	{"the label of a server's pod", "{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {bartizan.dev/server: a}, " + owner + "}, " + spec + "}", `{"metadata": {"labels": {"bartizan.dev/server": null}}}`, "", slices.Concat(builtIn, trusted)},
	{"whose a server's pod is", "{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {bartizan.dev/server: a}, " + owner + "}, " + spec + "}", `{"metadata": {"ownerReferences": null}}`, "", slices.Concat(builtIn, trusted)},
	{"an annotation of a server's pod, as the operator nudges it", "{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {bartizan.dev/server: a}, " + owner + "}, " + spec + "}", `{"metadata": {"annotations": {"a": "b"}}}`, "", all()},
	{"an ephemeral container", "{apiVersion: v1, kind: Pod, metadata: {name: a, " + owner + "}, " + spec + "}", `{"spec": {"ephemeralContainers": [{"name": "b", "image": "b", "terminationMessagePolicy": "File", "imagePullPolicy": "Always"}]}}`, "ephemeralcontainers", trusted},
	{"the status of a pod", "{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {bartizan.dev/server: a}, " + owner + "}, " + spec + "}", `{"status": {"phase": "Running"}}`, "status", all()},
	{"the spec of a certificate of a private authority", "{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: a}, spec: {secretName: a, issuerRef: {name: bartizan-ca-1}}}", `{"spec": {"uris": ["spiffe://x"]}}`, "", slices.Concat([]string{"the operator"}, trusted)},
	{"the status of a certificate of a private authority", "{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: a}, spec: {secretName: a, issuerRef: {name: bartizan-ca-1}}}", `{"status": {"revision": 2}}`, "status", all()},
	{"the selector of a Service", "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {selector: {app: a}, ports: [{port: 80}]}}", `{"spec": {"selector": {"app": null, "bartizan.dev/server": "a"}}}`, "", slices.Concat([]string{"the operator"}, builtIn, trusted)},
	{"an annotation of a Service that was there before", "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {selector: {bartizan.dev/server: a}, ports: [{port: 80}]}}", `{"metadata": {"annotations": {"a": "b"}}}`, "", all()},
}

func all() []string {
	var names []string
	for name := range people {
		names = append(names, name)
	}
	return names
}

// TestIntegrationProtectedChanges: each change of what is there is refused to all who may not make it; deletion is to nobody.
func TestIntegrationProtectedChanges(t *testing.T) {
	w := newWorld(t)
	var objects []*unstructured.Unstructured
	for i, test := range changes {
		object := w.object(test.object)
		object.SetName(fmt.Sprintf("a-%d", i))
		if err := w.Create(t.Context(), object); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		objects = append(objects, object)
	}
	w.protected()
	for i, test := range changes {
		t.Run(test.name, func(t *testing.T) {
			w := w.in(t)
			for name := range people {
				patch, c := client.RawPatch("application/merge-patch+json", []byte(test.patch)), w.person(name)
				var err error
				if test.subresource == "" {
					err = c.Patch(t.Context(), objects[i].DeepCopy(), patch, client.DryRunAll)
				} else {
					err = c.SubResource(test.subresource).Patch(t.Context(), objects[i].DeepCopy(), patch, client.DryRunAll)
				}
				switch says := denied(err); {
				case slices.Contains(test.may, name) && err != nil:
					t.Errorf("%s: %v", name, err)
				case !slices.Contains(test.may, name) && !strings.Contains(says, w.namespace+"/a-") && !strings.Contains(says, "spec.protection."):
					t.Errorf("%s passes: %v", name, err)
				}
			}
			if err := w.person("alice").Delete(t.Context(), objects[i], client.DryRunAll); err != nil {
				t.Errorf("alice cannot delete it: %v", err)
			}
		})
	}
}

// TestIntegrationProtectedPodAccess: nobody gets into a pod but those whom the profile trusts.
func TestIntegrationProtectedPodAccess(t *testing.T) {
	w := newWorld(t)
	if err := w.Create(t.Context(), w.object("{apiVersion: v1, kind: Pod, metadata: {name: a}, "+spec+"}")); err != nil {
		t.Fatal(err)
	}
	enter := func(ctx context.Context, name, subresource string) error {
		config := rest.CopyConfig(w.config)
		who := people[name]
		config.Impersonate = rest.ImpersonationConfig{UserName: who[0], Groups: append([]string{"system:masters"}, who[1:]...)}
		return kubernetes.NewForConfigOrDie(config).CoreV1().RESTClient().Post().Namespace(w.namespace).Resource("pods").Name("a").SubResource(subresource).
			Param("command", "ls").Param("stdout", "true").Do(ctx).Error()
	}
	if err := enter(t.Context(), "alice", "exec"); err == nil || denied(err) != "" {
		t.Fatalf("before there is a profile: %v", err) // there is no node
	}
	w.protected()
	for _, subresource := range []string{"exec", "attach", "portforward", "proxy"} {
		for name := range people {
			says := denied(enter(t.Context(), name, subresource))
			want := "Pod " + w.namespace + "/a: MCPSecurityProfile "
			switch may := slices.Contains(trusted, name); {
			case may && says != "":
				t.Errorf("%s: %s is refused: %s", subresource, name, says)
			case !may && (!strings.Contains(says, want) || !strings.Contains(says, "denies "+subresource+", by its spec.protection.podAccess")):
				t.Errorf("%s: %s is told %q", subresource, name, says)
			}
		}
	}
}
