package policy_test

import (
	"testing"

	"github.com/bartizan-dev/bartizan/internal/policy"
)

// TestForbiddenInEverySpelling: what is forbidden is forbidden however it is spelt, and nothing else is.
func TestForbiddenInEverySpelling(t *testing.T) {
	f, err := policy.Forbid([]string{"*exec*", "Delete_Pod", "fs/write", "удалить"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"exec": true, "EXEC": true, "pods_exec": true, "Pods_Exec_Now": true, "ехес": true /* Cyrillic */, "eхec": true, "ｅｘｅｃ": true, "𝐞𝐱𝐞𝐜": true, "ⓔⓧⓔⓒ": true,
		"e\u200bxec": true, "e\u0301xec": true, "ex\u00adec": true, "e\u2060x\ufe0fec": true, "éxèc": true, "ᴇxᴇᴄ": true, "ℯxec": true, "\u202eexec": true,
		"delete_pod": true, "DELETE_POD": true, "deIete_pod": true, "de1ete_p0d": true, "dеlеtе_роd": true, "deleteˍpod": true, "deleteｐod": false,
		"fs/write": true, "fs⁄write": true, "FS／WRITE": true, "удалить": true, "УДАЛИТЬ": true,
		"e\x00xec": true, "exд": true /* mixed */, "list": false, "поиск": false, "検索": false, "rechercher_été": false, "delete_pods": false, "execute": true, "": false,
	} {
		if got := f.Has(name); got != want {
			folded, mixed := policy.Fold(name)
			t.Errorf("%q (%q, %t): got %t, want %t", name, folded, mixed, got, want)
		}
	}
	if (&policy.Forbidden{}).Has("exдc") {
		t.Error("nothing is forbidden, and yet something is")
	}
	if _, err := policy.Forbid([]string{"a[b]"}); err == nil {
		t.Error("a pattern that is none")
	}
}

// FuzzFold: folding is stable: what reads alike once reads alike again, so no spelling escapes by being folded twice.
func FuzzFold(f *testing.F) {
	for _, seed := range []string{"exec", "ЕХЕС", "ß", "ﬃ", "İ", "\u0345", "e\u0301", "ﷺ", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		once, _ := policy.Fold(name)
		if twice, _ := policy.Fold(once); twice != once {
			t.Errorf("%q folds to %q and then to %q", name, once, twice)
		}
		f, err := policy.Forbid([]string{"**"})
		if err != nil || len(once) < policy.MaxValue && len(name) < policy.MaxValue && !f.Has(name) {
			t.Errorf("%q is not forbidden by **", name)
		}
	})
}
