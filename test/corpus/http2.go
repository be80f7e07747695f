package corpus

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Frames are a request as HTTP/2 has it, field by field.
type Frames struct {
	// Fields are lines of the header, "name: value": in the place of a good request's of that name, or behind all of them. First go
	// before all of them, Last behind, and Without are not there.
	Fields  []string `json:"fields,omitempty"`
	First   []string `json:"first,omitempty"`
	Last    []string `json:"last,omitempty"`
	Without []string `json:"without,omitempty"`
	// Trailers come behind the body, and More is a body behind the end.
	Trailers []string `json:"trailers,omitempty"`
	More     string   `json:"more,omitempty"`
}

// fields are those of the header: a good request's, changed.
func (r *Request) fields(body []byte) (all [][2]string) {
	f := r.HTTP2
	good := []string{":method: POST", ":scheme: https", ":authority: " + Host, ":path: /mcp", "authorization: Bearer KEY", "content-type: application/json",
		"accept: application/json, text/event-stream", "mcp-protocol-version: 2025-11-25", "content-length: " + strconv.Itoa(len(body))}
	others := slices.Clone(f.Fields)
	lines := slices.Clone(f.First)
	for _, line := range good {
		name, _ := field(line)
		of := func(other string) bool { n, _ := field(other); return n == name }
		switch {
		case slices.Contains(f.Without, name):
		case slices.ContainsFunc(others, of):
			for _, other := range others {
				if of(other) {
					lines = append(lines, other)
				}
			}
			others = slices.DeleteFunc(others, of)
		default:
			lines = append(lines, line)
		}
	}
	for _, line := range slices.Concat(lines, others, f.Last) {
		name, value := field(line)
		all = append(all, [2]string{name, value})
	}
	return all
}

// field divides a line; the name may begin with a colon.
func field(line string) (name, value string) {
	at := strings.Index(line[1:], ": ") + 1
	if at == 0 {
		return line, ""
	}
	return line[:at], line[at+2:]
}

// SendHTTP2 sends a request that is one of HTTP/2 over a connection, and returns the status of its answer; 0 where there is none.
func (r *Request) SendHTTP2(t testing.TB, conn net.Conn, c Credentials) (status int) {
	t.Helper()
	body := []byte(r.Body)
	if len(body) == 0 {
		body = []byte(Good().Body)
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	encode := func(name, value string) []byte {
		if err := encoder.WriteField(hpack.HeaderField{Name: name, Value: c.replace(value)}); err != nil {
			t.Fatal(err)
		}
		return block.Bytes()
	}
	framer := http2.NewFramer(conn, conn)
	framer.AllowIllegalWrites = true
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for _, f := range r.fields(body) {
		encode(f[0], f[1])
	}
	header := bytes.Clone(block.Bytes())
	block.Reset()
	for _, line := range r.HTTP2.Trailers {
		encode(field(line))
	}
	trailer := block.Bytes()
	go func() {
		// The other side may end it at any time.
		_, _ = io.WriteString(conn, http2.ClientPreface)
		_ = framer.WriteSettings()
		first := header[:min(len(header), 16<<10)]
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndHeaders: len(first) == len(header)})
		for rest := header[len(first):]; len(rest) > 0; {
			next := rest[:min(len(rest), 16<<10)]
			rest = rest[len(next):]
			_ = framer.WriteContinuation(1, len(rest) == 0, next)
		}
		_ = framer.WriteData(1, len(trailer) == 0, body)
		if len(trailer) > 0 {
			_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: trailer, EndHeaders: true, EndStream: true})
		}
		if r.HTTP2.More != "" {
			_ = framer.WriteData(1, true, []byte(r.HTTP2.More))
		}
	}()
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return status
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			if n, err := strconv.Atoi(f.PseudoValue("status")); err == nil && n >= 200 {
				status = n
			}
			if f.StreamEnded() {
				return status
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				return status
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return status
		}
	}
}
