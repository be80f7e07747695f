package access

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/keys"
)

// addClients fills in the clients, their authorities and their peers. Whatever a gate would refuse is left out here, so that
// one broken client never keeps a gate from a new configuration.
func (r *Result) addClients(granted map[string]*v1alpha1.MCPClient, in Input) {
	clients := slices.SortedFunc(maps.Values(granted), func(a, b *v1alpha1.MCPClient) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	owners := owners(clients, in.Server.Namespace)
	for _, c := range clients {
		entry := gateconfig.Client{
			Object: gateconfig.Object{Namespace: c.Namespace, Name: c.Name},
			Keys:   r.keys(c, owners, in),
		}
		if UsesCertificates(c) {
			r.addAuthority(c, in)
		} else {
			entry.Certificates = gateconfig.Disabled
		}
		r.Clients = append(r.Clients, entry)
		r.addPeer(c)
	}
}

// keys are the keys of a client that the gates of the server accept now.
func (r *Result) keys(c *v1alpha1.MCPClient, owners map[string]*v1alpha1.MCPClient, in Input) []gateconfig.Key {
	if !UsesKeys(c) || !TakesKeys(in.Server) {
		return nil
	}
	var accepted []gateconfig.Key
	for _, k := range recorded(c, in.Server.Namespace) {
		if !keys.State(k.State).Accepted() || slices.Contains(c.Spec.RevokedKeys, k.ID) {
			continue // what the spec revokes does not wait for the status to say so
		}
		if err := checkKey(k); err != nil {
			r.Problems = append(r.Problems, Problem{
				Kind: "MCPClient", Namespace: c.Namespace, Name: c.Name, Field: "status.credentials", Reason: "KeyUnusable",
				Message: fmt.Sprintf("key %q is left out: %v; the operator writes this field, nobody else should", k.ID, err),
			})
			continue
		}
		if owners[k.ID] != c {
			r.Problems = append(r.Problems, Problem{
				Kind: "MCPClient", Namespace: c.Namespace, Name: c.Name, Field: "status.credentials", Reason: "KeyNotUnique",
				Message: fmt.Sprintf("key %q is left out: an older client has a key of the same id; delete the Secret with the key, and a new one is made", k.ID),
			})
			continue
		}
		if r.live(k.NotAfter.Time, in.Now) {
			accepted = append(accepted, gateconfig.Key{ID: k.ID, SHA256: k.SHA256, NotAfter: k.NotAfter.UTC()})
		}
	}
	slices.SortFunc(accepted, func(a, b gateconfig.Key) int { return cmp.Compare(a.ID, b.ID) })
	return slices.CompactFunc(accepted, func(a, b gateconfig.Key) bool { return a.ID == b.ID })
}

// owners are the clients by the ids of their keys. Ids are random, so two clients with one id mean that somebody copied a
// key: the id stays with the key that was issued first, which the copy cannot be.
func owners(clients []*v1alpha1.MCPClient, servers string) map[string]*v1alpha1.MCPClient {
	owners, issued := map[string]*v1alpha1.MCPClient{}, map[string]metav1.Time{}
	for _, c := range clients {
		for _, k := range recorded(c, servers) {
			if at, taken := issued[k.ID]; !taken || k.IssuedAt.Before(&at) {
				owners[k.ID], issued[k.ID] = c, k.IssuedAt
			}
		}
	}
	return owners
}

// recorded are the keys that the client's status has for the servers of a namespace.
func recorded(c *v1alpha1.MCPClient, servers string) []v1alpha1.ClientKey {
	for i := range c.Status.Credentials {
		if c.Status.Credentials[i].Namespace == servers {
			return c.Status.Credentials[i].Keys
		}
	}
	return nil
}

// Same says whether gates are told the same of a client before and after a change of it.
func Same(before, after *v1alpha1.MCPClient) bool {
	keys := func(a, b v1alpha1.ClientKey) bool {
		return a.ID == b.ID && a.SHA256 == b.SHA256 && a.State == b.State && a.NotAfter.Equal(&b.NotAfter) && a.IssuedAt.Equal(&b.IssuedAt)
	}
	return before.UID == after.UID && before.Generation == after.Generation && before.DeletionTimestamp.IsZero() == after.DeletionTimestamp.IsZero() &&
		slices.EqualFunc(before.Status.Credentials, after.Status.Credentials, func(a, b v1alpha1.ClientCredential) bool {
			return a.Namespace == b.Namespace && slices.EqualFunc(a.Keys, b.Keys, keys)
		})
}

func checkKey(k v1alpha1.ClientKey) error {
	if !keys.IsID(k.ID) {
		return fmt.Errorf("its id is not that of a key")
	}
	if sum, err := hex.DecodeString(k.SHA256); err != nil || len(sum) != 32 || k.SHA256 != strings.ToLower(k.SHA256) {
		return fmt.Errorf("its sha256 is not a hash")
	}
	if k.NotAfter.IsZero() {
		return fmt.Errorf("it has no notAfter")
	}
	return nil
}

func (r *Result) addAuthority(c *v1alpha1.MCPClient, in Input) {
	bundle, known := in.Authorities[c.Namespace]
	if _, done := r.Authorities[c.Namespace]; !known || done {
		return
	}
	if _, err := gateconfig.Pool(bundle); err != nil {
		p := Problem{
			Kind: "Namespace", Name: c.Namespace, Reason: "AuthorityUnusable",
			Message: fmt.Sprintf("the authority of its MCPClients is left out, so that their certificates are refused: %v", err),
		}
		if !slices.Contains(r.Problems, p) {
			r.Problems = append(r.Problems, p)
		}
		return
	}
	if r.Authorities == nil {
		r.Authorities = map[string]string{}
	}
	r.Authorities[c.Namespace] = bundle
}

func (r *Result) addPeer(c *v1alpha1.MCPClient) {
	if c.Spec.PodSelector == nil {
		return
	}
	if _, err := metav1.LabelSelectorAsSelector(c.Spec.PodSelector); err != nil {
		r.Problems = append(r.Problems, Problem{
			Kind: "MCPClient", Namespace: c.Namespace, Name: c.Name, Field: "spec.podSelector", Reason: "SelectorInvalid",
			Message: fmt.Sprintf("the network stays closed for it: %v", err),
		})
		return
	}
	r.Peers = append(r.Peers, Peer{Namespace: c.Namespace, PodSelector: *c.Spec.PodSelector.DeepCopy()})
}
