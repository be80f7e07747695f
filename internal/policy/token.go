package policy

import (
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"
)

// TokenSubject is the holders of tokens of one issuer that carry all of the claims.
type TokenSubject struct {
	// Issuer is the name of the token issuer in the gate's configuration.
	Issuer string  `json:"issuer"`
	Claims []Claim `json:"claims"`
}

// Claim is a condition on one claim: its value, or an element of it where it is a list, is one of Values. Only strings and
// booleans, as "true" and "false", have values.
type Claim struct {
	// Path is the names of the members that lead to the claim, outermost first.
	Path   []string `json:"path"`
	Values []string `json:"values"`
}

// Token is what a verified token says.
type Token interface {
	// Issuer is the name of the token issuer in the gate's configuration.
	Issuer() string
	// Holds says whether the claim has one of the values.
	Holds(Claim) bool
}

// Matches says whether the token's holder is meant.
func (s TokenSubject) Matches(t Token) bool {
	if s.Issuer != t.Issuer() || len(s.Claims) == 0 {
		return false
	}
	return !slices.ContainsFunc(s.Claims, func(c Claim) bool { return !t.Holds(c) })
}

// The bounds of conditions on claims.
const (
	maxPath  = 8
	maxClaim = 512
)

// Validate checks the condition. Its errors name the field.
func (c Claim) Validate() error {
	switch {
	case len(c.Path) == 0 || len(c.Path) > maxPath:
		return fmt.Errorf("path: must have 1 to %d names", maxPath)
	case len(c.Values) == 0:
		return errors.New("values: must have at least one")
	}
	for i, name := range c.Path {
		if name == "" || len(name) > maxClaim {
			return fmt.Errorf("path[%d]: must be 1 to %d bytes", i, maxClaim)
		}
	}
	for i, value := range c.Values {
		if value == "" || len(value) > maxClaim {
			return fmt.Errorf("values[%d]: must be 1 to %d bytes", i, maxClaim)
		}
	}
	return nil
}

// ValidScope says whether s is a scope token (RFC 6749, section 3.3) that a resource may ask for. offline_access is none:
// it is about the client's session with its authorization server.
func ValidScope(s string) bool {
	if s == "" || len(s) > 256 || s == "offline_access" {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func validateTokens(r Rule) (errs []error) {
	for i, subject := range r.Tokens {
		if len(validation.IsDNS1123Label(subject.Issuer)) > 0 {
			errs = append(errs, fmt.Errorf("tokens[%d].issuer: %q is not the name of a token issuer", i, subject.Issuer))
		}
		if len(subject.Claims) == 0 {
			errs = append(errs, fmt.Errorf("tokens[%d].claims: must have at least one, or everybody whom the issuer knows would be meant", i))
		}
		for j, claim := range subject.Claims {
			if err := claim.Validate(); err != nil {
				errs = append(errs, fmt.Errorf("tokens[%d].claims[%d].%w", i, j, err))
			}
		}
	}
	for i, scope := range r.Scopes {
		if !ValidScope(scope) {
			errs = append(errs, fmt.Errorf("scopes[%d]: %q is not a scope that can be asked for", i, scope))
		}
	}
	if len(r.Clients) > 0 && len(r.Actors)+len(r.Scopes) > 0 {
		errs = append(errs, errors.New("actors, scopes: they are about the holders of tokens; write a rule of its own for clients"))
	}
	return errs
}
