package token

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

const (
	// maxSubject bounds the subject, in bytes; OpenID Connect has 255.
	maxSubject = 255
	// maxList bounds a list of audiences or scopes.
	maxList = 256
	// lastDate is the last second of the year 9999: a later one is no date.
	lastDate = 253402300799
)

// claims are those of a token.
type claims struct {
	// payload is the whole of it, in strict JSON.
	payload           []byte
	issuer, subject   string
	audiences, scopes []string
	// The dates are zero where there is none.
	expires, begins, issued int64
	// token is filled in once the claims are judged.
	token Token
}

// Issuer implements policy.Token.
func (c *claims) Issuer() string { return c.token.Issuer.Name }

// Holds implements policy.Token.
func (c *claims) Holds(claim policy.Claim) bool { return holds(c.payload, claim.Path, claim.Values) }

// claimNames are the members that decide: a variant of one of them is refused.
var claimNames = strictjson.Open("iss", "sub", "aud", "exp", "nbf", "iat", "scope", "scp")

func readClaims(payload []byte) (*claims, Failure) {
	c := &claims{payload: payload}
	s := strictjson.New(payload, maxDepth)
	defer s.Release()
	for s.Enter('{', claimNames); s.Member(); {
		switch string(s.Name()) {
		case "iss":
			c.issuer = string(s.String())
		case "sub":
			c.subject = string(s.String())
		case "aud":
			c.audiences = texts(s)
		case "scope", "scp":
			for _, text := range texts(s) {
				c.scopes = append(c.scopes, strings.Fields(text)...)
			}
		case "exp":
			c.expires = date(s)
		case "nbf":
			c.begins = date(s)
		case "iat":
			c.issued = date(s)
		default:
			s.Skip()
		}
	}
	if s.End() != nil || len(c.scopes) > maxList {
		return nil, Malformed
	}
	return c, ""
}

// texts reads a string or a list of strings.
func texts(s *strictjson.Scanner) (all []string) {
	if s.Kind() == '"' {
		return []string{string(s.String())}
	}
	for s.Enter('[', nil); s.Element(); {
		if all = append(all, string(s.String())); len(all) > maxList {
			s.Fail(strictjson.ErrMembers)
		}
	}
	return all
}

// date reads a NumericDate (RFC 7519, section 2) down to the second. No issuer writes one with an exponent, which would move the point.
func date(s *strictjson.Scanner) int64 {
	if s.Kind() != '0' {
		s.Fail(strictjson.ErrKind)
		return 0
	}
	text := string(s.Skip())
	whole, _, _ := strings.Cut(text, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || strings.ContainsAny(text, "eE") || seconds <= 0 || seconds > lastDate {
		s.Fail(strictjson.ErrKind)
		return 0
	}
	return seconds
}

// judge judges the claims of a token whose signature is good.
func (c *claims) judge(issuer *gateconfig.TokenIssuer, now time.Time) Failure {
	if !slices.ContainsFunc(c.audiences, func(a string) bool { return slices.ContainsFunc(issuer.Audiences, same(a)) }) {
		return Audience
	}
	// The beginning is demanded. Many issuers say it as "iat" only.
	begins := c.begins
	if begins == 0 {
		begins = c.issued
	}
	if c.expires == 0 || begins == 0 || c.expires <= begins {
		return Time
	}
	c.token = Token{
		Issuer: issuer, Subject: c.subject, Scopes: c.scopes,
		NotBefore: time.Unix(max(begins, c.issued), 0).Add(-Skew), NotAfter: time.Unix(c.expires, 0).Add(Skew),
	}
	switch {
	case !now.Before(c.token.NotAfter):
		return Expired
	case now.Before(c.token.NotBefore):
		return NotYet
	case issuer.MaxLifetimeSeconds > 0 && c.expires-begins > issuer.MaxLifetimeSeconds:
		return Lifetime
	case !isSubject(c.subject), issuer.Type == gateconfig.Kubernetes && !c.isServiceAccount():
		return Subject
	case slices.ContainsFunc(issuer.RequiredClaims, func(claim policy.Claim) bool { return !c.Holds(claim) }):
		return Claims
	case slices.ContainsFunc(issuer.RequiredScopes, func(scope string) bool { return !slices.Contains(c.scopes, scope) }):
		return Scopes
	}
	return ""
}

// same says whether an audience is the given one. Scheme and host of a resource's URL have no case (RFC 3986, section
// 6.2.2.1), everything else has.
func same(a string) func(string) bool {
	return func(b string) bool {
		if a == b {
			return true
		}
		at := authority(a)
		return at > 0 && at == authority(b) && strings.EqualFold(a[:at], b[:at]) && a[at:] == b[at:]
	}
}

// authority is where the authority of a URL ends; 0 for what is no URL.
func authority(text string) int {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || strings.ContainsFunc(text, func(r rune) bool { return r > '~' || r <= ' ' || r == '@' }) {
		return 0
	}
	host, _, _ := strings.Cut(rest, "/")
	return len(scheme) + len("://") + len(host)
}

// isSubject says whether the subject is one that can stand in a log and in the name of a principal.
func isSubject(subject string) bool {
	if subject == "" || len(subject) > maxSubject {
		return false
	}
	return !strings.ContainsFunc(subject, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// isServiceAccount says whether the claims are those of a bound token of a ServiceAccount, which agree with its subject.
func (c *claims) isServiceAccount() bool {
	rest, ok := strings.CutPrefix(c.subject, "system:serviceaccount:")
	namespace, name, also := strings.Cut(rest, ":")
	return ok && also && namespace != "" && name != "" && !strings.Contains(name, ":") &&
		holds(c.payload, []string{"kubernetes.io", "namespace"}, []string{namespace}) &&
		holds(c.payload, []string{"kubernetes.io", "serviceaccount", "name"}, []string{name})
}

// holds looks for a value at the end of a path through a payload that has been read before.
func holds(payload []byte, path, values []string) bool {
	s := strictjson.New(payload, maxDepth)
	defer s.Release()
	found := seek(s, path, values)
	return found && s.End() == nil
}

// seek reads the value that comes next, to its end.
func seek(s *strictjson.Scanner, path, values []string) (found bool) {
	if len(path) == 0 {
		if s.Kind() != '[' {
			return equals(s, values)
		}
		for s.Enter('[', nil); s.Element(); {
			found = equals(s, values) || found
		}
		return found
	}
	if s.Kind() != '{' {
		s.Skip()
		return false
	}
	for s.Enter('{', nil); s.Member(); {
		if string(s.Name()) == path[0] {
			found = seek(s, path[1:], values)
		} else {
			s.Skip()
		}
	}
	return found
}

// equals says whether the value that comes next is one of the values: a string, or true or false by its name.
func equals(s *strictjson.Scanner, values []string) bool {
	switch s.Kind() {
	case '"':
		return slices.Contains(values, string(s.String()))
	case 't', 'f':
		return slices.Contains(values, string(s.Skip()))
	}
	s.Skip()
	return false
}
