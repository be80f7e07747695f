package listener

import (
	"mime"
	"net/http"
	"strings"

	"github.com/bartizan-dev/bartizan/internal/authproxy/config"
)

// Refusal is an answer to a request that no other stage sees: its status, what the caller is told and a word for the
// audit log, all from a closed list.
type Refusal struct {
	Status       int
	Text, Reason string
}

// The refusals, in the order in which they are looked for.
var (
	errHost       = &Refusal{http.StatusForbidden, "This host name is not served here. Use the URL in the MCPServer's status.", "host"}
	errOrigin     = &Refusal{http.StatusForbidden, "This origin may not call. The MCPServer's endpoint.origins lists those that may.", "origin"}
	errVerb       = &Refusal{http.StatusMethodNotAllowed, "Only POST, and GET and DELETE within a session, are served here.", "verb"}
	errOpenVerb   = &Refusal{http.StatusMethodNotAllowed, "The metadata is read with GET.", "verb"}
	errPath       = &Refusal{http.StatusNotFound, "Nothing is served at this path. Use the URL in the MCPServer's status.", "path"}
	errQuery      = &Refusal{http.StatusBadRequest, "A query is not accepted.", "query"}
	errUpgrade    = &Refusal{http.StatusBadRequest, "A change of protocol is not accepted.", "upgrade"}
	errTrailer    = &Refusal{http.StatusBadRequest, "Trailers are not accepted.", "trailer"}
	errRepeated   = &Refusal{http.StatusBadRequest, "A header is repeated that may be there once only.", "header-repeated"}
	errVariant    = &Refusal{http.StatusBadRequest, "A header's name differs from a known one only in punctuation.", "header-variant"}
	errConnection = &Refusal{http.StatusBadRequest, "The Connection header may only say close or keep-alive.", "connection"}
	errEncoding   = &Refusal{http.StatusUnsupportedMediaType, "An encoded body is not accepted.", "content-encoding"}
	errType       = &Refusal{http.StatusUnsupportedMediaType, "The body must be application/json in UTF-8.", "content-type"}
	errBody       = &Refusal{http.StatusBadRequest, "This kind of request has no body.", "body"}
	errAccept     = &Refusal{http.StatusNotAcceptable, "The Accept header must allow application/json and text/event-stream, or text/event-stream for GET.", "accept"}
)

// single are the headers, in canonical form, that may be there once only. Credentials are not among them: a repeated one
// is a failed login.
var single = []string{"Content-Type", "Content-Length", "Content-Encoding", "Origin", "Last-Event-Id",
	"Mcp-Session-Id", "Mcp-Protocol-Version", "Mcp-Method", "Mcp-Name", "Traceparent"}

// interpreted are further headers that some stage reads.
var interpreted = []string{"Authorization", "X-Api-Key", "Connection", "Host", "Transfer-Encoding", "Tracestate"}

var variants = func() map[string]bool {
	names := map[string]bool{}
	for _, list := range [][]string{single, interpreted} {
		for _, name := range list {
			names[fold(name)] = true
		}
	}
	return names
}()

// Check judges what comes before the message: who is addressed, from where, and whether the headers have one reading. It
// returns nil when the request may go on. It needs no credential.
func Check(r *http.Request, g *config.Generation) *Refusal {
	if refusal := checkOrigin(r, g); refusal != nil {
		return refusal
	}
	switch r.Method {
	case http.MethodPost, http.MethodGet, http.MethodDelete:
	default:
		return errVerb
	}
	// The request target must be the path as it is: not an absolute URL, not another spelling.
	target, query, _ := strings.Cut(r.RequestURI, "?")
	if target != g.Endpoint.Path || r.URL.Path != g.Endpoint.Path {
		return errPath
	}
	if query != "" || r.URL.RawQuery != "" || r.URL.ForceQuery {
		return errQuery
	}
	if refusal := checkHeaders(r.Header); refusal != nil {
		return refusal
	}
	if len(r.Trailer) > 0 {
		return errTrailer
	}
	if r.Method != http.MethodPost {
		if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
			return errBody
		}
		if r.Method == http.MethodGet && !accepts(r.Header, "text/event-stream") {
			return errAccept
		}
		return nil
	}
	if _, encoded := r.Header["Content-Encoding"]; encoded {
		return errEncoding
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		return errType
	}
	if !accepts(r.Header, "application/json") || !accepts(r.Header, "text/event-stream") {
		return errAccept
	}
	return nil
}

// CheckWellKnown judges a request for metadata, which is open to everybody who addresses the server.
func CheckWellKnown(r *http.Request, g *config.Generation) *Refusal {
	if refusal := checkOrigin(r, g); refusal != nil {
		return refusal
	}
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return errOpenVerb
	case r.URL.RawQuery != "" || r.URL.ForceQuery:
		return errQuery
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return errBody
	}
	return checkHeaders(r.Header)
}

// checkOrigin comes first: a page in a browser learns nothing else.
func checkOrigin(r *http.Request, g *config.Generation) *Refusal {
	if !g.AcceptsHost(strings.ToLower(r.Host)) {
		return errHost
	}
	if origins := r.Header["Origin"]; len(origins) > 1 || (len(origins) == 1 && !g.AcceptsOrigin(origins[0])) {
		return errOrigin
	}
	return nil
}

func checkHeaders(h http.Header) *Refusal {
	for _, name := range single {
		if len(h[name]) > 1 {
			return errRepeated
		}
	}
	if _, ok := h["Upgrade"]; ok {
		return errUpgrade
	}
	for _, value := range h["Connection"] {
		for option := range strings.SplitSeq(value, ",") {
			switch strings.ToLower(strings.TrimSpace(option)) {
			case "", "close", "keep-alive":
			case "upgrade":
				return errUpgrade
			default:
				return errConnection
			}
		}
	}
	for name := range h {
		if strings.Contains(name, "_") && variants[fold(name)] {
			return errVariant
		}
	}
	return nil
}

// CheckRead judges what is known only once the body was read.
func CheckRead(r *http.Request) *Refusal {
	if len(r.Trailer) > 0 {
		return errTrailer
	}
	return nil
}

func fold(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }

func isJSON(header string) bool {
	if header == "application/json" {
		return true // as nearly all send it
	}
	media, parameters, err := mime.ParseMediaType(header)
	if err != nil || media != "application/json" {
		return false
	}
	for name, value := range parameters {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return false
		}
	}
	return true
}

// accepts says whether an Accept header names a media type, or a range that contains it, without weight zero. No header
// accepts everything (RFC 9110, section 12.5.1).
func accepts(h http.Header, media string) bool {
	values, ok := h["Accept"]
	if !ok {
		return true
	}
	for _, value := range values {
		for element := range strings.SplitSeq(value, ",") {
			if strings.TrimSpace(element) == media {
				return true // as nearly all send it
			}
		}
	}
	group, _, _ := strings.Cut(media, "/")
	for _, value := range values {
		for element := range strings.SplitSeq(value, ",") {
			name, parameters, err := mime.ParseMediaType(element)
			if err != nil || parameters["q"] == "0" {
				continue
			}
			if name == media || name == "*/*" || name == group+"/*" {
				return true
			}
		}
	}
	return false
}
