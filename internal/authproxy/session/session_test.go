package session_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/authproxy/session"
)

func sealer(t testing.TB) *session.Sealer {
	t.Helper()
	s, err := session.NewSealer()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSessionOpensOnlyForItsPrincipal(t *testing.T) {
	s, other := sealer(t), sealer(t)
	sealed, err := s.SealSession("agents/alice", session.Session{ID: "id-1", Revision: "2025-11-25", Process: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(sealed, "id-1") {
		t.Error("the sealed id shows the server's")
	}
	if got, err := s.OpenSession("agents/alice", sealed); err != nil || got != (session.Session{ID: "id-1", Revision: "2025-11-25", Process: "p"}) {
		t.Errorf("OpenSession = %q, %v", got, err)
	}
	event, err := s.SealEvent("agents/alice", "id-1", "7", "1greet")
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() (string, error){
		"another principal": func() (string, error) { return opened(s.OpenSession("agents/bob", sealed)) },
		"a prefix":          func() (string, error) { return opened(s.OpenSession("agents/alic", sealed)) },
		"another gate":      func() (string, error) { return opened(other.OpenSession("agents/alice", sealed)) },
		"the server's own":  func() (string, error) { return opened(s.OpenSession("agents/alice", "id-1")) },
		"empty":             func() (string, error) { return opened(s.OpenSession("agents/alice", "")) },
		"an event as one":   func() (string, error) { return opened(s.OpenSession("agents/alice", event)) },
		"changed":           func() (string, error) { return opened(s.OpenSession("agents/alice", "A"+sealed[1:]+"A")) },
		"padded":            func() (string, error) { return opened(s.OpenSession("agents/alice", sealed+"=")) },
		"with a line break": func() (string, error) { return opened(s.OpenSession("agents/alice", sealed+"\n")) },
		"very long":         func() (string, error) { return opened(s.OpenSession("agents/alice", strings.Repeat("A", 4096))) },
	} {
		if id, err := open(); !errors.Is(err, session.ErrUnknown) || id != "" {
			t.Errorf("%s: opened to %q, %v", name, id, err)
		}
	}
}

func TestEventOpensOnlyInItsSession(t *testing.T) {
	s := sealer(t)
	const want = "7"
	sealed, err := s.SealEvent("agents/alice", "id-1", want, "3file:///a b")
	if err != nil {
		t.Fatal(err)
	}
	if got, about, err := s.OpenEvent("agents/alice", "id-1", sealed); err != nil || got != want || about != "3file:///a b" {
		t.Errorf("OpenEvent = %q, %q, %v", got, about, err)
	}
	for _, at := range [][2]string{{"agents/alice", "id-2"}, {"agents/bob", "id-1"}, {"agents/alicei", "d-1"}, {"agents/alice", ""}} {
		if got, _, err := s.OpenEvent(at[0], at[1], sealed); !errors.Is(err, session.ErrUnknown) {
			t.Errorf("in %v: opened to %q", at, got)
		}
	}
	longest, err := s.SealEvent("agents/alice", "id-1", strings.Repeat("7", 1024), "3"+strings.Repeat("a", 2048))
	if err != nil {
		t.Fatal(err)
	}
	if got, about, err := s.OpenEvent("agents/alice", "id-1", longest); err != nil || len(got) != 1024 || len(about) != 2049 {
		t.Errorf("the longest: %d %d %v", len(got), len(about), err)
	}
	if _, err := s.SealEvent("agents/alice", "id-1", "7", "3"+strings.Repeat("a", 2049)); err == nil {
		t.Error("what is too long was sealed")
	}
	sealedSession, _ := s.SealSession("agents/alice", session.Session{ID: "id-1", Revision: "2025-11-25"})
	if _, _, err := s.OpenEvent("agents/alice", "id-1", sealedSession); !errors.Is(err, session.ErrUnknown) {
		t.Error("a session id opened as an event id")
	}
}

func TestHandlesOfServersAreChecked(t *testing.T) {
	s := sealer(t)
	for _, id := range []string{"", "a b", "a\r\nSet-Cookie: x", "é", strings.Repeat("a", 2000)} {
		if _, err := s.SealSession("agents/alice", session.Session{ID: id}); err == nil {
			t.Errorf("the handle %q was sealed", id)
		}
		if _, err := s.SealEvent("agents/alice", "s", id, ""); err == nil {
			t.Errorf("the event id %q was sealed", id)
		}
	}
}

func FuzzOpen(f *testing.F) {
	s := sealer(f)
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, sealed string) {
		if _, err := s.OpenSession("a/b", sealed); err == nil {
			t.Errorf("%q opened", sealed)
		}
		if _, _, err := s.OpenEvent("a/b", "s", sealed); err == nil {
			t.Errorf("%q opened", sealed)
		}
	})
}

func opened(s session.Session, err error) (string, error) { return s.ID, err }
