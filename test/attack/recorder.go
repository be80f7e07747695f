package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

// recorder is a server that counts what reaches it, whether it understands it or not. It has sessions, with events.
type recorder struct {
	net.Listener
	requests, sessions atomic.Int64
}

func newRecorder() (*recorder, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &recorder{Listener: l}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	return r, nil
}

func (r *recorder) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		if _, err := in.Peek(1); err != nil {
			return
		}
		r.requests.Add(1)
		request, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		answer, head := `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`, "Content-Type: application/json\r\n"
		switch session := request.Header.Get("Mcp-Session-Id"); {
		case session == "" && bytes.Contains(body, []byte(`"initialize"`)):
			answer = `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"x","version":"1"}}}`
			head += fmt.Sprintf("Mcp-Session-Id: server-session-%d\r\n", r.sessions.Add(1))
		case session != "":
			answer, head = "id: 7\ndata: "+answer+"\n\n", "Content-Type: text/event-stream\r\n"
		}
		var out bytes.Buffer
		fmt.Fprintf(&out, "HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", head, len(answer), answer)
		if _, err := conn.Write(out.Bytes()); err != nil {
			return
		}
	}
}
