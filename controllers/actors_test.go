package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
	played "github.com/bartizan-dev/bartizan/test/certmanager"
)

// The control plane of these tests has no cert-manager, no external-secrets, no workload controllers and no kubelet. The
// actors below play them, each as little as the operator can notice. What the real ones do is for the end-to-end tests.

// act plays a part again and again until the test ends.
func (w *world) act(parts ...func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for _, part := range parts {
				_ = part(ctx) // what fails is tried again
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	w.t.Cleanup(func() { cancel(); <-done })
}

func (w *world) everybody() {
	w.act(w.certManager, w.externalSecrets, w.workloads)
}

func (w *world) namespaces() []string { return []string{w.operator, w.namespace} }

// certManager issues what Certificates ask for: authorities by themselves, others by their Issuer's Secret.
func (w *world) certManager(ctx context.Context) error {
	var failed []error
	for _, namespace := range w.namespaces() {
		all := &certmanager.CertificateList{}
		if err := w.List(ctx, all, client.InNamespace(namespace)); err != nil {
			return err
		}
		for i := range all.Items {
			failed = append(failed, played.Issue(ctx, w, &all.Items[i], time.Now()))
		}
	}
	return errors.Join(failed...)
}

// externalSecrets brings a value for each key of an ExternalSecret whose store exists.
func (w *world) externalSecrets(ctx context.Context) error {
	all := &externalsecrets.ExternalSecretList{}
	if err := w.List(ctx, all, client.InNamespace(w.namespace)); err != nil {
		return err
	}
	var failed []error
	for i := range all.Items {
		failed = append(failed, w.sync(ctx, &all.Items[i]))
	}
	return errors.Join(failed...)
}

func (w *world) sync(ctx context.Context, e *externalsecrets.ExternalSecret) error {
	status, reason := corev1.ConditionTrue, "SecretSynced"
	if err := w.Get(ctx, client.ObjectKey{Namespace: e.Namespace, Name: e.Spec.SecretStoreRef.Name}, &externalsecrets.SecretStore{}); err != nil {
		status, reason = corev1.ConditionFalse, "SecretSyncedError"
	} else {
		yes := true
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: e.Namespace, Name: e.Spec.Target.Name, Labels: e.Spec.Target.Template.Metadata.Labels,
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "external-secrets.io/v1", Kind: "ExternalSecret", Name: e.Name, UID: e.UID, Controller: &yes}},
			},
			Data: map[string][]byte{},
		}
		for _, data := range e.Spec.Data {
			secret.Data[data.SecretKey] = []byte("value of " + data.RemoteRef.Key)
		}
		if err := w.Create(ctx, secret); client.IgnoreAlreadyExists(err) != nil {
			return err
		}
	}
	if len(e.Status.Conditions) == 1 && e.Status.Conditions[0].Status == status {
		return nil
	}
	e.Status.Conditions = []externalsecrets.ExternalSecretStatusCondition{{Type: externalsecrets.ExternalSecretReady, Status: status, Reason: reason}}
	return w.Status().Update(ctx, e)
}

// workloads makes the pods of Deployments, all at once, and says that they are ready.
func (w *world) workloads(ctx context.Context) error {
	all := &appsv1.DeploymentList{}
	if err := w.List(ctx, all, client.InNamespace(w.namespace)); err != nil {
		return err
	}
	var failed []error
	for i := range all.Items {
		failed = append(failed, w.roll(ctx, &all.Items[i]))
	}
	return errors.Join(failed...)
}

var addresses atomic.Uint32

func (w *world) roll(ctx context.Context, d *appsv1.Deployment) error {
	if d.Status.ObservedGeneration == d.Generation {
		return nil
	}
	pods := &corev1.PodList{}
	if err := w.List(ctx, pods, client.InNamespace(d.Namespace), client.MatchingLabels(d.Spec.Selector.MatchLabels)); err != nil {
		return err
	}
	for i := range pods.Items {
		if err := w.Delete(ctx, &pods.Items[i], client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	for range *d.Spec.Replicas {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, GenerateName: d.Name + "-", Labels: d.Spec.Template.Labels, Annotations: d.Spec.Template.Annotations},
			Spec:       d.Spec.Template.Spec,
		}
		if err := w.Create(ctx, pod); err != nil {
			return fmt.Errorf("create a pod: %w", err)
		}
		n := addresses.Add(1)
		pod.Status.PodIP = fmt.Sprintf("10.1.%d.%d", n/250, 1+n%250)
		pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}}
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		if err := w.Status().Update(ctx, pod); err != nil {
			return err
		}
	}
	d.Status = appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: *d.Spec.Replicas, UpdatedReplicas: *d.Spec.Replicas,
		ReadyReplicas: *d.Spec.Replicas, AvailableReplicas: *d.Spec.Replicas,
	}
	return w.Status().Update(ctx, d)
}

// gatesActor plays the gates of all pods: each runs at once what its Secret holds, unless it is told to hang.
type gatesActor struct {
	client client.Client
	hang   atomic.Bool
	// tellKeys has them name the keys of their configuration, as real ones do; a rotation waits for that.
	tellKeys  atomic.Bool
	listeners atomic.Pointer[[]string]
	// serial is that of the certificate that gates serve, whatever their Secret has.
	serial atomic.Pointer[string]
	// accepts are ids of keys that gates accept beyond their configuration.
	accepts atomic.Pointer[[]string]
	asked   atomic.Int64
}

func (g *gatesActor) Read(ctx context.Context, all []gates.Gate) []gates.Answer {
	answers := make([]gates.Answer, len(all))
	for i, gate := range all {
		g.asked.Add(1)
		parts := strings.Split(gate.ServerName, ".")
		secret := &corev1.Secret{}
		if answers[i].Err = g.client.Get(ctx, client.ObjectKey{Namespace: parts[1], Name: parts[0] + "-gate"}, secret); answers[i].Err != nil {
			continue
		}
		config, err := gateconfig.Parse(secret.Data[gateconfig.ConfigFile])
		answers[i].Status = gatestatus.Status{Generation: config.Generation, UpstreamReady: true, Audit: &gatestatus.AuditHead{Seq: 1, Hash: "0f"},
			ServerRequests: []gatestatus.ServerRequest{}}
		serving := &corev1.Secret{}
		if g.client.Get(ctx, client.ObjectKey{Namespace: parts[1], Name: parts[0] + "-tls"}, serving) == nil {
			if leaf, _, err := played.Decode(serving); err == nil {
				answers[i].Status.CertificateSerial = leaf.SerialNumber.Text(16)
			}
		}
		if serial := g.serial.Load(); serial != nil {
			answers[i].Status.CertificateSerial = *serial
		}
		if err != nil {
			answers[i].Status.ConfigError = err.Error()
		}
		if g.hang.Load() {
			answers[i].Status.Generation = "an older one"
		}
		for _, c := range config.Clients {
			for _, key := range c.Keys {
				if g.tellKeys.Load() {
					answers[i].Status.Keys = append(answers[i].Status.Keys, gatestatus.Key{ID: key.ID})
				}
			}
		}
		if accepts := g.accepts.Load(); accepts != nil {
			for _, id := range *accepts {
				answers[i].Status.Keys = append(answers[i].Status.Keys, gatestatus.Key{ID: id})
			}
		}
		if listeners := g.listeners.Load(); listeners != nil {
			answers[i].Status.Listeners = *listeners
		}
	}
	return answers
}
