package sse_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/bartizan-dev/bartizan/internal/authproxy/sse"
)

type buffer struct {
	bytes.Buffer
	flushes int
}

func (b *buffer) Flush() error { b.flushes++; return nil }

func upper(s string) (string, error) { return "<" + s + ">", nil }

func shout(b []byte) ([]byte, error) {
	if bytes.Contains(b, []byte("bad")) {
		return nil, errors.New("bad data")
	}
	return bytes.ToUpper(b), nil
}

func TestCopy(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for name, test := range map[string]struct {
		in       string
		pass     string // without Data and ID
		rewrite  string // with both
		passErr  error
		wantErrs bool // with both
	}{
		"empty":                         {in: "", pass: "", rewrite: ""},
		"one event":                     {in: "event: message\nid: 7\ndata: {}\n\n", pass: "event: message\ndata: {}\n\n", rewrite: "event: message\nid: <7>\ndata: {}\n\n"},
		"CRLF":                          {in: "data: a\r\n\r\n", pass: "data: a\n\n", rewrite: "data: A\n\n"},
		"two lines":                     {in: "data:a\ndata: b\n\n", pass: "data: a\ndata: b\n\n", rewrite: "data: A\ndata: B\n\n"},
		"no colon":                      {in: "data\n\n", pass: "data: \n\n", rewrite: "data: \n\n"},
		"keep-alive":                    {in: ": secret words\n\n", pass: ":\n\n", rewrite: ":\n\n"},
		"priming":                       {in: "id: 0\ndata: \n\n", pass: "data: \n\n", rewrite: "id: <0>\ndata: \n\n"},
		"priming, with a name":          {in: "event: prime\nid: 0\ndata: \n\n", pass: "data: \n\n", rewrite: "id: <0>\ndata: \n\n"},
		"another name without an id":    {in: "event: close\nretry: 9\ndata: \n\n", pass: "retry: 9\ndata: \n\n", rewrite: "retry: 9\n\n"},
		"another name":                  {in: "event: endpoint\nid: 1\ndata: a\n\ndata: b\n\n", pass: "data: a\n\ndata: b\n\n", rewrite: "id: <1>\ndata: \n\ndata: B\n\n"},
		"another name after the data":   {in: "data: bad\nevent: x\n\n", pass: "data: bad\n\n", rewrite: "\n"},
		"two names":                     {in: "event: x\nevent\ndata: a\n\n", pass: "event: message\ndata: a\n\n", rewrite: "event: message\ndata: A\n\n"},
		"retry":                         {in: "retry: 100\n\n", pass: "retry: 100\n\n", rewrite: "retry: 100\n\n"},
		"retry, no number":              {in: "retry: 1e9\n\n", pass: "\n", rewrite: "\n"},
		"unknown field":                 {in: "evil: x\ndata: a\n\n", pass: "data: a\n\n", rewrite: "data: A\n\n"},
		"BOM":                           {in: "\ufeffdata: a\n\n", pass: "data: a\n\n", rewrite: "data: A\n\n"},
		"long data":                     {in: "data: " + long + "\n\n", pass: "data: " + long + "\n\n", wantErrs: true},
		"CRLF at the end of the buffer": {in: "data: " + long[:32<<10-7] + "\r\n\r\n", pass: "data: " + long[:32<<10-7] + "\n\n", wantErrs: true},
		"CR in a long line":             {in: "data: " + long[:32<<10-7] + "\r" + long + "\n\n", passErr: sse.ErrCR, wantErrs: true},
		"comment in an event":           {in: "id: 1\n: x\n", pass: ":\n", passErr: io.ErrUnexpectedEOF, wantErrs: true},
		"lone CR":                       {in: "data: a\rdata: b\n\n", passErr: sse.ErrCR, wantErrs: true},
		"two CRs":                       {in: "data: a\r\r\n\n", passErr: sse.ErrCR, wantErrs: true},
		"long event name":               {in: "event: " + long + "\n\n", passErr: sse.ErrLine, wantErrs: true},
		"cut off":                       {in: "data: a\n", pass: "data: a\n", passErr: io.ErrUnexpectedEOF, wantErrs: true},
		"cut off in line":               {in: "data: a", passErr: io.ErrUnexpectedEOF, wantErrs: true},
		"refused data":                  {in: "data: bad\n\n", pass: "data: bad\n\n", wantErrs: true},
	} {
		for how, reader := range map[string]io.Reader{"whole": strings.NewReader(test.in), "by byte": iotest.OneByteReader(strings.NewReader(test.in))} {
			var out buffer
			err := sse.Copy(&out, reader, sse.Rewrite{})
			if !errors.Is(err, test.passErr) || (err == nil && out.String() != test.pass) {
				t.Errorf("%s, %s, passed on: %.80q, %v", name, how, out.String(), err)
			}
		}
		var out buffer
		err := sse.Copy(&out, strings.NewReader(test.in), sse.Rewrite{ID: upper, Data: shout, MaxEvent: 1000})
		if (err != nil) != test.wantErrs || (err == nil && out.String() != test.rewrite) {
			t.Errorf("%s, rewritten: %.80q, %v", name, out.String(), err)
		}
		if err != nil && strings.Contains(out.String(), "bad") {
			t.Errorf("%s: refused data was passed on", name)
		}
	}
}

func TestCopyFlushesEachEventThatComesAlone(t *testing.T) {
	in, feed := io.Pipe()
	var out buffer
	flushed := make(chan struct{}, 16)
	done := make(chan error, 1)
	go func() { done <- sse.Copy(signalling{&out, flushed}, in, sse.Rewrite{}) }()
	for range 3 {
		if _, err := io.WriteString(feed, "data: a\n\n"); err != nil {
			t.Fatal(err)
		}
		<-flushed
	}
	_ = feed.Close()
	if err := <-done; err != nil || out.flushes != 3 {
		t.Errorf("%d flushes, %v", out.flushes, err)
	}
}

type signalling struct {
	*buffer
	flushed chan struct{}
}

func (s signalling) Flush() error { s.flushed <- struct{}{}; return s.buffer.Flush() }

// FuzzCopy: what is written reads the same when it is copied again.
func FuzzCopy(f *testing.F) {
	f.Add("event: message\nid: 7\ndata: {}\n\n: x\r\n\r\nretry: 1\n\n")
	f.Fuzz(func(t *testing.T, in string) {
		var once, twice buffer
		same := func(b []byte) ([]byte, error) { return b, nil }
		if err := sse.Copy(&once, strings.NewReader(in), sse.Rewrite{Data: same, MaxEvent: 1 << 20}); err != nil {
			return
		}
		if err := sse.Copy(&twice, strings.NewReader(once.String()), sse.Rewrite{}); err != nil || once.String() != twice.String() {
			t.Errorf("%q became %q and then %q, %v", in, once.String(), twice.String(), err)
		}
	})
}
