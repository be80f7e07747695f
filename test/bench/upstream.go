package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// answers are the kinds of servers: what they answer to any POST.
//
//	call      a small JSON answer
//	list:N    a list of N tools, every other one of which the client may call
//	stream:N  a stream of N events: the first at once, the others once GET /release was asked
//
// GET /count is answered with the number of tools/call so far: the gate lists on its own account.
func answers(kind string) (head, body []byte, events int, err error) {
	name, number, _ := strings.Cut(kind, ":")
	n := 0
	if number != "" {
		if n, err = strconv.Atoi(number); err != nil {
			return nil, nil, 0, err
		}
	}
	switch name {
	case "call":
		body = []byte(`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"` + strings.Repeat("the answer of a tool ", 10) + `"}],"isError":false}}`)
	case "list":
		body = toolList(n)
	case "stream":
		return []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"), nil, n, nil
	default:
		return nil, nil, 0, fmt.Errorf("unknown kind of server %q", kind)
	}
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body)), body, 0, nil
}

// toolList is an answer to tools/list like those of real servers.
func toolList(n int) []byte {
	var list bytes.Buffer
	list.WriteString(`{"jsonrpc":"2.0","id":1,"result":{"tools":[`)
	for i := range n {
		if i > 0 {
			list.WriteByte(',')
		}
		fmt.Fprintf(&list, `{"name":"%s","title":"Tool %d","description":"Does one thing to another thing in a namespace, and says what became of it.","inputSchema":{"type":"object",`+
			`"properties":{"namespace":{"type":"string","description":"where"},"labelSelector":{"type":"string"},"limit":{"type":"integer","minimum":1}},"required":["namespace"]},`+
			`"annotations":{"readOnlyHint":true,"openWorldHint":false}}`, toolName(i), i)
	}
	list.WriteString(`]}}`)
	return list.Bytes()
}

// toolName is the name of the tool at a place of the list; those at even places may be called.
func toolName(i int) string {
	if i%2 == 0 {
		return fmt.Sprintf("get_%d", i)
	}
	return fmt.Sprintf("drop_%d", i)
}

// upstream is the server behind all: as little as HTTP/1.1 needs, so that it is no bound.
type upstream struct {
	head, body []byte
	events     int
	count      atomic.Int64
	// release is closed when the streams that wait for it may go on.
	release atomic.Pointer[chan struct{}]
}

// wait returns what streams that begin now wait for.
func (u *upstream) wait() <-chan struct{} { return *u.release.Load() }

// letGo releases the streams that wait, and none that begin later.
func (u *upstream) letGo() {
	next := make(chan struct{})
	close(*u.release.Swap(&next))
}

// serveUpstream serves an address with a kind of answer until the process ends.
func serveUpstream(address, kind string) error {
	head, body, events, err := answers(kind)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	u := &upstream{head: head, body: body, events: events}
	first := make(chan struct{})
	u.release.Store(&first)
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			if err := u.serve(conn); !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				fmt.Fprintln(os.Stderr, "upstream:", err)
			}
		}()
	}
}

func (u *upstream) serve(conn net.Conn) error {
	reader := bufio.NewReaderSize(conn, 4<<10)
	whole := append(append([]byte{}, u.head...), u.body...)
	for {
		line, length, err := readRequest(reader)
		if err != nil {
			return err
		}
		begins, err := reader.Peek(min(length, 128))
		if err != nil {
			return err
		}
		if bytes.Contains(begins, []byte(`"tools/call"`)) {
			u.count.Add(1)
		}
		if _, err := reader.Discard(length); err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(line, "GET /count "):
			text := strconv.FormatInt(u.count.Load(), 10)
			_, err = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
		case strings.HasPrefix(line, "GET /release "):
			u.letGo()
			_, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		case u.events > 0:
			err = u.stream(conn)
		default:
			_, err = conn.Write(whole)
		}
		if err != nil {
			return err
		}
	}
}

// readRequest reads a request's head and returns its first line and the length of its body.
func readRequest(reader *bufio.Reader) (line string, length int, err error) {
	for {
		text, err := reader.ReadSlice('\n')
		if err != nil {
			return "", 0, err
		}
		text = bytes.TrimRight(text, "\r\n")
		switch {
		case len(text) == 0:
			return line, length, nil
		case line == "":
			line = string(text)
		case len(text) > 15 && text[14] == ':' && textproto.CanonicalMIMEHeaderKey(string(text[:14])) == "Content-Length":
			if length, err = strconv.Atoi(string(bytes.TrimSpace(text[15:]))); err != nil {
				return "", 0, err
			}
		}
	}
}

func (u *upstream) stream(conn net.Conn) error {
	released := u.wait()
	event := func(data string) string {
		text := "event: message\ndata: " + data + "\n\n"
		return fmt.Sprintf("%x\r\n%s\r\n", len(text), text)
	}
	progress := event(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"a part of the work is done, and the next begins"}}`)
	if _, err := conn.Write(append(append([]byte{}, u.head...), progress...)); err != nil {
		return err
	}
	select {
	case <-released:
	case <-time.After(5 * time.Minute):
		return errors.New("nobody asked for the rest of a stream")
	}
	for range u.events - 2 {
		if _, err := io.WriteString(conn, progress); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	_, err := io.WriteString(conn, event(`{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)+"0\r\n\r\n")
	return err
}
