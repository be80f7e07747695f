package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
)

// sink is a writer that can be stalled.
type sink struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func TestOneLineOfASCIIForEachRecord(t *testing.T) {
	var out sink
	log := audit.NewLog(&out)
	hostile := "a\nb\r\x00\x1b[2J\u202e\u2028\x7f😀" + strings.Repeat("é", 1000)
	var targets []audit.Target
	for range 100 {
		targets = append(targets, audit.Target{Kind: "tool", Name: hostile})
	}
	if err := log.Write(audit.Record{Method: hostile, Verb: "POST", Targets: targets, Decision: audit.Denied}); err != nil {
		t.Fatal(err)
	}
	log.Close()
	line := out.text.String()
	if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
		t.Errorf("not one line: %q", line)
	}
	for _, c := range []byte(strings.TrimSuffix(line, "\n")) {
		if c < ' ' || c > '~' {
			t.Fatalf("not printable ASCII: %q", c)
		}
	}
	var got audit.Record
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.Method, "a\nb\r\x00\x1b[2J\u202e\u2028\x7f😀é") || !strings.HasSuffix(got.Method, "…") {
		t.Errorf("the method reads as %q", got.Method)
	}
	if len(line) > 16<<10 && len(got.Targets) > 8 {
		t.Errorf("the line is not bounded: %d bytes, %d targets", len(line), len(got.Targets))
	}
}

func TestStalledSinkBlocksAndLosesNothing(t *testing.T) {
	var out sink
	out.mu.Lock()
	log := audit.NewLog(&out)
	const callers = 3000
	done := make(chan error, callers)
	for range callers {
		go func() { done <- log.Write(audit.Record{Decision: audit.Allowed}) }()
	}
	select {
	case err := <-done:
		t.Fatalf("a record was taken as written while the sink stalled: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	out.mu.Unlock()
	for range callers {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	log.Close()
	if got := strings.Count(out.text.String(), "\n"); got != callers {
		t.Errorf("%d lines for %d records", got, callers)
	}
	if err := log.Write(audit.Record{}); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("a record after Close: %v", err)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestFailedWriteIsToldToTheCaller(t *testing.T) {
	log := audit.NewLog(broken{})
	defer log.Close()
	if err := log.Write(audit.Record{}); err == nil {
		t.Error("a record that was not written counts as written")
	}
}
