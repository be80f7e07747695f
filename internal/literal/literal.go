// Package literal finds what looks like a secret that somebody wrote into a specification. It never returns any of it.
package literal

import (
	"math"
	"regexp"
	"strings"
	"sync"
	"unicode"
)

// lazy is a pattern that is compiled when it is first used: every gate's program has it, and most never use it.
func lazy(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// shapes are the forms of well-known credentials. Each is anchored in a prefix or a structure that ordinary values do not
// have.
var shapes = []struct {
	kind    string
	pattern func() *regexp.Regexp
}{
	{"a private key", lazy(`-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----`)},
	{"a GitHub token", lazy(`\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})`)},
	{"a GitLab token", lazy(`\bgl(?:pat|dt|rt|cbt|ptt|soat)-[A-Za-z0-9_-]{20,}`)},
	{"an AWS access key", lazy(`\b(?:AKIA|ASIA)[A-Z2-7]{16}\b`)},
	{"a Google API key", lazy(`\bAIza[A-Za-z0-9_-]{35}`)},
	{"a Google OAuth token", lazy(`\bya29\.[A-Za-z0-9_-]{20,}`)},
	{"a Slack token", lazy(`\bxox[abeoprs]-[A-Za-z0-9-]{0,8}[0-9][A-Za-z0-9-]{8,}|\bxapp-[0-9]-[A-Za-z0-9-]{20,}`)},
	{"an API key", lazy(`\bsk-(?:ant-|proj-|or-|svcacct-)?[A-Za-z0-9_-]{20,}`)},
	{"a Stripe key", lazy(`\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}`)},
	{"a SendGrid key", lazy(`\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}`)},
	{"an npm token", lazy(`\bnpm_[A-Za-z0-9]{36}\b`)},
	{"a PyPI token", lazy(`\bpypi-[A-Za-z0-9_-]{50,}`)},
	{"a Hugging Face token", lazy(`\bhf_[A-Za-z0-9]{30,}`)},
	{"a DigitalOcean token", lazy(`\bdo[opr]_v1_[a-f0-9]{64}\b`)},
	{"a HashiCorp Vault token", lazy(`\bhv[sb]\.[A-Za-z0-9_-]{24,}`)},
	{"an Atlassian token", lazy(`\bATATT3[A-Za-z0-9_=-]{50,}`)},
	{"a Notion token", lazy(`\bntn_[A-Za-z0-9]{40,}`)},
	{"a Bartizan API key", lazy(`\bmcpk_[a-z0-9]{4,16}_[A-Za-z0-9_-]{30,}`)},
	{"a JSON Web Token", lazy(`\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*`)},
	{"an Authorization header", lazy(`(?i)\bauthorization\s*[:=]\s*(?:basic|bearer|token)\s+[A-Za-z0-9+/_.=-]{12,}`)},
}

var (
	userInfo    = lazy(`[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]*:([^\s/@]+)@`)
	telling     = lazy(`(?i)(?:^|[_./\-])(?:token|secret|password|passwd|pwd|passphrase|api[_.\-]?key|apikey|private[_.\-]?key|access[_.\-]?key|secret[_.\-]?key|credentials?|auth[_.\-]?token)$`)
	camel       = lazy(`([a-z0-9])([A-Z])`)
	reference   = lazy(`^(?:(?:Bearer |Basic |Token )?(?:\$\{[^}]*\}|\$\([^)]*\))|\$[A-Za-z_][A-Za-z0-9_.]*|\{\{.*\}\}|<[^>]*>|\[[^\]]*\]|/.*|\./.*|~/.*|file:.*|vault:.*|secret:.*|arn:aws:.*|sha(?:1|256|384|512)[-:].*|projects/.*|op://.*)$`)
	placeholder = lazy(`(?i)^(?:x{3,}|\*{3,}|\.{3}|none|null|nil|true|false|yes|no|enabled|disabled|required|optional|default|auto|env|file|kubernetes|oidc|bearer|basic|test|dummy|fake|redacted|placeholder|todo|change[-_ ]?me|replace[-_ ]?me|your[-_ ].*|my[-_ ].*|insert[-_ ].*|example.*|[0-9.]+(?:[smhd]|ms|%)?)$`)
	opaque      = lazy(`^[A-Za-z0-9+/_=-]{32,}$`)
	hexadecimal = lazy(`^[0-9a-fA-F-]+$`)
)

// Find says what a value looks like, such as "a GitHub token", or "" when it does not look like a secret. The name is that
// of the variable or flag that has the value; "" where there is none.
func Find(name, value string) string {
	for _, shape := range shapes {
		if shape.pattern().MatchString(value) {
			return shape.kind
		}
	}
	if m := userInfo().FindStringSubmatch(value); m != nil && !harmless(m[1]) {
		return "a password in a URL"
	}
	value = strings.TrimSpace(value)
	if armor().MatchString(value) {
		return armored(armor().FindString(value)) // a certificate, most often
	}
	if harmless(value) {
		return ""
	}
	if telling().MatchString(camel().ReplaceAllString(name, "${1}_${2}")) && telltale(value) {
		return "a value of a variable or flag whose name says that it is a secret"
	}
	if random(value) {
		return "a random string"
	}
	return ""
}

// Argument is Find for one argument of a command line: --name=value, or a value alone. The value after "--name value" is for
// the caller to pair.
func Argument(argument string) string {
	name, value, ok := Flag(argument)
	if !ok {
		name, value = "", argument
	}
	return Find(name, value)
}

// Flag splits --name=value, and NAME=value.
func Flag(argument string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(argument, "=")
	name = strings.TrimLeft(name, "-")
	if !ok || name == "" || strings.ContainsAny(name, " /:") {
		return "", "", false
	}
	return name, value, true
}

// harmless: empty, short, or something that stands for a secret instead of being one.
func harmless(value string) bool {
	return len(value) < 6 || reference().MatchString(value) || placeholder().MatchString(value)
}

// telltale: under a name that says so, one word is enough, unless it is the name of something.
func telltale(value string) bool {
	if strings.ContainsAny(value, " \t\n") || strings.Contains(value, "://") {
		return false
	}
	var letters, digits, others int
	for _, r := range value {
		switch {
		case unicode.IsDigit(r):
			digits++
		case unicode.IsLetter(r):
			letters++
		default:
			others++
		}
	}
	// Names of Secrets, of headers and of keys are words with dashes; passwords have a digit or a sign that words have not.
	return digits > 0 && letters > 0 || strings.ContainsAny(value, "!@#$%^&*+=~?") || len(value) >= 24 && entropy(value) > 3.8
}

// random: without a name that helps, only what no person writes.
func random(value string) bool {
	if !opaque().MatchString(value) || hexadecimal().MatchString(value) {
		return false // a hash or a UUID, of which most are no secret
	}
	var upper, lower, digit, changes int
	previous := rune(0)
	class := func(r rune) rune {
		switch {
		case unicode.IsUpper(r):
			return 'A'
		case unicode.IsLower(r):
			return 'a'
		case unicode.IsDigit(r):
			return '0'
		}
		return '-'
	}
	for _, r := range value {
		switch class(r) {
		case 'A':
			upper++
		case 'a':
			lower++
		case '0':
			digit++
		}
		if class(r) != previous {
			changes++
			previous = class(r)
		}
	}
	// Words, in whatever case, change their kind of character rarely; random text does so at nearly every second one.
	return upper > 2 && lower > 2 && digit > 1 && entropy(value) > 4.3 && changes*5 > len(value)*2
}

// entropy is that of the characters, in bits each.
func entropy(s string) float64 {
	counts := map[rune]int{}
	n := 0
	for _, r := range s {
		counts[r]++
		n++
	}
	var bits float64
	for _, c := range counts {
		p := float64(c) / float64(n)
		bits -= p * math.Log2(p)
	}
	return bits
}
