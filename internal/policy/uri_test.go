package policy

import (
	"net/url"
	"path"
	"strings"
	"testing"
)

// checkURI compares an accepted URI with what Go's URL parser makes of it.
func checkURI(t *testing.T, uri string) {
	if ValidURI(uri) != nil {
		return
	}
	u, err := url.Parse(uri)
	if err != nil {
		// Stricter about hosts and ports; a server that refuses it is not misled.
		return
	}
	switch {
	case u.User != nil:
		t.Fatalf("%q has userinfo", uri)
	case u.Fragment != "":
		t.Fatalf("%q has a fragment", uri)
	}
	for _, decoded := range []string{u.Path, u.Opaque} {
		trimmed := strings.TrimSuffix(strings.TrimPrefix(decoded, "/"), "/")
		if trimmed != "" && path.Clean(trimmed) != trimmed {
			t.Fatalf("%q has the path %q, which cleans to %q", uri, decoded, path.Clean(trimmed))
		}
		if strings.ContainsAny(decoded, "\\\x00\r\n") {
			t.Fatalf("%q decodes to %q", uri, decoded)
		}
		if again, err := url.PathUnescape(decoded); u.Opaque == "" && (err != nil || again != decoded) {
			t.Fatalf("%q decodes twice: %q, %q", uri, decoded, again)
		}
		if strings.Count(decoded, "/") > strings.Count(uri, "/") {
			t.Fatalf("%q has hidden separators: %q", uri, decoded)
		}
	}
	if again := u.JoinPath(); u.Opaque == "" && u.Path != "" && strings.HasPrefix(u.Path, "/") && again.Path != u.Path {
		t.Fatalf("%q joins to %q", uri, again.Path)
	}
}
