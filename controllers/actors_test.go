package controllers_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	certmanagermeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
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
			failed = append(failed, w.issue(ctx, &all.Items[i]))
		}
	}
	return errors.Join(failed...)
}

func (w *world) issue(ctx context.Context, c *certmanager.Certificate) error {
	key := client.ObjectKey{Namespace: c.Namespace, Name: c.Spec.SecretName}
	before, issuer := &corev1.Secret{}, &certmanager.Issuer{}
	if err := w.Get(ctx, key, before); client.IgnoreNotFound(err) != nil || err == nil && before.Annotations[certmanager.IssuerNameAnnotationKey] == c.Spec.IssuerRef.Name {
		return err
	}
	if err := w.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: c.Spec.IssuerRef.Name}, issuer); err != nil {
		return err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: c.Spec.CommonName},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(c.Spec.Duration.Duration), DNSNames: c.Spec.DNSNames,
		IsCA: c.Spec.IsCA, BasicConstraintsValid: true,
	}
	for _, uri := range c.Spec.URIs {
		parsed, err := url.Parse(uri)
		if err != nil {
			return err
		}
		template.URIs = append(template.URIs, parsed)
	}
	parent, signer := template, private
	if issuer.Spec.CA != nil {
		authority := &corev1.Secret{}
		if err := w.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: issuer.Spec.CA.SecretName}, authority); err != nil {
			return err
		}
		if parent, signer, err = decode(authority); err != nil {
			return err
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, signer)
	if err != nil {
		return err
	}
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return err
	}
	ca := der
	if parent != template {
		ca = parent.Raw
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name,
			Annotations: map[string]string{certmanager.CertificateNameKey: c.Name, certmanager.IssuerNameAnnotationKey: issuer.Name},
		},
		Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{
			"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			"tls.key": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}),
			"ca.crt":  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca}),
		},
	}
	if c.Spec.SecretTemplate != nil {
		secret.Labels = c.Spec.SecretTemplate.Labels
	}
	if before.UID == "" {
		err = w.Create(ctx, secret)
	} else {
		before.Data, before.Annotations = secret.Data, secret.Annotations
		err = w.Update(ctx, before)
	}
	if err != nil {
		return err
	}
	c.Status.Conditions = []certmanager.CertificateCondition{{Type: certmanager.CertificateConditionReady, Status: certmanagermeta.ConditionTrue, Reason: "Ready"}}
	return w.Status().Update(ctx, c)
}

func decode(secret *corev1.Secret) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certificate, _ := pem.Decode(secret.Data["tls.crt"])
	key, _ := pem.Decode(secret.Data["tls.key"])
	if certificate == nil || key == nil {
		return nil, nil, errors.New("no PEM")
	}
	parsed, err := x509.ParseCertificate(certificate.Bytes)
	if err != nil {
		return nil, nil, err
	}
	private, err := x509.ParseECPrivateKey(key.Bytes)
	return parsed, private, err
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
			if leaf, _, err := decode(serving); err == nil {
				answers[i].Status.CertificateSerial = leaf.SerialNumber.Text(16)
			}
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
