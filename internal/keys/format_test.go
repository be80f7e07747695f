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
