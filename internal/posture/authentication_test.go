package posture_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/posture"
)

// TestRetiredKeys: where keys or tokens are taken, that one which never was any is refused is not enough.
func TestRetiredKeys(t *testing.T) {
	yes, no := posture.Say(true, "MCPServer"), posture.Say(false, "MCPServer")
	for _, test := range []struct {
		name         string
		keys, tokens posture.Fact[bool]
		without      string
		want         posture.Status
	}{
		{"keys are taken", yes, no, posture.RetiredKey, posture.Error},
		{"no keys are taken", no, no, posture.RetiredKey, posture.Pass},
		{"nobody knows", posture.Fact[bool]{}, no, posture.RetiredKey, posture.Error},
		{"tokens are taken", no, yes, posture.RetiredToken, posture.Error},
		{"no tokens are taken", yes, no, posture.RetiredToken, posture.Pass},
		{"nobody knows of tokens", yes, posture.Fact[bool]{}, posture.RetiredToken, posture.Error},
		{"both are taken, and one is tried", yes, yes, posture.RetiredToken, posture.Error},
		{"both are taken and tried", yes, yes, "", posture.Pass},
	} {
		s := healthy()
		s.APIKeys, s.Bearer = test.keys, test.tokens
		s.Run.Value.Probes = slices.DeleteFunc(s.Run.Value.Probes, func(p posture.Probe) bool { return p.Name == test.without })
		if r := result(t, s, "AUTH-5"); r.Status != test.want {
			t.Errorf("%s: %+v", test.name, r)
		}
	}
}

// TestOwnTokens: where tokens are taken, forged ones alone show too little.
func TestOwnTokens(t *testing.T) {
	yes := posture.Say(true, "MCPServer")
	for _, test := range []struct {
		name  string
		taken posture.Fact[bool]
		tried bool
		want  posture.Status
		says  string
	}{
		{"taken and tried", yes, true, posture.Pass, "those of every issuer"},
		{"taken and not tried", yes, false, posture.Error, "no token of the operator's own"},
		{"not taken", posture.Say(false, "MCPServer"), false, posture.Pass, ""},
		{"nobody knows", posture.Fact[bool]{}, true, posture.Error, ""},
	} {
		s := healthy()
		s.Bearer = test.taken
		if !test.tried {
			s.Run.Value.Probes = slices.DeleteFunc(s.Run.Value.Probes, func(p posture.Probe) bool { return strings.HasPrefix(p.Name, posture.OwnToken) })
		}
		if r := result(t, s, "AUTH-6"); r.Status != test.want || !strings.Contains(r.Reason, test.says) {
			t.Errorf("%s: %+v", test.name, r)
		}
	}
	s := healthy()
	s.Bearer = yes
	setProbe("AUTH-6", posture.Broken)(s)
	if r := result(t, s, "AUTH-6"); r.Status != posture.Fail {
		t.Errorf("broken: %+v", r)
	}
}
