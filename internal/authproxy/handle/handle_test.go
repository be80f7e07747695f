package handle

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

func private(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ring(t testing.TB, server string, keys ...*ecdsa.PrivateKey) *Ring {
	t.Helper()
	r := &Ring{}
	for _, k := range keys {
		if err := r.Learn(k, server, now); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// TestOpensOnlyForItsParts: another principal, another request, another server, another purpose and any change of the handle
// find nothing.
func TestOpensOnlyForItsParts(t *testing.T) {
	k := private(t)
	r := ring(t, "team-a/pods", k)
	sealed, err := r.Seal(now, []byte("state"), "state", "agents/alice", "tools/call")
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := r.Open(sealed, "state", "agents/alice", "tools/call"); err != nil || string(plain) != "state" {
		t.Fatalf("%q, %v", plain, err)
	}
	if again, _ := r.Seal(now, []byte("state"), "state", "agents/alice", "tools/call"); again != sealed {
		t.Error("the same has another handle")
	}
	for name, parts := range map[string][]string{
		"another principal": {"state", "agents/bob", "tools/call"}, "another request": {"state", "agents/alice", "prompts/get"},
		"parts cut elsewhere": {"state", "agents/alicetools", "/call"}, "no parts": nil, "another purpose": {"task", "agents/alice", "tools/call"},
	} {
		if _, err := r.Open(sealed, parts...); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := ring(t, "team-b/pods", k)
	if _, err := other.Open(sealed, "state", "agents/alice", "tools/call"); !errors.Is(err, ErrUnknown) {
		t.Errorf("another server's gate: %v", err)
	}
	for _, forged := range []string{"", "A", sealed[1:], sealed + "A", sealed + "\n", strings.ToUpper(sealed), sealed[:len(sealed)-2] + "AA", strings.Repeat("A", maxSealed+1)} {
		if _, err := r.Open(forged, "state", "agents/alice", "tools/call"); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", forged, err)
		}
	}
}

// TestReplicasAgree: replicas have the same certificate, and so the same key; while a new one spreads, all seal with the old
// one and open with both.
func TestReplicasAgree(t *testing.T) {
	old, next := private(t), private(t)
	quick, slow := ring(t, "team-a/pods", old), ring(t, "team-a/pods", old)
	if err := quick.Learn(next, "team-a/pods", now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	sealed, err := quick.Seal(now.Add(time.Hour+time.Minute), []byte("x"), "p")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Open(sealed, "p"); err != nil {
		t.Errorf("the replica without the new certificate: %v", err)
	}
	later, err := quick.Seal(now.Add(2*time.Hour), []byte("x"), "p")
	if err != nil || later == sealed {
		t.Fatalf("the new key is not used: %v", err)
	}
	if _, err := slow.Open(later, "p"); !errors.Is(err, ErrUnknown) {
		t.Errorf("the new key is known without its certificate: %v", err)
	}
	if err := slow.Learn(next, "team-a/pods", now.Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, handle := range []string{sealed, later} {
		if _, err := slow.Open(handle, "p"); err != nil {
			t.Errorf("after the new certificate: %v", err)
		}
	}
	for range maxKeys {
		if err := slow.Learn(private(t), "team-a/pods", now); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := slow.Open(sealed, "p"); !errors.Is(err, ErrUnknown) || len(slow.keys) != maxKeys {
		t.Errorf("keys are kept without bound: %d", len(slow.keys))
	}
}

func TestUntil(t *testing.T) {
	r := ring(t, "a/b", private(t))
	sealed, err := r.SealUntil(now.Add(time.Hour), now, []byte("x"), "p")
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := r.OpenUntil(now.Add(59*time.Minute), sealed, "p"); err != nil || string(plain) != "x" {
		t.Errorf("%q, %v", plain, err)
	}
	if _, err := r.OpenUntil(now.Add(time.Hour), sealed, "p"); !errors.Is(err, ErrUnknown) {
		t.Errorf("after its time: %v", err)
	}
	short, err := r.Seal(now, []byte("x"), "p")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.OpenUntil(now, short, "p"); !errors.Is(err, ErrUnknown) {
		t.Errorf("one without an end: %v", err)
	}
}

func TestBounds(t *testing.T) {
	if _, err := (&Ring{}).Seal(now, nil); err == nil {
		t.Error("sealed without a key")
	}
	r := ring(t, "a/b", private(t))
	if sealed, err := r.Seal(now, make([]byte, MaxPlain), "p"); err != nil || len(sealed) > maxSealed {
		t.Errorf("the longest: %d, %v", len(sealed), err)
	}
	if _, err := r.Seal(now, make([]byte, MaxPlain+1), "p"); err == nil {
		t.Error("longer than the longest")
	}
}

// FuzzOpen: nothing that was not sealed opens.
func FuzzOpen(f *testing.F) {
	r := ring(f, "a/b", private(f))
	sealed, err := r.Seal(now, []byte("x"), "p")
	if err != nil {
		f.Fatal(err)
	}
	f.Add("")
	f.Add(sealed[:20])
	f.Add(sealed + "=")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := r.Open(s, "p"); err == nil && s != sealed {
			t.Errorf("%q opens", s)
		}
	})
}
