package gate_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
)

const secretCall = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","arguments":{"name":"Ada","api_key":"hush","iban":"DE00"}}}`

// TestAuditOfArguments: the log has of the arguments what the configuration says, from one request to the next.
func TestAuditOfArguments(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address())
	alice := w.keyed(w.aliceKey)
	call := func() audit.Record {
		if status, _, body := do(t, alice, w.post(secretCall)); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		return w.audit.last(t)
	}
	if r := call(); r.Arguments != nil || r.ArgumentsHash != "" || r.ArgumentsCut != "" {
		t.Errorf("by default: %+v", r)
	}
	w.reload(func(c *gateconfig.Config) { c.Audit = gateconfig.Audit{Arguments: gateconfig.ArgumentsHash} })
	if a, b := call(), call(); len(a.ArgumentsHash) != 64 || a.ArgumentsHash != b.ArgumentsHash || a.Arguments != nil {
		t.Errorf("hashed: %+v, %+v", a, b)
	}
	w.reload(func(c *gateconfig.Config) {
		c.Audit = gateconfig.Audit{Arguments: gateconfig.ArgumentsFull, Redact: []string{"IBAN"}}
	})
	if r := call(); string(r.Arguments) != `{"name":"Ada","api_key":"[redacted]","iban":"[redacted]"}` || r.ArgumentsHash != "" {
		t.Errorf("in full: %s", r.Arguments)
	}
	if strings.Contains(w.audit.String(), "hush") {
		t.Error("a secret is in the log")
	}
}

// TestAuditAcrossBoots: the gate ends with nothing that it answered missing, and the next process in the pod names the last
// line of the one before, so that nothing can be cut off there.
func TestAuditAcrossBoots(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	socket := filepath.Join(t.TempDir(), "drain.sock")
	first := newWorld(t, upstream.address(), func(w *world) { w.options.DrainSocket = socket })
	alice := first.keyed(first.aliceKey)
	for range 5 {
		do(t, alice, first.post(legacyCall))
	}
	for range 30 {
		do(t, first.keyed("x"), first.post(legacyCall))
	}
	nobody := first.client()
	for range 30 {
		do(t, nobody, first.post(legacyCall))
	}
	// What the status port says of the end of the log is so.
	status, _, body := do(t, first.client(first.system.Client(t, first.config.Status.Identities[0])), get(t, first.statusURL+gatestatus.Path))
	var account gatestatus.Status
	if err := json.Unmarshal([]byte(body), &account); err != nil || status != http.StatusOK || account.Audit == nil {
		t.Fatalf("%d %s, %v", status, body, err)
	}
	head := audit.Head{Boot: account.Boot, Seq: account.Audit.Seq, Hash: account.Audit.Hash}
	first.terminate()
	select {
	case err := <-first.ended:
		first.ended <- err
	case <-time.After(time.Minute):
		t.Fatal("the gate does not end")
	}
	second := newWorld(t, upstream.address(), func(w *world) { w.options.DrainSocket = socket })
	do(t, second.keyed(second.aliceKey), second.post(legacyCall))

	whole := first.audit.String() + second.audit.String()
	verified, err := audit.Verify(strings.NewReader(whole), head)
	if err != nil {
		t.Fatal(err)
	}
	// 5 calls, 30 failed logins with a line each for they come from different addresses, 10 and the counted 20 from one.
	if verified.Lines != 1+5+30+10+1+2 || verified.Repeated != 20 || len(verified.Heads) != 2 || len(verified.Absent) != 0 {
		t.Errorf("%+v", verified)
	}
	lines := bytes.SplitAfter([]byte(first.audit.String()), []byte("\n"))
	cut := string(bytes.Join(lines[:len(lines)-2], nil)) + second.audit.String()
	var broken *audit.BrokenError
	if _, err := audit.Verify(strings.NewReader(cut)); !errors.As(err, &broken) || broken.Line != len(lines)-1 {
		t.Errorf("the last line of the first boot is cut off: %v", err)
	}
}

// TestAuditCannotBeWritten: without the log there is no answer, and the gate says so at its start.
func TestAuditCannotBeWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newRecorder(t, result).address())
	w.audit.mu.Lock()
	w.audit.broken = errors.New("no space left")
	w.audit.mu.Unlock()
	if response, err := w.keyed(w.aliceKey).Do(w.post(legacyCall)); err == nil {
		_ = response.Body.Close()
		t.Errorf("answered with %d and without a line", response.StatusCode)
	}
	w.audit.mu.Lock()
	w.audit.broken = nil
	w.audit.mu.Unlock()
	if status, _, body := do(t, w.keyed(w.aliceKey), w.post(legacyCall)); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	if verified, err := audit.Verify(strings.NewReader(w.audit.String())); err != nil || verified.Lost == 0 {
		t.Errorf("%+v, %v", verified, err)
	}
}

func get(t testing.TB, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
