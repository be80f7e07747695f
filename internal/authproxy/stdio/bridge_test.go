package stdio

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
)

func notify(c chan<- os.Signal, s ...os.Signal) { signal.Notify(c, s...) }

// text is a log that can be read while it is written.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// world is a running bridge.
type world struct {
	t      testing.TB
	socket string
	log    *text
	http   *http.Client
	bridge *Bridge
	stop   func() error
}

// newWorld starts a bridge before a server of a kind.
func newWorld(t testing.TB, kind string, changes ...func(*Options)) *world {
	t.Helper()
	t.Setenv(asServer, kind)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, socket: filepath.Join(t.TempDir(), "mcp.sock"), log: &text{}}
	options := Options{Command: []string{self}, Socket: w.socket, Stateful: true, MaxChildren: 8, IdleTimeout: time.Hour,
		Drain: 10 * time.Second, Version: "test", Log: w.log}
	for _, change := range changes {
		change(&options)
	}
	if w.bridge, err = New(options); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.bridge.Run(ctx) }()
	w.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(time.Minute):
			return fmt.Errorf("the bridge does not end")
		}
	})
	t.Cleanup(func() {
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(w.log.String())
		}
	})
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", w.socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	w.http = &http.Client{Transport: transport, Timeout: time.Minute}
	eventually(t, "the bridge listens", func() bool { return upstream.Accepts(t.Context(), upstream.SocketAddress(w.socket)) })
	return w
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// caller is one session of a principal.
type caller struct {
	w                    *world
	name, session, extra string
	modern               bool
}

// do sends a request of a caller.
func (c *caller) do(ctx context.Context, verb, body string) *http.Response {
	c.w.t.Helper()
	r, err := http.NewRequestWithContext(ctx, verb, "http://localhost/mcp", strings.NewReader(body))
	if err != nil {
		c.w.t.Fatal(err)
	}
	r.Header.Set(upstream.HeaderPrincipal, upstream.EncodePrincipal(c.name))
	r.Header.Set(headerRevision, "2025-11-25")
	if c.modern {
		r.Header.Set(headerRevision, firstModern)
	}
	if c.session != "" {
		r.Header.Set(headerSession, c.session)
	}
	response, err := c.w.http.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		c.w.t.Fatalf("%s %s: %v", verb, body, err)
	}
	return response
}

// post sends a message, and returns the status and the messages of the answer.
func (c *caller) post(body string) (int, []string) {
	c.w.t.Helper()
	response := c.do(context.Background(), http.MethodPost, body)
	defer response.Body.Close()
	return response.StatusCode, messages(c.w.t, response)
}

func messages(t testing.TB, response *http.Response) (all []string) {
	t.Helper()
	if response.Header.Get("Content-Type") != "text/event-stream" {
		content, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) > 0 {
			all = append(all, string(content))
		}
		return all
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			all = append(all, data)
		} else if lines.Text() != "" {
			t.Errorf("a line of a stream is %q", lines.Text())
		}
	}
	return all
}

// join begins a session of a principal.
func (w *world) join(name string) *caller {
	w.t.Helper()
	c := &caller{w: w, name: name}
	response := c.do(context.Background(), http.MethodPost,
		`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"clientInfo":{"name":"t","version":"1"}}}`)
	defer response.Body.Close()
	content, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK || !strings.Contains(string(content), `"id":0,`) {
		w.t.Fatalf("%s: initialize: %d %s", name, response.StatusCode, content)
	}
	c.session, c.extra = response.Header.Get(headerSession), string(content)
	if status, _ := c.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`); status != http.StatusAccepted {
		w.t.Fatalf("%s: initialized: %d", name, status)
	}
	return c
}

// tool is the message that calls a tool.
func tool(id, name, text string) string {
	quoted, _ := json.Marshal(text)
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"` + name + `","arguments":{"text":` + string(quoted) + `},"_meta":{"progressToken":"p ` + strings.Trim(id, `"`) + `"}}}`
}

// call calls a tool and returns the text of its answer, or the error.
func (c *caller) call(id, name, text string) string {
	c.w.t.Helper()
	_, all := c.post(tool(id, name, text))
	if len(all) == 0 {
		return "nothing"
	}
	return content(c.w.t, id, all[len(all)-1])
}

func content(t testing.TB, id, message string) string {
	t.Helper()
	var answer struct {
		ID     json.RawMessage
		Result struct{ Content []struct{ Text string } }
		Error  *struct {
			Code    int
			Message string
		}
	}
	if err := json.Unmarshal([]byte(message), &answer); err != nil {
		t.Fatalf("%v: %s", err, message)
	}
	if string(answer.ID) != id {
		t.Errorf("the id of %s is not %s", message, id)
	}
	switch {
	case answer.Error != nil:
		return fmt.Sprintf("error %d %s", answer.Error.Code, answer.Error.Message)
	case len(answer.Result.Content) == 0:
		return ""
	}
	return answer.Result.Content[0].Text
}

// children is how many children there are.
func (w *world) children() int {
	w.bridge.pool.mu.Lock()
	defer w.bridge.pool.mu.Unlock()
	return len(w.bridge.pool.children)
}

// settled waits for the trial to be over.
func (w *world) settled() {
	w.t.Helper()
	eventually(w.t, "the trial is over", func() bool { return w.children() == 0 })
}
