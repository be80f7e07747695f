package config

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// wellKnown is where RFC 9728, section 3 puts the metadata of a protected resource, before the path of the resource.
const wellKnown = "/.well-known/oauth-protected-resource"

// OAuth is what callers are told about authorization, as RFC 9728 has it.
type OAuth struct {
	// Metadata is the document of the protected resource.
	Metadata []byte
	// path is where the document is, beside the root; url is all of that address.
	path, url string
	// scope is what every token needs.
	scope string
}

// newOAuth returns nil where there is no issuer that a caller could ask for a token.
func newOAuth(c gateconfig.Config) *OAuth {
	endpoint, err := url.Parse(c.Endpoint.URL)
	if err != nil {
		return nil
	}
	document := struct {
		Resource      string   `json:"resource"`
		Servers       []string `json:"authorization_servers"`
		Scopes        []string `json:"scopes_supported,omitempty"`
		BearerMethods []string `json:"bearer_methods_supported"`
	}{Resource: c.Endpoint.URL, BearerMethods: []string{"header"}}
	alike := true
	var first []string
	for _, issuer := range c.Authentication.Tokens {
		if issuer.Type != gateconfig.OIDC {
			continue
		}
		if document.Servers == nil {
			first = issuer.RequiredScopes
		}
		document.Servers = append(document.Servers, issuer.Issuer)
		document.Scopes = append(document.Scopes, issuer.RequiredScopes...)
		alike = alike && slices.Equal(issuer.RequiredScopes, first)
	}
	if len(document.Servers) == 0 {
		return nil
	}
	slices.Sort(document.Scopes)
	document.Scopes = slices.Compact(document.Scopes)
	metadata, err := json.Marshal(document)
	if err != nil {
		return nil
	}
	endpoint.Path = wellKnown + strings.TrimSuffix(c.Endpoint.Path, "/")
	o := &OAuth{Metadata: metadata, path: endpoint.Path, url: endpoint.String()}
	if alike {
		// One issuer may refuse the scopes of another.
		o.scope = strings.Join(document.Scopes, " ")
	}
	return o
}

// Serves says whether a path is one of the two of the metadata.
func (o *OAuth) Serves(path string) bool {
	return o != nil && (path == wellKnown || path == o.path)
}

// Challenge is the value of WWW-Authenticate (RFC 6750, section 3). The error is one of that section's or empty; the
// scopes are all that the operation needs, or empty for those that every token of the server needs.
func (o *OAuth) Challenge(problem, scopes string) string {
	var b strings.Builder
	b.WriteString("Bearer ")
	if problem != "" {
		b.WriteString(`error="` + problem + `", `)
	}
	b.WriteString(`resource_metadata="` + o.url + `"`)
	if scopes == "" {
		scopes = o.scope
	}
	if scopes != "" {
		b.WriteString(`, scope="` + scopes + `"`)
	}
	return b.String()
}
