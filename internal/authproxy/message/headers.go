package message

import (
	"encoding/base64"
	"net/http"
	"net/textproto"
	"strings"
	"unicode/utf8"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// The headers that repeat parts of a message (MCP 2026-07-28, "Request Metadata"), in Go's canonical form.
const (
	HeaderRevision = "Mcp-Protocol-Version"
	HeaderMethod   = "Mcp-Method"
	HeaderName     = "Mcp-Name"
	headerSession  = "Mcp-Session-Id"
	headerParam    = "Mcp-Param-"

	sentinelStart = "=?base64?"
	sentinelEnd   = "?="
)

// revisions are what the gate speaks, newest first.
var revisions = []gateconfig.Revision{gateconfig.Revision20260728, gateconfig.Revision20251125, gateconfig.Revision20250618}

// firstModern is the first stateless revision.
const firstModern = gateconfig.Revision20260728

// CheckHeaders cross-checks the headers against the message, by era, with min as the lowest accepted revision, and
// returns the headers to forward, made from the message. What it judges is the body; a header only has to agree.
//
// A modern message needs MCP-Protocol-Version, a request also Mcp-Method, and Mcp-Name where the method has a name. A
// notification whose _meta names no revision gets the header's. A legacy message needs MCP-Protocol-Version unless it
// is an initialize or has a session, whose revision the caller of CheckHeaders knows.
func (m *Message) CheckHeaders(h http.Header, min gateconfig.Revision) (forward http.Header, err *Error) {
	var got [3]struct {
		value string
		ok    bool
	}
	var params []string
	session := false
	for key, values := range h {
		var which int
		switch key {
		case HeaderRevision:
			which = 0
		case HeaderMethod:
			which = 1
		case HeaderName:
			which = 2
		case headerSession:
			session = true
			continue
		case "Connection":
			if nominates(values) {
				return nil, errHeaders
			}
			continue
		default:
			// A header that a lenient server could take for one of these.
			if len(key) < len("Mcp-") || !strings.EqualFold(key[:3], "mcp") || (key[3] != '-' && key[3] != '_') {
				continue
			}
			if strings.Contains(key, "_") || textproto.CanonicalMIMEHeaderKey(key) != key {
				return nil, errHeaders
			}
			if strings.HasPrefix(key, headerParam) {
				params = append(params, key)
				if len(key) == len(headerParam) || len(values) != 1 || !validParam(values[0]) {
					return nil, errHeaders
				}
			}
			continue
		}
		if len(values) != 1 || !plain(values[0]) {
			return nil, errHeaders
		}
		got[which].value, got[which].ok = values[0], true
	}
	version, method, name := got[0], got[1], got[2]

	if refusal := m.checkRevision(version.value, version.ok, session, min); refusal != nil {
		return nil, refusal
	}
	if method.ok && method.value != m.Method {
		return nil, errHeader
	}
	want, named := m.name()
	if name.ok && named {
		decoded, ok := decode(name.value)
		if !ok || decoded != want {
			return nil, errHeader
		}
	}
	forward = make(http.Header, 3+len(params))
	if version.ok {
		forward[HeaderRevision] = []string{version.value}
	}
	if !m.Modern() {
		return forward, nil
	}
	if m.Kind == Request && (!method.ok || named && !name.ok) {
		return nil, errHeader
	}
	forward[HeaderMethod] = []string{m.Method}
	if named {
		forward[HeaderName] = []string{encode(want)}
	}
	if m.Method == "tools/call" {
		for _, key := range params {
			forward[key] = h[key]
		}
	}
	return forward, nil
}

// checkRevision settles the era and refuses a revision that is not accepted.
func (m *Message) checkRevision(header string, present, session bool, min gateconfig.Revision) *Error {
	at := gateconfig.Revision(header)
	switch {
	case m.Revision != "":
		if !present || at != m.Revision {
			return errHeader
		}
		if at < firstModern {
			// Legacy revisions have no such _meta; a server could take the message for either era.
			return refuseRevision(header, max(min, firstModern))
		}
	case m.Method == "initialize":
		// The server may answer with another revision, which is judged when it does.
		if min >= firstModern || m.Asked < min {
			return refuseRevision(string(m.Asked), min)
		}
		if !present {
			return nil
		}
		if at >= firstModern {
			return errMeta
		}
	case !present:
		if session && min < firstModern {
			return nil
		}
		return refuseRevision("", min)
	case known(at) && at >= firstModern:
		switch m.Kind {
		case Notification:
			m.Revision = at
		case Response:
			return errModern
		default:
			return errMeta
		}
	}
	if !known(at) || at < min {
		return refuseRevision(header, min)
	}
	return nil
}

// Accepted says whether the gate speaks a revision and it is not below the lowest accepted one.
func Accepted(r, min gateconfig.Revision) bool { return known(r) && r >= min }

func known(r gateconfig.Revision) bool {
	for _, k := range revisions {
		if r == k {
			return true
		}
	}
	return false
}

// RefuseRevision is the refusal of a revision that is not accepted; it tells which revisions there are instead.
func RefuseRevision(requested, min gateconfig.Revision) *Error {
	return refuseRevision(string(requested), min)
}

// refuseRevision tells which revisions there are instead.
func refuseRevision(requested string, min gateconfig.Revision) *Error {
	data := Unsupported{Supported: []gateconfig.Revision{}, Requested: string(revision([]byte(requested)))}
	for _, r := range revisions {
		if r >= min {
			data.Supported = append(data.Supported, r)
		}
	}
	e := *unsupported
	e.Data = data
	return &e
}

// nominates says whether a Connection header names an MCP header, which a proxy would then remove.
func nominates(connection []string) bool {
	for _, value := range connection {
		for token := range strings.SplitSeq(value, ",") {
			if token = strings.TrimSpace(token); len(token) >= 3 && strings.EqualFold(token[:3], "mcp") {
				return true
			}
		}
	}
	return false
}

// plain says whether a value is visible ASCII with spaces or tabs only inside (RFC 9110, section 5.5).
func plain(value string) bool {
	for i := range len(value) {
		if c := value[i]; (c < ' ' && c != '\t') || c > '~' {
			return false
		}
	}
	return value != "" && !blank(value[0]) && !blank(value[len(value)-1])
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// sentinel says whether a value has the markers of the base64 form. Markers that overlap count: decoders differ there.
func sentinel(value string) bool {
	return strings.HasPrefix(value, sentinelStart) && strings.HasSuffix(value, sentinelEnd)
}

// decode is the value that a header stands for. Base64 must be canonical, so that no two headers stand for one value
// in ways that decoders disagree about.
func decode(value string) (string, bool) {
	if !sentinel(value) {
		return value, true
	}
	if len(value) < len(sentinelStart)+len(sentinelEnd) {
		return "", false
	}
	inner := value[len(sentinelStart) : len(value)-len(sentinelEnd)]
	if strings.ContainsAny(inner, "\r\n") {
		return "", false
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(inner)
	return string(decoded), err == nil && utf8.Valid(decoded)
}

// encode is the header for a value: plain where that is safe, since not every server decodes the other form.
func encode(value string) string {
	if !sentinel(value) && plain(value) && !strings.Contains(value, "\t") {
		return value
	}
	return sentinelStart + base64.StdEncoding.EncodeToString([]byte(value)) + sentinelEnd
}

// validParam says whether the value of an Mcp-Param header is well formed. It is forwarded as it came: which argument
// it repeats is known to the server, which compares it.
func validParam(value string) bool {
	if value == "" {
		return true
	}
	_, ok := decode(value)
	return ok && plain(value)
}
