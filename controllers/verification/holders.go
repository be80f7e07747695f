package verification

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// holders are the Secrets of a server's pods that hold a ServiceAccount's token, as their metadata at a time tells.
type holders struct {
	// of is what was asked: about which Secrets.
	of string
	at time.Time
	// accounts are the ServiceAccounts, by the Secrets' names.
	accounts map[string]string
	// unread are the Secrets of which nothing is known.
	unread []string
}

// tokenSecrets looks which Secrets of the pods hold a ServiceAccount's token. It reads no Secret, only its metadata: one that holds a
// token must have an annotation with the account's name.
func (r *Reconciler) tokenSecrets(ctx context.Context, o *observed) (holders, error) {
	server := client.ObjectKeyFromObject(o.server)
	var names []string
	for i := range o.pods {
		names = append(names, secretsOf(&o.pods[i].Spec)...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	of := strings.Join(names, " ")
	last, known := r.secrets.last(server)
	// What a Secret holds by its type stays so while it is there.
	age := max(r.Settings.ReportsAge, declared.VerificationInterval(o.server))
	if len(last.unread) > 0 {
		age = r.Settings.ReportsAge
	}
	if known && last.of == of && o.now.Sub(last.at) < age {
		return last, nil
	}
	next := holders{of: of, at: o.now, accounts: map[string]string{}}
	for _, name := range names {
		secret := &metav1.PartialObjectMetadata{}
		secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
		if err := r.Live.Get(ctx, client.ObjectKey{Namespace: server.Namespace, Name: name}, secret); client.IgnoreNotFound(err) != nil {
			next.unread = append(next.unread, name)
			continue
		}
		if account := secret.Annotations[corev1.ServiceAccountNameKey]; account != "" {
			next.accounts[name] = account
		}
	}
	r.secrets.remember(server, next)
	return next, ctx.Err()
}

// secretsOf are the Secrets that the containers of a pod can read. Those by which images are pulled they cannot.
func secretsOf(pod *corev1.PodSpec) (all []string) {
	for i := range pod.Volumes {
		v := &pod.Volumes[i]
		if v.Secret != nil {
			all = append(all, v.Secret.SecretName)
		}
		if v.Projected != nil {
			for _, source := range v.Projected.Sources {
				if source.Secret != nil {
					all = append(all, source.Secret.Name)
				}
			}
		}
	}
	for _, c := range containers(pod) {
		for _, from := range c.EnvFrom {
			if from.SecretRef != nil {
				all = append(all, from.SecretRef.Name)
			}
		}
		for _, variable := range c.Env {
			if variable.ValueFrom != nil && variable.ValueFrom.SecretKeyRef != nil {
				all = append(all, variable.ValueFrom.SecretKeyRef.Name)
			}
		}
	}
	return all
}

// containers are all of a pod, ephemeral ones too.
func containers(pod *corev1.PodSpec) []corev1.Container {
	all := slices.Concat(pod.InitContainers, pod.Containers)
	for i := range pod.EphemeralContainers {
		all = append(all, corev1.Container(pod.EphemeralContainers[i].EphemeralContainerCommon))
	}
	return all
}

// tokenFact is which tokens of ServiceAccounts the pods have that nobody asked for: any where spec.kubernetesAccess does not ask for
// one, that of another account where it does, and always those that a Secret holds, which never end.
func (o *observed) tokenFact() posture.Fact[posture.ServiceAccountToken] {
	token := posture.ServiceAccountToken{Asked: o.server.Spec.KubernetesAccess != nil}
	account := declared.Account(o.server)
	var unread []string
	for i := range o.pods {
		pod := &o.pods[i]
		switch has := slices.ContainsFunc(pod.Spec.Volumes, hasToken); {
		case has && !token.Asked:
			token.Mounted = append(token.Mounted, "Pod "+pod.Name)
		case has && pod.Spec.ServiceAccountName != account:
			token.Mounted = append(token.Mounted, fmt.Sprintf("Pod %s (that of ServiceAccount %s, where ServiceAccount %s was asked for)", pod.Name, pod.Spec.ServiceAccountName, account))
		}
		for _, name := range secretsOf(&pod.Spec) {
			if of := o.holders.accounts[name]; of != "" {
				token.Mounted = append(token.Mounted, fmt.Sprintf("Pod %s (that of ServiceAccount %s in Secret %s)", pod.Name, of, name))
			}
			if slices.Contains(o.holders.unread, name) {
				unread = append(unread, name)
			}
		}
	}
	slices.Sort(token.Mounted)
	token.Mounted = slices.Compact(token.Mounted)
	if len(token.Mounted) == 0 && len(unread) > 0 {
		slices.Sort(unread)
		return posture.Unknown[posture.ServiceAccountToken]("whether it is a ServiceAccount's token that Secret " + strings.Join(slices.Compact(unread), ", ") + " holds cannot be read")
	}
	return posture.See(token, "pods, metadata of their Secrets", o.now)
}
