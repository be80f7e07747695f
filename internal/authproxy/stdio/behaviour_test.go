package stdio

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestEachPrincipalHasAChild: sessions of one principal share a child, others have another; ids are given back as they came.
func TestEachPrincipalHasAChild(t *testing.T) {
	w := newWorld(t, "rude")
	w.settled()
	alice, again, bob := w.join("agents/alice"), w.join("agents/alice"), w.join("agents/bob")
	pid := func(answer string) string { p, _, _ := strings.Cut(answer, " "); return p }
	a, b, c := alice.call("1", "echo", "x"), again.call(`"1"`, "echo", "x"), bob.call("9007199254740993", "echo", "x")
	if pid(a) != pid(b) || pid(a) == pid(c) || pid(a) == "" {
		t.Errorf("alice: %s and %s, bob: %s", a, b, c)
	}
	if w.children() != 2 {
		t.Errorf("%d children", w.children())
	}
	// What the child is told, it is told on one line.
	if got := alice.call("2", "echo", "line\nbreak"); !strings.HasSuffix(got, "line\nbreak") {
		t.Errorf("got %q", got)
	}
	if status, all := alice.post("{\n\"jsonrpc\": \"2.0\",\r\n \"id\": 3, \"method\": \"ping\"}"); status != http.StatusOK || len(all) != 1 || !strings.Contains(all[0], `"id":3`) {
		t.Errorf("%d %q", status, all)
	}
	// A child that could be asked for something else is another one.
	other := &caller{w: w, name: "agents/alice"}
	if status, _ := other.post(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`); status != http.StatusOK || w.children() != 3 {
		t.Errorf("%d, %d children", status, w.children())
	}
}

// TestSessionsAreOfOnePrincipal: nobody uses, listens to or ends the session of another.
func TestSessionsAreOfOnePrincipal(t *testing.T) {
	w := newWorld(t, "rude")
	alice, mallory := w.join("agents/alice"), w.join("agents/mallory")
	thief := &caller{w: w, name: "agents/mallory", session: alice.session}
	for _, verb := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
		response := thief.do(t.Context(), verb, tool("1", "echo", "x"))
		_ = response.Body.Close()
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", verb, response.StatusCode)
		}
	}
	if got := alice.call("1", "echo", "mine"); !strings.HasSuffix(got, "mine") {
		t.Errorf("got %q", got)
	}
	response := mallory.do(t.Context(), http.MethodDelete, "")
	_ = response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		t.Errorf("DELETE: %d", response.StatusCode)
	}
	if status, _ := mallory.post(tool("1", "echo", "x")); status != http.StatusNotFound {
		t.Errorf("after the DELETE: %d", status)
	}
	for name, header := range map[string][]string{"none": nil, "two": {"YQ", "Yg"}, "not base64": {"%"}, "empty": {""}, "another spelling": {"YR"}} {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/mcp", strings.NewReader(tool("1", "echo", "x")))
		r.Header["Bartizan-Principal"] = header
		r.Header.Set(headerSession, alice.session)
		response, err := w.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", name, response.StatusCode)
		}
	}
}

// TestManyCallers: many at once, with the same ids and tokens; each gets its own answers.
func TestManyCallers(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"per principal": func(*Options) {},
		"shared":        func(o *Options) { o.Shared = true },
		"stateless":     func(o *Options) { o.Stateful = false },
		"both":          func(o *Options) { o.Shared, o.Stateful = true, false },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "rude", change)
			pids := make([]map[string]bool, 6)
			var all sync.WaitGroup
			for n := range pids {
				pids[n] = map[string]bool{}
				c := w.join(fmt.Sprintf("agents/%d", n))
				var mu sync.Mutex
				for range 4 {
					all.Go(func() {
						for i := range 40 {
							want := fmt.Sprintf("%s %d %d", c.name, i, time.Now().UnixNano())
							kind := []string{"echo", "late", "foreign", "progress"}[i%4]
							got := c.call(strconv.Itoa(i), kind, want)
							pid, text, _ := strings.Cut(got, " ")
							switch {
							case i%4 > 1:
								if got != map[string]string{"foreign": "own", "progress": "done"}[kind] {
									t.Errorf("%s: %s", kind, got)
								}
							case text != want:
								t.Errorf("got %q, want %q", text, want)
							default:
								mu.Lock()
								pids[n][pid] = true
								mu.Unlock()
							}
						}
					})
				}
			}
			all.Wait()
			seen := map[string]int{}
			for n, own := range pids {
				for pid := range own {
					seen[pid]++
				}
				if len(own) != 1 {
					t.Errorf("caller %d was answered by %d children", n, len(own))
				}
			}
			if want := map[bool]int{true: 1, false: len(pids)}[w.bridge.options.Shared]; len(seen) != want {
				t.Errorf("%d children answered, want %d", len(seen), want)
			}
		})
	}
}

// TestConversation: what the child asks, tells and counts reaches the one whom it is for.
func TestConversation(t *testing.T) {
	w := newWorld(t, "rude")
	alice, bob := w.join("agents/alice"), w.join("agents/bob")
	_, all := alice.post(tool(`"a"`, "progress", ""))
	if len(all) != 4 || !strings.Contains(all[0], `"progressToken":"p a"`) || content(t, `"a"`, all[3]) != "done" {
		t.Errorf("progress: %q", all)
	}
	// The child asks on the stream of the call.
	response := alice.do(t.Context(), http.MethodPost, tool("7", "ask", ""))
	defer response.Body.Close()
	if status, _ := bob.post(`{"jsonrpc":"2.0","id":"ask-1","result":{"of":"bob"}}`); status != http.StatusAccepted {
		t.Errorf("bob: %d", status)
	}
	if status, _ := alice.post(`{"jsonrpc":"2.0","id":"ask-1","result":{"of":"alice"}}`); status != http.StatusAccepted {
		t.Errorf("alice: %d", status)
	}
	got := messages(t, response)
	if len(got) != 2 || !strings.Contains(got[0], `"roots/list"`) || content(t, "7", got[1]) != `{"of":"alice"}` {
		t.Errorf("asked: %q", got)
	}
	// A call that is cancelled ends, and the child knows; the stream of the session tells.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream := alice.do(ctx, http.MethodGet, "")
	defer stream.Body.Close()
	again := alice.do(t.Context(), http.MethodGet, "")
	_ = again.Body.Close()
	if stream.StatusCode != http.StatusOK || again.StatusCode != http.StatusConflict {
		t.Errorf("streams: %d and %d", stream.StatusCode, again.StatusCode)
	}
	ended := make(chan string, 1)
	go func() { ended <- alice.call(`"long"`, "never", "") }()
	eventually(t, "the call has begun", func() bool {
		s := w.bridge.sessions.find(alice.name, alice.session)
		return s.child.find(s, []byte(`"long"`)) != nil
	})
	if status, _ := alice.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"other"}}`); status != http.StatusAccepted {
		t.Errorf("cancelled: %d", status)
	}
	if status, _ := alice.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"long"}}`); status != http.StatusAccepted {
		t.Errorf("cancelled: %d", status)
	}
	if got := <-ended; !strings.HasPrefix(got, "error -32800 ") {
		t.Errorf("cancelled: %q", got)
	}
	line := make([]byte, 256)
	n, err := stream.Body.Read(line)
	if err != nil || !strings.Contains(string(line[:n]), "cancelled ") {
		t.Errorf("the stream says %q, %v", line[:n], err)
	}
}

// TestFlood: who does not read costs itself messages, and nobody else anything.
func TestFlood(t *testing.T) {
	w := newWorld(t, "rude")
	alice := w.join("agents/alice")
	_, all := alice.post(tool("1", "flood", ""))
	if content(t, "1", all[len(all)-1]) != "flooded" || len(all) > 5001 {
		t.Errorf("%d messages, the last is %q", len(all), all[len(all)-1])
	}
}

// TestShared: a shared child is not asked to keep something for one caller, and cannot ask one.
func TestShared(t *testing.T) {
	w := newWorld(t, "rude", func(o *Options) { o.Shared = true })
	alice, bob := w.join("agents/alice"), w.join("agents/bob")
	for _, unwanted := range []string{"logging", "subscribe", "roots"} {
		if strings.Contains(alice.extra, unwanted) {
			t.Errorf("%s is in %s", unwanted, alice.extra)
		}
	}
	for _, method := range []string{"logging/setLevel", "resources/subscribe", "resources/unsubscribe"} {
		if _, all := alice.post(`{"jsonrpc":"2.0","id":1,"method":"` + method + `"}`); len(all) != 1 || !strings.Contains(all[0], "-32601") {
			t.Errorf("%s: %q", method, all)
		}
	}
	if got := alice.call("1", "ask", ""); !strings.Contains(got, "no client to ask") {
		t.Errorf("asked: %q", got)
	}
	// What the child says to nobody in particular could be about somebody else.
	if _, all := bob.post(tool("1", "flood", "")); len(all) != 1 {
		t.Errorf("%d messages", len(all))
	}
}

// TestStateless: there are no sessions, so any replica answers.
func TestStateless(t *testing.T) {
	w := newWorld(t, "rude", func(o *Options) { o.Stateful = false })
	alice := w.join("agents/alice")
	if alice.session != "" {
		t.Error("there is a session")
	}
	another := newWorld(t, "rude", func(o *Options) { o.Stateful = false })
	elsewhere := &caller{w: another, name: "agents/alice"}
	if got := elsewhere.call("1", "echo", "x"); !strings.HasSuffix(got, " x") {
		t.Errorf("got %q", got)
	}
	for _, verb := range []string{http.MethodGet, http.MethodDelete} {
		response := alice.do(t.Context(), verb, "")
		_ = response.Body.Close()
		if response.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", verb, response.StatusCode)
		}
	}
}

// TestLimits: the child that was idle for longest makes room; when all are in use the caller is told to come back.
func TestLimits(t *testing.T) {
	w := newWorld(t, "rude", func(o *Options) { o.MaxChildren = 2 })
	alice, bob := w.join("agents/alice"), w.join("agents/bob")
	if got := alice.call("1", "echo", ""); got == "" {
		t.Error("no answer")
	}
	carol := w.join("agents/carol") // ends bob's
	if status, _ := bob.post(tool("1", "echo", "x")); status != http.StatusNotFound {
		t.Errorf("bob: %d", status)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, c := range []*caller{alice, carol} {
		stream := c.do(ctx, http.MethodGet, "")
		defer stream.Body.Close()
	}
	late := &caller{w: w, name: "agents/dave"}
	response := late.do(t.Context(), http.MethodPost, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}`)
	defer response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
		t.Errorf("dave: %d", response.StatusCode)
	}
}

// TestNobodyTakesAllChildren: a caller that begins with other capabilities again and again ends its own children and nobody else's.
func TestNobodyTakesAllChildren(t *testing.T) {
	w := newWorld(t, "rude", func(o *Options) { o.MaxChildren = 4 })
	bob := w.join("agents/bob")
	for i := range 6 {
		mallory := &caller{w: w, name: "agents/mallory"}
		if status, all := mallory.post(fmt.Sprintf(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"experimental":{"n":%d}},"clientInfo":{"name":"t","version":"1"}}}`, i)); status != http.StatusOK {
			t.Fatalf("%d %q", status, all)
		}
	}
	// The child that told which revisions the server speaks may be there for a moment, too.
	eventually(t, "there are bob's child and two of mallory's", func() bool { return w.children() <= 3 })
	if got := bob.call("1", "echo", "mine"); !strings.HasSuffix(got, "mine") {
		t.Errorf("bob's child has ended: %q", got)
	}
}

// TestIdle: a child that nobody uses ends, and so do its sessions.
func TestIdle(t *testing.T) {
	w := newWorld(t, "rude", func(o *Options) { o.IdleTimeout = time.Second })
	alice := w.join("agents/alice")
	eventually(t, "the child ends", func() bool { return w.children() == 0 })
	if status, _ := alice.post(tool("1", "echo", "x")); status != http.StatusNotFound {
		t.Errorf("after it: %d", status)
	}
	if got := w.join("agents/alice").call("1", "echo", "x"); !strings.HasSuffix(got, " x") {
		t.Errorf("a new one: %q", got)
	}
}

// TestDrain: what is in flight is answered, what would never end is ended, and no child is left.
func TestDrain(t *testing.T) {
	w := newWorld(t, "stubborn")
	alice := w.join("agents/alice")
	pid, _, _ := strings.Cut(alice.call("1", "echo", ""), " ")
	stream := alice.do(t.Context(), http.MethodGet, "")
	defer stream.Body.Close()
	answer := make(chan string, 1)
	response := alice.do(t.Context(), http.MethodPost, tool("2", "ask", ""))
	defer response.Body.Close()
	go func() {
		all := messages(t, response)
		answer <- content(t, "2", all[len(all)-1])
	}()
	eventually(t, "the call has begun", func() bool {
		s := w.bridge.sessions.find(alice.name, alice.session)
		return s.child.find(s, []byte("2")) != nil
	})
	// The answer to what the child asks comes on a connection of before.
	keep := alice.do(t.Context(), http.MethodPost, `{"jsonrpc":"2.0","id":"ask-1","result":{}}`)
	_ = keep.Body.Close()
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if got := <-answer; got != "{}" {
		t.Errorf("the call in flight: %q", got)
	}
	if n, err := stream.Body.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the stream has not ended: %d %v", n, err)
	}
	if _, err := os.Stat("/proc/" + pid); err == nil {
		t.Errorf("the child %s is still there", pid)
	}
}

// TestLog: what children write is there, without what looks like a secret.
func TestLog(t *testing.T) {
	w := newWorld(t, "rude")
	w.join("agents/alice")
	eventually(t, "the line of the child", func() bool { return strings.Contains(w.log.String(), `"line":"hello from a child, [redacted]"`) })
	if strings.Contains(w.log.String(), "hunter2") {
		t.Error("the log has a password")
	}
}
