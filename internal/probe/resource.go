package probe

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/bartizan-dev/bartizan/internal/posture"
)

// wellKnown is where RFC 9728, section 3 puts the metadata of a protected resource, before the path of the resource.
const wellKnown = "/.well-known/oauth-protected-resource"

// resource asks as somebody who has no token yet: where tokens come from, and whether the refusal leads there. A wrong answer
// sends users' tokens to a stranger.
func (r *run) resource(ctx context.Context) {
	if r.Resource == nil {
		return
	}
	const control = "AUTH-8"
	path := wellKnown + strings.TrimSuffix(r.Path, "/")
	name := "metadata of the protected resource"
	switch a := r.send(ctx, nil, request{path: path}); {
	case a.err != nil:
		r.add(name, control, posture.Inconclusive, words(a.err))
	case a.busy():
		r.add(name, control, posture.Inconclusive, "the gate is busy")
	case r.wrongMetadata(a) != "":
		r.add(name, control, posture.Broken, r.wrongMetadata(a))
	default:
		r.add(name, control, posture.Held, "")
	}
	// Of the refusals that there were: a gate that is throttling gives no 401, and one that let somebody in has another fault.
	name = "challenges of refusals"
	for _, a := range r.answers {
		if a.status == http.StatusUnauthorized && !challenges(a, path) {
			r.add(name, control, posture.Broken, "one does not lead to the metadata")
			return
		}
	}
	r.add(name, control, posture.Held, "")
}

func (r *run) wrongMetadata(a answer) string {
	var document struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
	}
	kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	issuers := slices.Clone(r.Resource.Issuers)
	slices.Sort(issuers)
	switch {
	case a.status != http.StatusOK:
		return met(a.status)
	case kind != "application/json" || json.Unmarshal(a.body, &document) != nil:
		return "it is no JSON"
	case document.Resource != r.Resource.URL:
		return "it is of another resource"
	}
	slices.Sort(document.Servers)
	if !slices.Equal(document.Servers, issuers) {
		return "it names other issuers than the MCPServer does"
	}
	return ""
}

// challenges says whether a refusal leads to the metadata.
func challenges(a answer, path string) bool {
	return slices.ContainsFunc(a.header.Values("WWW-Authenticate"), func(challenge string) bool {
		_, rest, ok := strings.Cut(challenge, `resource_metadata="`)
		url, _, _ := strings.Cut(rest, `"`)
		return ok && strings.HasPrefix(challenge, "Bearer ") && strings.HasPrefix(url, "https://") && strings.HasSuffix(url, path)
	})
}
