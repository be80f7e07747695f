package policy

import (
	"strings"
	"testing"
)

// Pages that a user may be sent to, and spellings of them that some browser reads otherwise.
func TestPageHost(t *testing.T) {
	for url, want := range map[string]string{
		"https://login.example.com/a?b#c": "login.example.com", "https://LOGIN.example.com": "login.example.com",
		"https://login.example.com:443/": "login.example.com", "https://login.example.com:8443/": "login.example.com:8443",
		"https://xn--bcher-kva.example/": "xn--bcher-kva.example", "https://login.example.com?x": "login.example.com",
	} {
		if got, err := PageHost(url); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", url, got, err, want)
		}
	}
	for _, url := range []string{
		"", "login.example.com", "http://login.example.com/", "HTTPS://login.example.com", "https:login.example.com", "https:/login.example.com", "https:///evil.example/",
		"https://login.example.com@evil.example/", "https://evil.example\\@login.example.com/", "https:\\\\evil.example", "https://login.example.com\\.evil.example/",
		"https://login.example.com%2eevil.example/", "https://login.example.com%00.evil.example/", "https://lo\tgin.example.com/", " https://login.example.com/", "https://login.example.com/\n",
		"https://login.example.com./", "https://.example.com/", "https://a..b/", "https://-a.example/", "https://ex\u0430mple.com/", "https://login。example.com/",
		"https://[::1]/", "https://127.0.0.1/", "https://0x7f.1/", "https://2130706433/", "https://a:0/", "https://a:99999/", "https://a:443443/", "https://a:08443/", "https://a:/", "https://a:b/",
		"javascript:alert(1)", "data:text/html,x", "https://login.example.com" + strings.Repeat("/a", maxHRef), "https://" + strings.Repeat("a.", 130) + "example/",
	} {
		if got, err := PageHost(url); err == nil {
			t.Errorf("%q is a page of %q", url, got)
		}
	}
}

func TestHosts(t *testing.T) {
	hosts, err := NewHosts([]string{"login.example.com", "*.apps.example.com", "*.example.org:8443"})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"login.example.com": true, "a.apps.example.com": true, "a.example.org:8443": true,
		"": false, "example.com": false, "alogin.example.com": false, "a.login.example.com": false, "login.example.com:8443": false, "login.example.com.evil.example": false,
		"apps.example.com": false, ".apps.example.com": true, "a.b.apps.example.com": false, "a.example.org": false, "a.example.org:443": false, "*.apps.example.com": true,
	} {
		// PageHost returns no host with an empty label or a star.
		if host != "" && (host[0] == '.' || host[0] == '*') {
			if _, err := PageHost("https://" + host + "/"); err == nil {
				t.Errorf("%s is a host", host)
			}
			continue
		}
		if got := hosts.Has(host); got != want {
			t.Errorf("%s: %t", host, got)
		}
	}
	if (Hosts{}).Has("login.example.com") {
		t.Error("no pattern matches")
	}
	for _, pattern := range []string{"", "*", "*.com", "*.", "a*.example.com", "*.*.example.com", "Login.example.com", "https://login.example.com", "login.example.com/", "login.example.com:443", "127.0.0.1", "[::1]", "a b"} {
		if _, err := NewHosts([]string{pattern}); err == nil {
			t.Errorf("%q is a pattern", pattern)
		}
	}
}

func TestValidateServerRequests(t *testing.T) {
	rule := func(change func(*Rule)) Rule {
		r := Rule{ID: "p/0", Clients: []string{"a/b"}, ServerRequests: []ServerRequest{Sampling}}
		change(&r)
		return r
	}
	if err := Validate(rule(func(*Rule) {})); err != nil {
		t.Errorf("sampling alone: %v", err)
	}
	if err := Validate(rule(func(r *Rule) { r.ServerRequests, r.Hosts = ServerRequests(), []string{"*.example.com"} })); err != nil {
		t.Errorf("all of them: %v", err)
	}
	for want, r := range map[string]Rule{
		`serverRequests[0]: "Everything"`: rule(func(r *Rule) { r.ServerRequests = []ServerRequest{"Everything"} }),
		"need each other":                 rule(func(r *Rule) { r.Hosts = []string{"a.example"} }),
		"hosts, serverRequests":           rule(func(r *Rule) { r.ServerRequests = []ServerRequest{ElicitationURL} }),
		`hosts[0]: "*.com"`: rule(func(r *Rule) {
			r.ServerRequests, r.Hosts = []ServerRequest{ElicitationURL}, []string{"*.com"}
		}),
		"put serverRequests into a rule of their own": rule(func(r *Rule) { r.Expression = "true" }),
	} {
		if err := Validate(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", r, err, want)
		}
	}
}

// FuzzPageHost: a host that is accepted is what the URL says between its scheme and its path.
func FuzzPageHost(f *testing.F) {
	for _, url := range []string{"https://a.example/", "https://a.example:8443?x", "https://a@b/", "https:\\\\a", "https://%61/"} {
		f.Add(url)
	}
	f.Fuzz(func(t *testing.T, url string) {
		host, err := PageHost(url)
		if err != nil {
			return
		}
		after := strings.ToLower(strings.TrimPrefix(url, "https://"))
		rest, ok := strings.CutPrefix(after, host)
		rest = strings.TrimPrefix(rest, ":443")
		if !ok || (rest != "" && !strings.ContainsAny(rest[:1], "/?#")) || strings.ContainsAny(host, "@\\%/?# ") {
			t.Errorf("%q is a page of %q", url, host)
		}
	})
}
