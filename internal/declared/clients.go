package declared

import (
	"cmp"
	"fmt"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// StoreKey names the value in a store that a client's key for the servers of a namespace comes from or goes to, so that two clients with the
// same key have the same name; "" where the key is in no store.
func StoreKey(client *v1alpha1.MCPClient, servers string) string {
	for i := range client.Spec.APIKey.Stores {
		s := &client.Spec.APIKey.Stores[i]
		if s.Namespace != servers {
			continue
		}
		kind, of := cmp.Or(string(s.StoreRef.Kind), "SecretStore"), ""
		if kind == "SecretStore" {
			of = client.Namespace // each namespace has its own
		}
		store := fmt.Sprintf("%s %s/%s ", kind, of, s.StoreRef.Name)
		switch {
		case s.Source != nil:
			return store + fmt.Sprintf("%q %q", s.Source.RemoteRef.Key, s.Source.RemoteRef.Property)
		case s.Push != nil:
			return store + fmt.Sprintf("%q %q", s.Push.RemoteKey, s.Push.Property)
		}
	}
	return ""
}
