package corpus

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// Liar is a server that answers as it is told, and a good request well, on the same connections.
type Liar struct {
	net.Listener
	mu          sync.Mutex
	says        *Answer
	said, ended chan struct{}
}

// NewLiar starts one.
func NewLiar(t testing.TB) *Liar {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s := &Liar{Listener: l}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return s
}

// Next makes the server say a to the next request. Said is closed when what has an end is said, ended when all is, and the
// gate let go of the connection where there is no end.
func (s *Liar) Next(a *Answer) (said, ended chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.says, s.said, s.ended = a, make(chan struct{}), make(chan struct{})
	return s.said, s.ended
}

// Forget has the server answer well again, where nobody asked it for what it was to say.
func (s *Liar) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.says = nil
}

func (s *Liar) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		a, said, ended := s.says, s.said, s.ended
		s.says = nil
		s.mu.Unlock()
		if a == nil {
			var message struct{ ID json.RawMessage }
			_ = json.Unmarshal(body, &message)
			text := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"good"}]}}`, message.ID)
			if _, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(text), text); err != nil {
				return
			}
			continue
		}
		goesOn := say(conn, a, said)
		close(ended)
		if !goesOn {
			return
		}
	}
}

// say says the answer and returns whether the connection goes on.
func say(conn net.Conn, a *Answer, said chan struct{}) bool {
	text := a.Bytes()
	step := len(text)
	if a.ByByte {
		step = 1
	}
	for ; len(text) > 0; text = text[min(step, len(text)):] {
		if _, err := conn.Write(text[:min(step, len(text))]); err != nil {
			close(said)
			return false
		}
	}
	close(said)
	if a.Times > 0 {
		if _, err := conn.Write(bytes.Repeat(a.encode(a.Endless), a.Times)); err != nil {
			return false
		}
	}
	for again := a.encode(strings.Repeat(a.Endless, 1+1000/max(1, len(a.Endless)))); a.Endless != "" && a.Times == 0; {
		if _, err := conn.Write(again); err != nil {
			return false
		}
	}
	switch a.End {
	case "close":
		// Closing with something unread would take the answer back.
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		return false
	case "reset":
		_ = conn.(*net.TCPConn).SetLinger(0)
		return false
	case "silence":
		_, _ = io.Copy(io.Discard, conn)
		return false
	}
	return true
}
