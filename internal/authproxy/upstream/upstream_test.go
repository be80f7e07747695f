package upstream

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// said serves each connection with the next of the given texts, once it has read a request, and then with more after each further one.
type said struct {
	t       testing.TB
	address string
	mu      sync.Mutex
	conns   int
}

func say(t testing.TB, connections ...[]string) *said {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s := &said{t: t, address: l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			var texts []string
			if s.conns < len(connections) {
				texts = connections[s.conns]
			}
			s.conns++
			s.mu.Unlock()
			go func() {
				defer conn.Close()
				reader := bufio.NewReader(conn)
				for _, text := range texts {
					r, err := http.ReadRequest(reader)
					if err != nil {
						return
					}
					if !strings.HasPrefix(text, "early ") {
						_, _ = io.Copy(io.Discard, r.Body)
					}
					_, _ = io.WriteString(conn, strings.TrimPrefix(text, "early "))
				}
				if len(texts) > 0 && strings.HasSuffix(texts[len(texts)-1], "}") {
					_, _ = reader.ReadByte()
				}
			}()
		}
	}()
	return s
}

func (s *said) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

// ask makes a request and returns the body of the answer, or what it failed with.
func ask(t testing.TB, c *Client, address string, body string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	answer, err := c.Do(ctx, Request{Verb: http.MethodPost, Address: address, Path: "/mcp", Body: []byte(body)})
	if err != nil {
		return err.Error()
	}
	if answer.Body == nil {
		return string(answer.Text)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return string(text) + " cut"
	}
	return string(text)
}

const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

// TestConnections: a connection is used again only after an answer that was framed and read, and nothing of one answer is taken for another.
func TestConnections(t *testing.T) {
	t.Parallel()
	chunked := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
	for _, tc := range []struct {
		name string
		// first is the answer to the first request; the second gets ok, on whichever connection.
		first       string
		want        string
		connections int
	}{
		{"length", ok, "{}", 1},
		{"chunks", chunked, "{}", 1},
		{"interim answers", "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + ok, "{}", 1},
		{"too many interim answers", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 7) + ok, "upstream-broken", 2},
		{"accepted", "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", "", 1},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", "", 1},
		{"no content with a body", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}", "", 2},
		{"surplus", ok + "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 6\r\n\r\n\"evil\"", "{}", 2},
		{"until it closes", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{} ", "{} ", 2},
		{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", "{}", 2},
		{"chunked with length", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "{}", 1},
		{"cut", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{}\n", "{}\n cut", 2},
		{"a head without an end", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxResponseHeader) + "\r\n\r\n", "upstream-broken", 2},
		{"no HTTP", "hello\r\n", "upstream-broken", 2},
		{"another protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "upstream-status", 2},
		{"status 000", "HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n", "upstream-status", 1},
		{"a refusal", "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno", "no", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			texts := []string{tc.first, ok}
			if tc.name == "until it closes" || tc.name == "cut" {
				texts = texts[:1]
			}
			server := say(t, texts, []string{ok})
			c := NewClient()
			defer c.Close()
			if got := ask(t, c, server.address, "{}"); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
			if got := ask(t, c, server.address, "{}"); got != "{}" {
				t.Errorf("the next request: %q", got)
			}
			if got := server.connections(); got != tc.connections {
				t.Errorf("%d connections, want %d", got, tc.connections)
			}
		})
	}
}

// TestLongBodies are written while the answer may come, and an answer that comes before all was written ends the connection.
func TestLongBodies(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 32<<20)
	server := say(t, []string{ok, ok}, []string{ok})
	c := NewClient()
	defer c.Close()
	for range 2 {
		if got := ask(t, c, server.address, long); got != "{}" {
			t.Errorf("%q", got)
		}
	}
	if got := server.connections(); got != 1 {
		t.Errorf("%d connections", got)
	}
	early := say(t, []string{"early HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig\r\n{}"}, []string{ok})
	if got := ask(t, c, early.address, long); got != "big" {
		t.Errorf("early: %q", got)
	}
	if got := ask(t, c, early.address, "{}"); got != "{}" {
		t.Errorf("after the early one: %q", got)
	}
}

// TestClosedConnections: one that the server closed while it waited is not used for the next request.
func TestClosedConnections(t *testing.T) {
	t.Parallel()
	server := say(t, []string{strings.TrimSuffix(ok, "{}") + "[]"}, []string{ok})
	c := NewClient()
	defer c.Close()
	if got := ask(t, c, server.address, "{}"); got != "[]" {
		t.Fatalf("%q", got)
	}
	// The server has closed it by now, or it will be found out when the request cannot be answered on it: either way none is lost.
	deadline := time.Now().Add(time.Minute)
	for c.pool.get(server.address, time.Now()) != nil && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if got := ask(t, c, server.address, "{}"); got != "{}" {
		t.Errorf("%q", got)
	}
}

// TestCancel: a context that ends, ends the wait for an answer and an answer that has begun, and the connection with it.
func TestCancel(t *testing.T) {
	t.Parallel()
	server := say(t, []string{"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {}"}, []string{""})
	c := NewClient()
	defer c.Close()
	for _, begun := range []bool{true, false} {
		ctx, cancel := context.WithCancel(t.Context())
		if !begun {
			time.AfterFunc(10*time.Millisecond, cancel)
		}
		answer, err := c.Do(ctx, Request{Verb: http.MethodPost, Address: server.address, Path: "/"})
		if begun {
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(10*time.Millisecond, cancel)
			_, err = io.ReadAll(answer.Body)
			_ = answer.Body.Close()
		}
		cancel()
		if err == nil {
			t.Errorf("begun %t: no error", begun)
		}
	}
	if c.pool.n != 0 {
		t.Errorf("%d connections wait", c.pool.n)
	}
}

// TestRequestsAreOne: nothing in a request can make it two.
func TestRequestsAreOne(t *testing.T) {
	t.Parallel()
	for _, r := range []Request{
		{Headers: http.Header{"Mcp-Name": {"a\r\nX: y"}}}, {Headers: http.Header{"A b": {""}}}, {Headers: http.Header{"": {""}}}, {Headers: http.Header{"X:": {""}}},
		{SessionID: "a\nb"}, {LastEventID: "a\rb"}, {TraceParent: "\x00"}, {TraceState: "\x7f"},
	} {
		if head, err := r.appendHead(nil); err == nil {
			t.Errorf("%q", head)
		}
	}
	r := Request{Verb: "POST", Address: "127.0.0.1:1", Path: "/a b?c#d\r\n", Body: []byte("x"), Headers: http.Header{"Mcp-Param-X_y": {""}}, SessionID: "s", LastEventID: "e"}
	head, err := r.appendHead(nil)
	if err != nil {
		t.Fatal(err)
	}
	read, err := http.ReadRequest(bufio.NewReader(io.MultiReader(bytes.NewReader(head), strings.NewReader("x"))))
	if err != nil {
		t.Fatal(err)
	}
	if read.URL.Path != r.Path || read.Host != r.Address || read.ContentLength != 1 || read.Header.Get("Mcp-Session-Id") != "s" || read.Header.Get("Last-Event-Id") != "e" || len(read.Header) != 6 {
		t.Errorf("%+v", read)
	}
}

// FuzzAnswer: whatever a server answers, the client reads what net/http's reads, and its connection is not used again if anything is left.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(ok))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n:a\n\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 103 X\r\n\r\nHTTP/1.0 202 Accepted\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabcd"))
	const json, chunked = "Content-Type: application/json\r\n", "Transfer-Encoding: chunked\r\n"
	for _, text := range []string{
		strings.Repeat("HTTP/1.1 103 X\r\n\r\n", maxInformational) + ok, strings.Repeat("HTTP/1.1 100 X\r\n\r\n", maxInformational+1) + ok,
		"HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n" + ok, "HTTP/1.1 100 X\r\nContent-Length: 2\r\n\r\n{}" + ok,
		"HTTP/1.1 204 X\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 204 X\r\n" + chunked + "\r\n2\r\n{}\r\n0\r\n\r\n", "HTTP/1.1 304 X\r\n\r\n{}", "HTTP/1.1 205 X\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 200 X\r\n" + json + chunked + "Content-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "HTTP/1.1 200 X\r\n" + json + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
		"HTTP/1.1 200 X\r\n" + json + "Content-Length: +2\r\n\r\n{}", "HTTP/1.1 200 X\r\n" + json + "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"HTTP/1.1 200 X\r\n" + json + "Content-Length: 2\r\n\r\n{}" + ok, "HTTP/1.1 200 X\r\n" + json + chunked + "\r\n2\r\n{}\r\n0\r\n\r\n" + ok,
		"HTTP/1.1 200 X\r\n" + json + "Content-Length: 9\r\n\r\n{}", "HTTP/1.1 200 X\r\n" + json + chunked + "\r\n9\r\n{}", "HTTP/1.1 200 X\r\n" + json + chunked + "\r\n2\r\n{}\r\n0\r\n", "HTTP/1.1 200 X\r\n" + json[:9],
		"HTTP/1.1 200 X\r\n" + json + chunked + "\r\n2;x=\"\r\n{}\r\n0\r\nX: y\r\n\r\n", "HTTP/1.1 200 X\r\n" + json + chunked + "\r\nffffffffffffffff\r\n{}\r\n0\r\n\r\n", "HTTP/1.1 200 X\r\n" + json + chunked + "\r\n-2\r\n{}",
		"HTTP/1.0 200 X\r\n" + json + "\r\n{}", "HTTP/1.1 200 X\r\n" + json + "\r\n{}", "HTTP/1.1 200 X\r\n" + json + "Connection: close\r\nContent-Length: 2\r\n\r\n{}", "HTTP/2.0 200 X\r\n\r\n", "HTTP/1.1 200 X\nContent-Length: 0\n\n",
		"HTTP/1.1 200 X\r\n" + json + " folded: 1\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 200 X\r\n" + json + "Content-Length : 2\r\n\r\n{}", "\r\n" + ok, "HTTP/1.1 200 X\r\nX: " + strings.Repeat("x", maxResponseHeader) + "\r\n\r\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		pipe := func(context.Context, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				_, _ = http.ReadRequest(bufio.NewReader(theirs))
				_, _ = theirs.Write(text)
				_ = theirs.Close()
			}()
			return ours, nil
		}
		type result struct {
			status int
			kind   Kind
			text   string
			failed bool
		}
		of := func(answer *Answer, err error) (r result) {
			if err != nil {
				return result{failed: true}
			}
			r = result{status: answer.Status, kind: answer.Kind, text: string(answer.Text)}
			if answer.Body != nil {
				body, err := io.ReadAll(answer.Body)
				_ = answer.Body.Close()
				r.text, r.failed = string(body), err != nil
			}
			return r
		}
		c := &Client{dial: pipe}
		got := of(c.Do(t.Context(), Request{Verb: http.MethodPost, Address: "127.0.0.1:1", Path: "/"}))
		for _, waiting := range c.pool.idle {
			for _, one := range waiting {
				if one.reader.Buffered() > 0 {
					t.Errorf("a connection with %d bytes left waits for a request", one.reader.Buffered())
				}
			}
		}
		transport := &http.Transport{DisableCompression: true, MaxResponseHeaderBytes: maxResponseHeader,
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return pipe(ctx, address) }}
		defer transport.CloseIdleConnections()
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:1/", http.NoBody)
		var want result
		if response, err := transport.RoundTrip(r); err != nil {
			want = result{failed: true}
		} else {
			want = of(read(http.MethodPost, response))
			_ = response.Body.Close()
		}
		// More interim answers than ours net/http takes, too.
		if patience := got.failed && bytes.Count(text, []byte("HTTP/")) > maxInformational+1; got != want && !patience {
			t.Errorf("%q: got %+v, net/http %+v", text, got, want)
		}
	})
}
