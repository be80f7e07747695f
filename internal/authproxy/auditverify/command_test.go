package auditverify

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
)

// TestAuditVerify: the command accepts what a gate wrote and names the first line of a log that somebody changed.
func TestAuditVerify(t *testing.T) {
	var written bytes.Buffer
	log := audit.NewLog(audit.Options{Sink: &written, Server: "a/b", Boot: "one"})
	if err := log.Begin(nil); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := log.Write(&audit.Record{Decision: audit.Allowed, Client: "c/d"}); err != nil {
			t.Fatal(err)
		}
	}
	log.Close()
	head, _ := log.Head()
	known := head.Boot + ":3:" + head.Hash
	lines := strings.SplitAfter(written.String(), "\n")
	changed := strings.Join(lines[:2], "") + strings.Replace(lines[2], "c/d", "c/x", 1) + lines[3]
	for _, tc := range []struct {
		name, log string
		arguments []string
		want      string
	}{
		{"whole", written.String(), []string{"--head", known}, "whole: 4 lines of 1 boots"},
		{"whole", lines[0] + `{"time":"2031-01-01T00:00:00Z","level":"INFO","msg":"in force"}` + "\n" + strings.Join(lines[1:], ""), nil, "passed over: 1 messages"},
		{"whole", lines[0] + `{"resourceSpans":[{}]}` + "\n" + strings.Join(lines[1:], ""), nil, "passed over: 1 messages"},
		{"no spans", lines[0] + `{"resourceSpans":[{}],"seq":1}` + "\n" + strings.Join(lines[1:], ""), nil, "line 2"},
		{"no message", lines[0] + `{"level":"INFO","msg":"in force","seq":1}` + "\n" + strings.Join(lines[1:], ""), nil, "line 2"},
		{"whole, by twelve digits", written.String(), []string{"--head", known[:len(known)-52]}, "whole: 4 lines of 1 boots"},
		{"eleven digits", written.String(), []string{"--head", known[:len(known)-53]}, "is not BOOT:PLACE:HASH"},
		{"changed", changed, nil, "line 3"},
		{"cut", strings.Join(lines[:3], ""), []string{"--head", known}, "line 4"},
		{"no head", written.String(), []string{"--head", "one:3"}, "is not BOOT:PLACE:HASH"},
	} {
		file := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(file, []byte(tc.log), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, input := range []string{file, "-"} {
			var out bytes.Buffer
			cmd := Command(&out, "authproxy")
			cmd.SetOut(&out)
			cmd.SetErr(&out)
			cmd.SetIn(strings.NewReader(tc.log))
			cmd.SetArgs(append([]string{input}, tc.arguments...))
			err := cmd.Execute()
			text := out.String()
			if err != nil {
				text += err.Error()
			}
			if (err == nil) != strings.HasPrefix(tc.name, "whole") || !strings.Contains(text, tc.want) {
				t.Errorf("%s: %v\n%s", tc.name, err, text)
			}
		}
	}
}
