package clientid_test

import (
	"testing"

	"github.com/bartizan-dev/bartizan/internal/clientid"
)

func TestParseReadsWhatURIWrote(t *testing.T) {
	want := clientid.Client{Namespace: "agents", Name: "alice", Servers: "team-a"}
	got, err := clientid.Parse(want.URI())
	if err != nil || got != want {
		t.Errorf("Parse(%q) = %+v, %v", want.URI(), got, err)
	}
}

func TestParseRefusesEveryOtherURI(t *testing.T) {
	for _, uri := range []string{
		"", clientid.Operator, clientid.Monitoring, "https://bartizan.dev/ns/agents/mcpclient/alice/servers/team-a",
		"spiffe://bartizan.dev/ns/agents/mcpclient/alice/servers/team-a/",
		"spiffe://bartizan.dev/ns/agents/mcpclient/alice/servers/",
		"spiffe://bartizan.dev/ns//mcpclient/alice/servers/team-a",
		"spiffe://bartizan.dev/ns/agents/mcpclient/../servers/team-a",
		"spiffe://bartizan.dev/ns/agents/mcpclient/Alice/servers/team-a",
		"spiffe://bartizan.dev/ns/agents/mcpclient/al%69ce/servers/team-a",
		"spiffe://bartizan.dev/ns/agents/mcpclient/alice/servers/team-a?x=1",
		"spiffe://bartizan.dev/ns/agents/mcpclient/alice/servers/team-a#x",
		"spiffe://bartizan.dev.evil/ns/agents/mcpclient/alice/servers/team-a",
		"SPIFFE://bartizan.dev/ns/agents/mcpclient/alice/servers/team-a",
	} {
		if c, err := clientid.Parse(uri); err == nil {
			t.Errorf("Parse(%q) = %+v", uri, c)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(clientid.Client{Namespace: "agents", Name: "alice", Servers: "team-a"}.URI())
	f.Fuzz(func(t *testing.T, uri string) {
		if c, err := clientid.Parse(uri); err == nil && c.URI() != uri {
			t.Errorf("Parse(%q) = %+v, whose URI is another", uri, c)
		}
	})
}
