package mcpclient

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
)

// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch

// hearing is what all gates that a client may reach in one namespace of servers say about its keys.
type hearing struct {
	voices []voice
	// missing are servers whose configuration does not have a key, as what people read.
	missing []string
}

// voice is what one gate says.
type voice struct {
	// name is what people read.
	name string
	// answered says that the gate could be asked.
	answered bool
	status   gatestatus.Status
	// since is when the gate's container started; zero when that is unknown.
	since time.Time
}

// hear asks the gates in the pods that are there now, past any cache. The key is one that the servers' configurations have to
// contain, because gates that do not run yet begin with them; empty for none. Which gates count is [gates.Counts].
func (r *Reconciler) hear(ctx context.Context, in *input, servers, key string) (*hearing, error) {
	h := &hearing{}
	var asked []gates.Gate
	var counts []bool // whether a gate that does not answer does
	for _, g := range in.grants {
		if g.State != v1alpha1.ServerGranted || g.Namespace != servers || !access.TakesKeys(g.Server) {
			continue
		}
		if key != "" {
			configured, err := r.configured(ctx, in, g.Server, key)
			if err != nil {
				return nil, err
			}
			if !configured {
				h.missing = append(h.missing, fmt.Sprintf("the configuration of MCPServer %s/%s", servers, g.Name))
				continue
			}
		}
		bundle := ""
		for _, s := range in.granted[servers] {
			if s.Name == g.Name {
				bundle = s.CABundle
			}
		}
		pods := corev1.PodList{}
		err := r.Live.List(ctx, &pods, client.InNamespace(servers), client.MatchingLabels(manifests.Selector(g.Name)))
		if err != nil {
			return nil, err
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			if !gates.Counts(pod, true, in.now) {
				continue
			}
			h.voices = append(h.voices, voice{name: fmt.Sprintf("Pod %s/%s", servers, pod.Name), since: gateSince(pod)})
			asked = append(asked, gates.Gate{Address: pod.Status.PodIP, ServerName: manifests.ServerName(g.Server), Roots: bundle})
			counts = append(counts, gates.Counts(pod, false, in.now))
		}
	}
	if len(asked) == 0 {
		return h, nil
	}
	for i, answer := range r.Gates.Read(ctx, asked) {
		h.voices[i].status, h.voices[i].answered = answer.Status, answer.Err == nil
	}
	kept := h.voices[:0]
	for i, v := range h.voices {
		if v.answered || counts[i] {
			kept = append(kept, v)
		}
	}
	h.voices = kept
	slices.SortFunc(h.voices, func(a, b voice) int { return cmp.Compare(a.name, b.name) })
	return h, nil
}

// configured says whether the configuration that gates of the server begin with has the key.
func (r *Reconciler) configured(ctx context.Context, in *input, s *v1alpha1.MCPServer, key string) (bool, error) {
	secret := corev1.Secret{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: manifests.GateSecretName(s.Name)}, &secret)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	config, err := gateconfig.Parse(secret.Data[gateconfig.ConfigFile])
	return err == nil && metav1.IsControlledBy(&secret, s) && accepts(config, in.client, key), nil
}

func accepts(config gateconfig.Config, c *v1alpha1.MCPClient, key string) bool {
	return slices.ContainsFunc(config.Clients, func(known gateconfig.Client) bool {
		return known.Namespace == c.Namespace && known.Name == c.Name &&
			slices.ContainsFunc(known.Keys, func(k gateconfig.Key) bool { return k.ID == key })
	})
}

// gateSince is when the gate of a pod started; zero when it does not run.
func gateSince(pod *corev1.Pod) time.Time {
	for _, c := range pod.Status.InitContainerStatuses {
		if c.Name == manifests.GateContainer && c.State.Running != nil {
			return c.State.Running.StartedAt.Time
		}
	}
	return time.Time{}
}

// lacking are those that do not accept the key yet, as what people read.
func (h *hearing) lacking(key string) []string {
	lacking := slices.Clone(h.missing)
	for _, v := range h.voices {
		switch {
		case !v.answered:
			lacking = append(lacking, v.name+", whose gate does not answer")
		case !slices.ContainsFunc(v.status.Keys, func(k gatestatus.Key) bool { return k.ID == key }):
			lacking = append(lacking, v.name)
		}
	}
	return lacking
}

// unused says whether it is known that no gate accepted the key since a time.
func (h *hearing) unused(key string, since time.Time) bool {
	return !slices.ContainsFunc(h.voices, func(v voice) bool {
		return !v.answered || v.since.IsZero() || v.since.After(since) ||
			slices.ContainsFunc(v.status.Keys, func(k gatestatus.Key) bool { return k.ID == key && !k.LastUsed.Before(since) })
	})
}
