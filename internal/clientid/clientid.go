// Package clientid names the identities in Bartizan's certificates: one SPIFFE-shaped URI SAN each (SPIFFE-ID, section 2).
package clientid

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Operator is the identity of the operator towards the gates' status ports. Only the system authority vouches for it.
const Operator = "spiffe://bartizan.dev/operator"

// Monitoring is the identity of who reads the gates' metrics, and nothing else of theirs. Only the system authority vouches
// for it.
const Monitoring = "spiffe://bartizan.dev/monitoring"

// Client is an MCPClient as its certificate names it: the client, and the namespace of servers that the certificate is for.
type Client struct {
	Namespace, Name string
	// Servers is the namespace of the MCPServers that may accept this identity.
	Servers string
}

const prefix = "spiffe://bartizan.dev/ns/"

// URI is the URI SAN of the client's certificate.
func (c Client) URI() string {
	return prefix + c.Namespace + "/mcpclient/" + c.Name + "/servers/" + c.Servers
}

// Parse reads a URI that Client.URI made and refuses every other.
func Parse(uri string) (Client, error) {
	rest, ok := strings.CutPrefix(uri, prefix)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 5 || parts[1] != "mcpclient" || parts[3] != "servers" {
		return Client{}, fmt.Errorf("the certificate's URI is not that of an MCPClient")
	}
	c := Client{Namespace: parts[0], Name: parts[2], Servers: parts[4]}
	for _, label := range []string{c.Namespace, c.Name, c.Servers} {
		if len(validation.IsDNS1123Label(label)) > 0 {
			return Client{}, fmt.Errorf("the certificate's URI is not that of an MCPClient")
		}
	}
	return c, nil
}
