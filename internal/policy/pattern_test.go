package policy

import (
	"strings"
	"testing"
	"time"
)

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		pattern, value string
		want           bool
	}{
		{"get", "get", true}, {"get", "get2", false}, {"get", "aget", false}, {"get", "Get", false}, {"get", "", false}, {"get", "get\n", false},
		{"*", "anything", true}, {"*", "", true}, {"*", "a/b", false}, {"**", "a/b", true}, {"**", "", true},
		{"get_*", "get_", true}, {"get_*", "get_pods", true}, {"get_*", "get_a/b", false}, {"get_*", "forget_x", false},
		{"*_list", "pods_list", true}, {"*_list", "pods_list2", false}, {"*_list", "_list", true},
		{"a*a", "a", false}, {"a*a", "aa", true}, {"ab*ba", "aba", false},
		{"a*b*c", "abc", true}, {"a*b*c", "axbxbxc", true}, {"a*b*c", "axcxb", false}, {"a*b*c", "a/bc", false},
		{"repo/*/read", "repo/x/read", true}, {"repo/*/read", "repo/x/y/read", false}, {"repo/**/read", "repo/x/y/read", true}, {"repo/**/read", "repo/read", false},
		{"**x*y", "a/x/xy", true}, {"**x*y", "a/xy/", false}, {"*x**y", "axb/cy", true}, {"*x**y", "a/xb/cy", false},
		{"**/*.go", "a/b/c.go", true}, {"**/*.go", "a/b/c.go/d", false}, {"*/**", "a/b", true}, {"*/**", "ab", false},
		{"é*", "éa", true}, {"é*", "e\u0301a", false}, {"a.c", "abc", false},
	} {
		p, err := Name(tc.pattern)
		if err != nil {
			t.Errorf("%q: %v", tc.pattern, err)
			continue
		}
		if got := p.Match(tc.value); got != tc.want {
			t.Errorf("%q matches %q: %v", tc.pattern, tc.value, got)
		}
		if got := Match(tc.pattern, tc.value); got != tc.want {
			t.Errorf("Match(%q, %q) = %v", tc.pattern, tc.value, got)
		}
	}
	if new(Pattern).Match("") || Match("", "") || Match("a***", "ab") {
		t.Error("what is no pattern matches")
	}
}

func TestMatchURI(t *testing.T) {
	for _, tc := range []struct {
		pattern, uri string
		want         bool
	}{
		{"**", "file:///a/b?c", true},
		{"file:///pub/*", "file:///pub/a", true}, {"file:///pub/*", "file:///pub/a/b", false}, {"file:///pub/*", "file:///pub/a?b", false}, {"file:///pub/*", "file:///public/a", false},
		{"file:///pub/**", "file:///pub/a/b", true}, {"file:///pub/**", "file:///pub/a?b", true}, {"file:///pub/**", "FILE:///pub/a", false},
		{"file:///pub/*.txt", "file:///pub/a.txt", true}, {"file:///pub/*.txt", "file:///pub/key?.txt", false},
		{"file:///pub/**.txt", "file:///pub/a/b.txt", true}, {"file:///pub/**.txt", "file:///pub/a/key?.txt", false},
		{"db://x/*?limit=*", "db://x/t?limit=5", true}, {"db://x/*?limit=*", "db://x/t?a?limit=5", false},
		{"https://*.example.com/**", "https://a.example.com/x", true}, {"https://*.example.com/**", "https://evil.com/.example.com/x", false},
	} {
		p, err := URI(tc.pattern)
		if err != nil {
			t.Errorf("%q: %v", tc.pattern, err)
		} else if got := p.Match(tc.uri); got != tc.want {
			t.Errorf("%q matches %q: %v", tc.pattern, tc.uri, got)
		}
	}
}

func TestValidURI(t *testing.T) {
	for _, uri := range []string{
		"file:///a/b.txt", "file:///a/.hidden", "file:///a/b..c", "file:///a/b%20c", "file:///c%3A/x", "urn:isbn:0451450523", "memo://insights",
		"https://example.com:8443/a/b?c=d&e=f", "https://[::1]:80/x", "http://h/a?u=https://other/x", "mem:x", "a://b/%C3%A9", "file:///", "x://h/", "npm://p/%40scope", "a+b-c.1://x",
	} {
		if err := ValidURI(uri); err != nil {
			t.Errorf("%q: %v", uri, err)
		}
	}
	for uri, want := range map[string]error{
		"": errURILength, "a:" + strings.Repeat("x", MaxValue): errURILength,
		"/etc/passwd": errURIScheme, "etc": errURIScheme, ":x": errURIScheme, "1a://x": errURIScheme, "fi le://x": errURIScheme, "//host/x": errURIScheme, "..:x": errURIScheme, "é:x": errURIScheme,
		"file:///a/../b": errURIDots, "file:///a/./b": errURIDots, "file:///..": errURIDots, "file:///a/..": errURIDots, "file://../a": errURIDots, "mem:../a": errURIDots, "mem:..": errURIDots,
		"file:///a/..;x=1/b": errURIDots, "file:///a/.../b": errURIDots, "file:///a/..%20/b": errURIDots, "file:///a/%20../b": errURIDots, "http://h/a?f=../b": errURIDots, "http://h/a?../b": errURIDots, "http://h/a?f=..": errURIDots,
		"file:///a%2Fb": errURIEncoded, "file:///a%2fb": errURIEncoded, "file:///a%5Cb": errURIEncoded, "file:///%2e%2e/b": errURIEncoded, "file:///.%2E/b": errURIEncoded,
		"file:///a%252Fb": errURIEncoded, "file:///a%00b": errURIEncoded, "file:///a%0d%0ab": errURIEncoded, "file:///a%7F": errURIEncoded, "file:///a%3Fb": errURIEncoded, "file:///a%23b": errURIEncoded, "file:///..%3B/b": errURIEncoded,
		"file:///%EF%BC%8E%EF%BC%8E/b": errURIEncoded, "file:///a%EF%BC%8Fb": errURIEncoded, "file:///%E2%80%A5/b": errURIEncoded, "file:///a%EF%BC%BCb": errURIEncoded, "file:///a%E2%80%8Bb": errURIEncoded, "file:///a%C2%85": errURIEncoded, "file:///%E2%84%80": errURIEncoded,
		"file:///a%C0%AFb": errURIEncoding, "file:///a%ED%A0%80": errURIEncoding, "file:///a%": errURIEncoding, "file:///a%2": errURIEncoding, "file:///a%2G": errURIEncoding, "file:///a%u002e": errURIEncoding, "file:///a%FF": errURIEncoding,
		"https://user@host/a": errURIUserinfo, "https://u:p@host/a": errURIUserinfo, "https://allowed.com@evil.com/": errURIUserinfo, "https://@host": errURIUserinfo,
		"https://h%6fst/a": errURIHost, "https://a%40b/c": errURIHost,
		"file:////etc/passwd": errURIEmpty, "file:///a//b": errURIEmpty, "mem:a//b": errURIEmpty,
		"file:///a#b": errURIFragment, "file:///a#": errURIFragment,
		`file:///a\b`: errURICharacter, "file:///a b": errURICharacter, "file:///a\tb": errURICharacter, "file:///a\nb": errURICharacter, "file:///a{b}": errURICharacter, "file:///é": errURICharacter, "file:///a|b": errURICharacter, "file:///a<b": errURICharacter, "file:///a[b]": errURICharacter, "file:///a／b": errURICharacter, "file:///a\x00": errURICharacter,
	} {
		if err := ValidURI(uri); err != want {
			t.Errorf("%.60q: %v, want %v", uri, err, want)
		}
	}
}

func TestValidate(t *testing.T) {
	good := Rule{ID: "p/0", Clients: []string{"team-a/bot"}, Tools: []string{"get_*"}}
	with := func(change func(*Rule)) Rule { r := good; change(&r); return r }
	holds := func(name, value string) []Claim { return []Claim{{Path: []string{name}, Values: []string{value}}} }
	people := []TokenSubject{{Issuer: "corp", Claims: holds("sub", "alice")}}
	for _, r := range []Rule{
		good,
		with(func(r *Rule) { r.Tokens = people }),
		with(func(r *Rule) {
			r.Clients, r.Tokens, r.Actors, r.Scopes = nil, people, []string{"a/b"}, []string{"tools:read"}
		}),
		with(func(r *Rule) { r.NotAfter = time.Unix(1, 0) }),
		with(func(r *Rule) { r.Tools = nil; r.Methods = []string{"logging/setLevel", "ping"} }),
		with(func(r *Rule) {
			r.Resources = []string{"**", "file:///a/**", "https://**", "memo://x*"}
			r.Prompts = []string{"*"}
		}),
	} {
		if err := Validate(r); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
	}
	for _, tc := range []struct {
		rule Rule
		want string
	}{
		{Rule{}, "id: must be"}, {Rule{}, "clients, tokens: at least"}, {Rule{}, "tools, prompts, resources, methods, serverRequests: at least"},
		{with(func(r *Rule) { r.ID = "a\nb" }), "id: must be"},
		{with(func(r *Rule) { r.Clients = []string{"a/b", "bot"} }), `clients[1]: "bot" is not`},
		{with(func(r *Rule) { r.Clients = []string{"a/b/c"} }), "clients[0]"}, {with(func(r *Rule) { r.Clients = []string{"*/bot"} }), "clients[0]"}, {with(func(r *Rule) { r.Clients = []string{"A/b"} }), "clients[0]"},
		{with(func(r *Rule) { r.Clients, r.Tokens = nil, []TokenSubject{{Issuer: "a b", Claims: holds("sub", "x")}} }), `tokens[0].issuer: "a b"`},
		{with(func(r *Rule) { r.Clients, r.Tokens = nil, []TokenSubject{{Issuer: "corp"}} }), "tokens[0].claims: must have"},
		{with(func(r *Rule) { r.Clients, r.Tokens = nil, []TokenSubject{{Issuer: "corp", Claims: []Claim{{}}}} }), "tokens[0].claims[0].path"},
		{with(func(r *Rule) { r.Clients, r.Tokens = nil, []TokenSubject{{Issuer: "corp", Claims: holds("sub", "")}} }), "tokens[0].claims[0].values[0]"},
		{with(func(r *Rule) {
			r.Clients, r.Tokens = nil, []TokenSubject{{Issuer: "corp", Claims: []Claim{{Path: []string{""}, Values: []string{"x"}}}}}
		}), "tokens[0].claims[0].path[0]"},
		{with(func(r *Rule) { r.Actors = []string{"bot"} }), `actors[0]: "bot" is not`},
		{with(func(r *Rule) { r.Actors = []string{"a/b"} }), "actors, scopes: they are about"}, {with(func(r *Rule) { r.Scopes = []string{"a"} }), "actors, scopes: they are about"},
		{with(func(r *Rule) { r.Clients, r.Tokens, r.Scopes = nil, people, []string{"offline_access"} }), `scopes[0]: "offline_access"`}, {with(func(r *Rule) { r.Clients, r.Tokens, r.Scopes = nil, people, []string{"a b"} }), `scopes[0]: "a b"`},
		{with(func(r *Rule) { r.Tools = []string{"a", ""} }), "tools[1]: \"\" is empty"},
		{with(func(r *Rule) { r.Tools = []string{"a***"} }), `tools[0]: "a***" has "***"`},
		{with(func(r *Rule) { r.Tools = []string{"a?"} }), `has '?'`}, {with(func(r *Rule) { r.Tools = []string{"{a,b}"} }), "has no meaning"}, {with(func(r *Rule) { r.Tools = []string{"[ab]"} }), "has no meaning"},
		{with(func(r *Rule) { r.Tools = []string{" a"} }), "white space"}, {with(func(r *Rule) { r.Tools = []string{"a\x00b"} }), "not printable"}, {with(func(r *Rule) { r.Tools = []string{"a\xff"} }), "not UTF-8"}, {with(func(r *Rule) { r.Tools = []string{"a\u200bb"} }), "not printable"},
		{with(func(r *Rule) { r.Prompts = []string{strings.Repeat("a", MaxPattern+1)} }), "prompts[0]"},
		{with(func(r *Rule) { r.Resources = []string{"file:///a/../b"} }), `resources[0]: "file:///a/../b" has a segment of nothing but dots`},
		{with(func(r *Rule) { r.Resources = []string{"*"} }), "scheme"}, {with(func(r *Rule) { r.Resources = []string{"*://x"} }), "scheme"}, {with(func(r *Rule) { r.Resources = []string{"/etc/*"} }), "scheme"},
		{with(func(r *Rule) { r.Resources = []string{"https://example.com**"} }), `"**" in the host`}, {with(func(r *Rule) { r.Resources = []string{"https://**/x"} }), `"**" in the host`},
		{with(func(r *Rule) { r.Resources = []string{"https://u@h/*"} }), "userinfo"}, {with(func(r *Rule) { r.Resources = []string{"file:///a%2F*"} }), "encoded separator"}, {with(func(r *Rule) { r.Resources = []string{"file:///a%*"} }), "percent-encoding"},
		{with(func(r *Rule) { r.Methods = []string{"tools/call"} }), `methods[0]: "tools/call" is allowed by its target: name that in tools`},
		{with(func(r *Rule) { r.Methods = []string{"tasks/get"} }), "is allowed by its target: name that in tools"}, {with(func(r *Rule) { r.Methods = []string{"tasks/purge"} }), "is not a method that can be allowed"}, {with(func(r *Rule) { r.Methods = []string{"*"} }), "is not a method"},
	} {
		if err := Validate(tc.rule); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.rule, err, tc.want)
		}
	}
}

func TestTemplates(t *testing.T) {
	for _, tc := range []struct {
		pattern, template string
		covers, meets     bool
	}{
		{"**", "file:///{+path}", true, true},
		{"file:///**", "file:///{+path}", true, true},
		{"file:///*", "file:///{name}", true, true},
		{"file:///*", "file:///{+path}", false, true},
		{"file:///pub/**", "file:///{+path}", false, true},
		{"file:///pub/*", "file:///{name}", false, false},
		{"file:///pub/a", "file:///pub/{name}", false, true},
		{"file:///pub/a/b", "file:///pub/{name}", false, false},
		{"db://x/*/rows", "db://x/{table}/rows", true, true},
		{"db://x/*/rows", "db://x/{table}/cols", false, false},
		{"db://x/**", "db://x/{table}/rows{?limit}", true, true},
		{"db://x/*", "db://x/{table}{?limit}", false, true},
		{"db://x/*?limit=*", "db://x/{table}{?limit}", false, true},
		{"file:///a*b", "file:///a{x}b", true, true},
		{"file:///a*b*c", "file:///a{x}c", false, true},
		{"http://**", "https://{host}/", false, false},
		{"https://a.example/**", "https://{host}/x", false, true},
	} {
		p, err := URI(tc.pattern)
		if err != nil {
			t.Errorf("%q: %v", tc.pattern, err)
			continue
		}
		parsed, err := ParseTemplate(tc.template)
		if err != nil {
			t.Errorf("%q: %v", tc.template, err)
			continue
		}
		if covers, meets := p.Covers(parsed), p.Meets(parsed); covers != tc.covers || meets != tc.meets {
			t.Errorf("%q and %q: covers %v, meets %v", tc.pattern, tc.template, covers, meets)
		}
	}
	for _, bad := range []string{"", "{+all}", "{scheme}://x", "file:///{", "file:///}", "file:///{}", "file:///{a{b}}", "file:///{+}", "file:///{a b}", "file:///../{x}", "file:///{x}/../y", "https://u@{h}/", "file:///{=x}", "file:///a%2F{x}"} {
		if _, err := ParseTemplate(bad); err == nil {
			t.Errorf("%q is a template", bad)
		}
	}
}

// reference is Match as its documentation says it, without any cleverness.
func reference(pattern, value string) bool {
	switch {
	case pattern == "":
		return value == ""
	case strings.HasPrefix(pattern, "**"):
		return reference(pattern[2:], value) || value != "" && reference(pattern, value[1:])
	case pattern[0] == '*':
		return reference(pattern[1:], value) || value != "" && value[0] != '/' && reference(pattern, value[1:])
	}
	return value != "" && value[0] == pattern[0] && reference(pattern[1:], value[1:])
}

func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{{"a*b**c", "axb/yc"}, {"**/x*", "a/b/xy"}, {"*", "/"}, {"file:///a/*", "file:///a/b"}, {"a**b*c**d", "a/b/c/d"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, value string) {
		if len(pattern) > 24 || len(value) > 24 || strings.Count(pattern, "*") > 6 {
			return
		}
		if p, err := Name(pattern); err == nil {
			if got, want := p.Match(value), reference(pattern, value); got != want {
				t.Fatalf("%q matches %q: %v, want %v", pattern, value, got, want)
			}
		}
		p, err := URI(pattern)
		if err != nil {
			return
		}
		if p.Match(value) && !reference(pattern, value) {
			t.Fatalf("URI %q matches %q", pattern, value)
		}
		// Among URIs without a query, both kinds of patterns agree.
		if !strings.Contains(value, "?") && p.Match(value) != reference(pattern, value) {
			t.Fatalf("URI %q and %q: %v", pattern, value, p.Match(value))
		}
		if p.Exact() && ValidURI(value) == nil && p.Match(value) != (pattern == value) {
			t.Fatalf("%q and %q", pattern, value)
		}
		parsed, err := ParseTemplate(value)
		if err != nil {
			return
		}
		if p.Covers(parsed) && !p.Meets(parsed) {
			t.Fatalf("%q covers %q but does not meet it", pattern, value)
		}
		if !strings.Contains(value, "{") && (p.Covers(parsed) != p.Match(value) || p.Meets(parsed) != p.Match(value)) {
			t.Fatalf("%q and the plain template %q", pattern, value)
		}
	})
}

// FuzzValidURI: what is accepted survives being resolved, decoded or parsed unchanged in what matters.
func FuzzValidURI(f *testing.F) {
	for _, seed := range []string{"file:///a/b", "https://h:1/a%20b?c=d", "file:///%2e%2e/x", "a://b@c/", "mem:..", "file:///%EF%BC%8F"} {
		f.Add(seed)
	}
	f.Fuzz(checkURI)
}

func BenchmarkMatch(b *testing.B) {
	for _, tc := range [][3]string{
		{"exact", "kubernetes_pods_list", "kubernetes_pods_list"},
		{"prefix", "kubernetes_*", "kubernetes_pods_list"},
		{"three", "*_pods_*_*", "kubernetes_pods_list_all"},
		{"worst", "**" + strings.Repeat("a*", 126) + "b*", strings.Repeat("a", MaxValue)},
	} {
		p, err := Name(tc[1])
		if err != nil {
			b.Fatal(err)
		}
		b.Run(tc[0], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Match(tc[2])
			}
		})
	}
	b.Run("uri", func(b *testing.B) {
		for b.Loop() {
			_ = ValidURI("file:///srv/data/reports/2026/q3.txt")
		}
	})
}
