package mcpclient

import (
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
	voices []gates.Voice
	// missing are servers whose configuration does not have a key, as what people read.
	missing []string
}

// hear asks the gates in the pods that are there now. The key is one that the servers' configurations have to contain, because
// gates that do not run yet begin with them; empty for none.
func (r *Reconciler) hear(ctx context.Context, in *input, servers, key string) (*hearing, error) {
	h := &hearing{}
	var asked []gates.Server
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
		of := gates.Server{MCPServer: g.Server}
		for _, s := range in.granted[servers] {
			if s.Name == g.Name {
				of.Bundle = s.CABundle
			}
		}
		asked = append(asked, of)
	}
	var err error
	h.voices, err = r.ear.Hear(ctx, r.Live, r.Gates, asked, in.now)
	return h, err
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

// lacking are those that do not accept the key yet, as what people read.
func (h *hearing) lacking(key string) []string {
	lacking := slices.Clone(h.missing)
	for _, v := range h.voices {
		switch {
		case v.Err != nil:
			lacking = append(lacking, v.Name()+", whose gate does not answer")
		case !slices.ContainsFunc(v.Status.Keys, func(k gatestatus.Key) bool { return k.ID == key }):
			lacking = append(lacking, v.Name())
		}
	}
	return lacking
}

// unused says whether it is known that no gate accepted the key since a time.
func (h *hearing) unused(key string, since time.Time) bool {
	return !slices.ContainsFunc(h.voices, func(v gates.Voice) bool {
		return v.Err != nil || v.Since().IsZero() || v.Since().After(since) ||
			slices.ContainsFunc(v.Status.Keys, func(k gatestatus.Key) bool { return k.ID == key && !k.LastUsed.Before(since) })
	})
}
