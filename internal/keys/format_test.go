package keys_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/keys"
)

func TestNewParsesAndHidesItsSecret(t *testing.T) {
	key, err := keys.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := keys.Parse(key.Text)
	if err != nil || id != key.ID {
		t.Fatalf("Parse(New) = %q, %v; want %q", id, err, key.ID)
	}
	if shown := fmt.Sprintf("%v %+v %#v %s", key, key, key, key); strings.Contains(shown, key.Text[len(key.Text)-keys.SecretLength:]) {
		t.Errorf("a printed key shows its secret: %s", shown)
	}
	if keys.Hash(key.Text) == keys.Hash(key.Text+"a") || len(keys.Hash(key.Text)) != 64 {
		t.Error("Hash is not the SHA-256 of the whole key")
	}
}

func TestNewNeedsRandomness(t *testing.T) {
	if _, err := keys.New(failing{}); err == nil {
		t.Error("a key was made without randomness")
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

func TestParseRefuses(t *testing.T) {
	good := keys.Prefix + strings.Repeat("a", keys.IDLength) + "_" + strings.Repeat("7", keys.SecretLength)
	if _, err := keys.Parse(good); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":      "",
		"no prefix":  good[1:],
		"upper case": strings.ToUpper(good),
		"short":      good[:len(good)-1],
		"long":       good + "a",
		"alphabet":   strings.Replace(good, "7", "1", 1),
		"separator":  strings.Replace(good, "a_", "aa", 1),
		"space":      strings.Replace(good, "7", " ", 1),
		"NUL":        strings.Replace(good, "7", "\x00", 1),
		"not ASCII":  strings.Replace(good, "77", "é", 1),
	} {
		if id, err := keys.Parse(text); err == nil || id != "" {
			t.Errorf("%s: Parse accepted it", name)
		} else if len(text) > 20 && strings.Contains(err.Error(), text[6:15]) {
			t.Errorf("%s: the error repeats the key", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("mcpk_aaaaaaaaaaaaaaaa_" + strings.Repeat("a", keys.SecretLength))
	f.Fuzz(func(t *testing.T, text string) {
		if id, err := keys.Parse(text); err == nil && (!strings.HasPrefix(text, keys.Prefix+id+"_") || len(id) != keys.IDLength) {
			t.Errorf("Parse(%q) = %q", text, id)
		}
	})
}

// TestIdentify: what is not ours has a bound length, one alphabet and the looks of chance, and an id that follows from its hash.
func TestIdentify(t *testing.T) {
	const good = "Zm9yZWlnbi1rZXktb2YtMjU2LXJhbmRvbS1iaXRzISE"
	ours := keys.Prefix + strings.Repeat("a", keys.IDLength) + "_" + strings.Repeat("b", keys.SecretLength)
	for _, test := range []struct {
		name, text string
		fails      bool
	}{
		{"ours", ours, false},
		{"base64url", good, false},
		{"hex", keys.Hash("x"), false},
		{"the longest", strings.Repeat(good, 6)[:keys.MaxForeign], false},
		{"too short", good[:keys.MinForeign-1], true},
		{"too long", strings.Repeat(good, 6)[:keys.MaxForeign] + "x", true},
		{"ours, cut short", ours[:len(ours)-1], true},
		{"ours, too long", ours + "x", true},
		{"beginning as ours", keys.Prefix + good, true},
		{"a token", "eyJhbGciOiJFUzI1NiJ9." + good + ".c2ln", true},
		{"base64 with padding", good + "=", true},
		{"base64 of the other alphabet", good + "+/", true},
		{"a line break", good + "\n", true},
		{"a space", good + " x", true},
		{"no ASCII", good + "é", true},
		{"digits alone", strings.Repeat("0123456789", 5), true},
		{"one word again and again", strings.Repeat("password", 8), true},
		{"nothing", "", true},
	} {
		id, err := keys.Identify(test.text)
		if (err != nil) != test.fails || !test.fails && !keys.IsID(id) {
			t.Errorf("%s: %q, %v", test.name, id, err)
		}
		if err != nil && len(test.text) > 8 && strings.Contains(err.Error(), test.text[:8]) {
			t.Errorf("%s: the error repeats it: %v", test.name, err)
		}
	}
	if id, err := keys.Identify(ours); err != nil || id != strings.Repeat("a", keys.IDLength) {
		t.Errorf("ours: %q, %v", id, err)
	}
	one, _ := keys.Identify(good)
	other, _ := keys.Identify(good[:len(good)-1] + "F")
	if one == other {
		t.Error("two keys of one id")
	}
}

func FuzzIdentify(f *testing.F) {
	f.Add("Zm9yZWlnbi1rZXktb2YtMjU2LXJhbmRvbS1iaXRzISE")
	f.Add(keys.Prefix + strings.Repeat("a", keys.IDLength) + "_" + strings.Repeat("b", keys.SecretLength))
	f.Fuzz(func(t *testing.T, text string) {
		id, err := keys.Identify(text)
		if err == nil != keys.IsID(id) || err == nil && strings.ContainsAny(text, " .\r\n=") {
			t.Errorf("%q: %q, %v", text, id, err)
		}
	})
}
