package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
)

const server, boot = "team-a/pods", "b001"

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

func newLog(out io.Writer) *audit.Log {
	return audit.NewLog(audit.Options{Sink: out, Server: server, Boot: boot})
}

// written is what a boot writes for records.
func written(t testing.TB, id string, known []audit.Head, records ...audit.Record) string {
	t.Helper()
	var out sink
	log := audit.NewLog(audit.Options{Sink: &out, Server: server, Boot: id})
	if err := log.Begin(known); err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := log.Write(&r); err != nil {
			t.Fatal(err)
		}
	}
	log.Close()
	return out.text.String()
}

// TestLineSaysTheRecord: each field of a record is in its line, and nothing else.
func TestLineSaysTheRecord(t *testing.T) {
	size := int64(12)
	want := audit.Record{
		Time: time.Date(2030, 1, 2, 3, 4, 5, 6000, time.UTC), Generation: "g", Source: "192.0.2.1:9", Client: "a/b", Issuer: "corp", Subject: "me", KeyID: "k",
		CertificateSerial: "0f", Verb: "POST", Method: "tools/call", Targets: []audit.Target{{Kind: "tool", Name: "t"}, {Kind: "tool", Name: "u"}},
		Arguments: json.RawMessage(`{"a":[1,"x"]}`), Decision: audit.Allowed, Rule: "p/0", Reason: "r", Status: 200, RequestBytes: 1,
		AnswerBytes: &size, DurationMicroseconds: 3, TraceID: "t",
	}
	lines := strings.Split(written(t, boot, nil, want), "\n")
	var got audit.Record
	decoder := json.NewDecoder(strings.NewReader(lines[1]))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil {
		t.Fatal(err)
	}
	want.Kind, want.Server, want.Boot, want.Seq, want.Prev = audit.KindRequest, server, boot, 1, got.Prev
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// What only lines of other kinds have, or only one of.
	others := map[string]bool{"ArgumentsCut": true, "ArgumentsHash": true, "Count": true, "Until": true, "Lost": true, "Known": true}
	for i := range reflect.TypeFor[audit.Record]().NumField() {
		if field := reflect.TypeFor[audit.Record]().Field(i); reflect.ValueOf(want).Field(i).IsZero() && !others[field.Name] {
			t.Errorf("the test does not set %s", field.Name)
		}
	}
}

// TestHostileWords: whatever callers say, there is one line of printable ASCII under 16 KiB that means it.
func TestHostileWords(t *testing.T) {
	for _, hostile := range []string{
		"a\nb\r\x00\x1b[2J\u202e\u2028\x7f😀" + strings.Repeat("é", 1000),
		`","decision":"allowed","x":"`,
		"x\"}\n{\"kind\":\"request\",\"decision\":\"allowed\"}\n",
		strings.Repeat("\x00", 5000), strings.Repeat("😀", 5000), strings.Repeat("\\\"", 5000), "\xff\xfe", "</script><script>alert(1)</script>",
	} {
		var targets []audit.Target
		for range 100 {
			targets = append(targets, audit.Target{Kind: "tool", Name: hostile})
		}
		arguments, err := json.Marshal(map[string]string{hostile: hostile, "a": strings.Repeat(hostile, 10)})
		if err != nil {
			t.Fatal(err)
		}
		text := written(t, boot, nil, audit.Record{Method: hostile, Verb: hostile, Targets: targets, Decision: audit.Denied, Rule: hostile,
			Reason: hostile, Source: hostile, Client: hostile, Issuer: hostile, Subject: hostile, KeyID: hostile, CertificateSerial: hostile, TraceID: hostile, Generation: hostile,
			Arguments: arguments})
		if strings.Count(text, "\n") != 2 {
			t.Fatalf("not one line: %q", text)
		}
		line := strings.Split(text, "\n")[1]
		if len(line) >= audit.MaxLine {
			t.Errorf("%d bytes", len(line))
		}
		if i := strings.IndexFunc(line, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
			t.Errorf("not printable ASCII: %q", line[i:])
		}
		var got audit.Record
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		clean := strings.ToValidUTF8(hostile, "\ufffd")
		if got.Decision != audit.Denied || got.Seq != 1 || len(got.Targets) != 8 ||
			!strings.HasPrefix(clean, strings.TrimSuffix(got.Method, "…")) && hostile != "\xff\xfe" {
			t.Errorf("%q reads as %+v", hostile, got)
		}
		if _, err := audit.Verify(strings.NewReader(text)); err != nil {
			t.Error(err)
		}
	}
}

func TestStalledSinkBlocksAndLosesNothing(t *testing.T) {
	var out sink
	out.mu.Lock()
	log := newLog(&out)
	const callers = 3000
	done := make(chan error, callers)
	go func() {
		_ = log.Begin(nil)
		for range callers {
			go func() { done <- log.Write(&audit.Record{Client: "a/b", Decision: audit.Allowed}) }()
		}
	}()
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
	verified, err := audit.Verify(strings.NewReader(out.text.String()))
	if err != nil || verified.Lines != callers+1 {
		t.Errorf("%+v for %d records: %v", verified, callers, err)
	}
	if head, _ := log.Head(); len(verified.Heads) != 1 || head != verified.Heads[0] {
		t.Errorf("the head is %+v, the log ends with %+v", head, verified.Heads)
	}
	if err := log.Write(&audit.Record{}); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("a record after Close: %v", err)
	}
}

// disk is a writer that takes so many bytes and then fails, until it is repaired.
type disk struct {
	text bytes.Buffer
	left int
}

func (d *disk) Write(p []byte) (int, error) {
	n := min(d.left, len(p))
	d.left -= n
	d.text.Write(p[:n])
	if n < len(p) {
		return n, errors.New("no space left")
	}
	return n, nil
}

// TestGap: lines that cannot be written, whole or in part, are told to their callers, and counted in the chain.
func TestGap(t *testing.T) {
	for _, left := range []int{0, 1, 100, 400} {
		d := &disk{left: 1 << 20}
		log := newLog(d)
		if err := log.Begin(nil); err != nil {
			t.Fatal(err)
		}
		d.left = left
		for range 3 {
			if err := log.Write(&audit.Record{Client: "a/b", Decision: audit.Allowed, Method: strings.Repeat("m", 200)}); err == nil && left < 400 {
				t.Error("a record that was not written counts as written")
			}
		}
		d.left = 1 << 20
		if err := log.Write(&audit.Record{Client: "a/b", Decision: audit.Allowed}); err != nil {
			t.Fatal(err)
		}
		log.Close()
		verified, err := audit.Verify(strings.NewReader(d.text.String()))
		if err != nil || verified.Lost == 0 || verified.Lost != log.Lost() {
			t.Errorf("%d: %+v, %d were lost, %v\n%s", left, verified, log.Lost(), err, d.text.String())
		}
	}
}

// TestFloodsAreCounted: equal refusals become counted ones; nothing else does, and no request is missing from the count.
func TestFloodsAreCounted(t *testing.T) {
	var out sink
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	log := audit.NewLog(audit.Options{Sink: &out, Server: server, Boot: boot, Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}})
	if err := log.Begin(nil); err != nil {
		t.Fatal(err)
	}
	const many = 5000
	for i := range many {
		for _, r := range []audit.Record{
			{Decision: audit.Unauthenticated, Reason: "key-wrong", Source: fmt.Sprintf("192.0.2.1:%d", i), Status: 401},
			{Decision: audit.Denied, Reason: "tool", Client: "a/b", Source: "192.0.2.2:1", Targets: []audit.Target{{Kind: "tool", Name: "x"}}, Status: 403},
			{Decision: audit.Allowed, Method: "metadata", Source: fmt.Sprintf("192.0.2.3:%d", i), Status: 200},
		} {
			r.Time = now
			if err := log.Write(&r); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 20 {
		for _, r := range []audit.Record{
			{Decision: audit.Allowed, Client: "a/b", Source: "192.0.2.2:1"},
			{Decision: audit.Allowed, Issuer: "corp", Subject: "alice", Source: "192.0.2.2:1"},
			{Decision: audit.Denied, Reason: "tool", Client: "a/b", Source: "192.0.2.2:1", Targets: []audit.Target{{Kind: "tool", Name: fmt.Sprint(i)}}},
		} {
			if err := log.Write(&r); err != nil {
				t.Fatal(err)
			}
		}
	}
	log.Close()
	text := out.text.String()
	verified, err := audit.Verify(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if want := uint64(3 * (many - 10)); verified.Repeated != want {
		t.Errorf("%d are counted, want %d", verified.Repeated, want)
	}
	if want := uint64(1 + 3*10 + 3 + 60); verified.Lines != want {
		t.Errorf("%d lines, want %d:\n%s", verified.Lines, want, text)
	}
	if !strings.Contains(text, `"source":"192.0.2.1","decision":"unauthenticated","reason":"key-wrong","status":401`) {
		t.Errorf("no line for the failed logins of one source:\n%s", text)
	}
}

// TestFloodsFromManyAddresses: who has more addresses than are counted fills no disk either.
func TestFloodsFromManyAddresses(t *testing.T) {
	var out sink
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	log := audit.NewLog(audit.Options{Sink: &out, Server: server, Boot: boot, Now: func() time.Time { return now }})
	if err := log.Begin(nil); err != nil {
		t.Fatal(err)
	}
	const many = 5000
	for i := range many {
		if err := log.Write(&audit.Record{Time: now, Decision: audit.Unauthenticated, Reason: "no-credential", Source: fmt.Sprintf("[2001:db8::%x]:1", i), Status: 401}); err != nil {
			t.Fatal(err)
		}
	}
	log.Close()
	verified, err := audit.Verify(strings.NewReader(out.text.String()))
	if err != nil || verified.Lines+verified.Repeated != many+2 || verified.Lines > 600 {
		t.Errorf("%+v %v", verified, err)
	}
}

func TestArguments(t *testing.T) {
	const in = `{ "user":"me","Api-Key":"k","nested":{"db_password":{"a":1},"list":["x","Bearer abc","ok"]},"pin":1.50,"mine":"yes","u":"\u00e9\ud83d\ude00"}`
	want := `{"user":"me","Api-Key":"[redacted]","nested":{"db_password":"[redacted]","list":["x","[redacted]","ok"]},"pin":"[redacted]","mine":"yes","u":"\u00e9\ud83d\ude00"}`
	if got := string(audit.Redact([]byte(in), 8, []string{"PIN"})); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := string(audit.Redact([]byte(`{"a":{"mcpk_x":1,"b":"bearer x","Bearer y":{}}}`), 8, nil)), `{"a":{"[redacted]":"[redacted]","b":"[redacted]"}}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := audit.Redact([]byte(`{"a":[[[1]]]}`), 2, nil); got != nil {
		t.Errorf("too deep: %s", got)
	}
	h, err := audit.NewHasher()
	if err != nil {
		t.Fatal(err)
	}
	other, err := audit.NewHasher()
	if err != nil {
		t.Fatal(err)
	}
	one := h.Hash([]byte(`{"a":1,"b":"x"}`))
	if len(one) != 64 || one != h.Hash([]byte(`{ "b":"\u0078", "a":1.0}`)) || one == h.Hash([]byte(`{"a":2,"b":"x"}`)) || one == other.Hash([]byte(`{"a":1,"b":"x"}`)) {
		t.Error("the hash is not one of the value, or not keyed")
	}
}

func BenchmarkWrite(b *testing.B) {
	record := audit.Record{
		Time: time.Now(), Generation: strings.Repeat("0", 32), Source: "192.0.2.1:4711", Client: "agents/assistant", KeyID: strings.Repeat("a", 16),
		Verb: "POST", Method: "tools/call", Targets: []audit.Target{{Kind: "tool", Name: "pods_list"}}, Decision: audit.Allowed, Rule: "readers/0",
		Status: 200, RequestBytes: 100, TraceID: strings.Repeat("0", 32),
	}
	b.Run("one", func(b *testing.B) {
		log := newLog(io.Discard)
		defer log.Close()
		b.ReportAllocs()
		for b.Loop() {
			r := record
			if err := log.Write(&r); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("many", func(b *testing.B) {
		log := newLog(io.Discard)
		defer log.Close()
		b.ReportAllocs()
		b.SetParallelism(64)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				r := record
				if err := log.Write(&r); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
