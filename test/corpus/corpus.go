// Package corpus has the hostile requests that README.md describes.
package corpus

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
)

//go:embed requests.jsonl
var requests []byte

// Host is the host name that the requests are for.
const Host = "gate.test"

// Condition is what a call of the tool copy must meet, in CEL.
const Condition = `arguments.path.startsWith("/pub/") && !arguments.path.contains("..") && !has(arguments.force)`

// Request is one hostile request.
type Request struct {
	Category string            `json:"category"`
	Name     string            `json:"name"`
	Line     string            `json:"line,omitempty"`
	Set      map[string]string `json:"set,omitempty"`
	Unset    []string          `json:"unset,omitempty"`
	Add      []string          `json:"add,omitempty"`
	Body     string            `json:"body,omitempty"`
	Hex      string            `json:"hex,omitempty"`
	Raw      string            `json:"raw,omitempty"`
	Token    *Token            `json:"token,omitempty"`
	Stalls   bool              `json:"stalls,omitempty"`
	HTTP2    *Frames           `json:"http2,omitempty"`
	Want     Verdict           `json:"want"`
}

// Verdict is what a request gets: the status, 0 for a connection that is closed without an answer, and the reasons in the
// audit log; none where the HTTP server refuses it before it is a request.
type Verdict struct {
	Status int    `json:"status"`
	Reason string `json:"reason"`
}

// Requests returns the requests of the corpus.
func Requests() (all []Request, err error) {
	names := map[string]bool{}
	for line := range bytes.Lines(requests) {
		var r Request
		decoder := json.NewDecoder(bytes.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&r); err != nil {
			return nil, fmt.Errorf("%w: %s", err, line)
		}
		name := r.Category + "/" + r.Name
		if names[name] {
			return nil, fmt.Errorf("%s is there twice", name)
		}
		names[name] = true
		all = append(all, r)
	}
	return all, nil
}

// Good is a request that each of the others spoils.
func Good() *Request {
	return &Request{Body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","arguments":{"name":"x"}}}`}
}

// Credentials are what stands for the words of the requests.
type Credentials struct {
	// Alice may call, and so may Carol; Bob may nothing. They are API keys.
	Alice, Bob, Carol string
	// Mine and Theirs are sessions of alice's and of carol's. MyEvent is an event of another session of alice's, TheirEvent one of
	// carol's session.
	Mine, MyEvent, Theirs, TheirEvent string
	// Issuer is who issues tokens, Stranger somebody who would be that.
	Issuer, Stranger *gatetest.Issuer
}

// replace puts them into a text.
func (c Credentials) replace(text string) string {
	if text == "" {
		return ""
	}
	other := "a"
	if strings.HasSuffix(c.Alice, other) {
		other = "b"
	}
	cut := c.Alice[:len(c.Alice)-1]
	return strings.NewReplacer("KEY", c.Alice, "CUT", cut, "UPPER", strings.ToUpper(c.Alice), "WRONG", cut+other, "BOB", c.Bob, "CAROL", c.Carol,
		"PUBLIC", strings.Split(c.Alice, "_")[1], "MYEVENT", c.MyEvent, "THEIREVENT", c.TheirEvent, "MINE", c.Mine, "THEIRS", c.Theirs).Replace(text)
}

// Bytes is the request as it goes over the connection.
func (r *Request) Bytes(t testing.TB, c Credentials) ([]byte, error) {
	t.Helper()
	if r.Raw != "" {
		return []byte(c.replace(r.Raw)), nil
	}
	body := []byte(r.Body)
	if r.Hex != "" {
		var err error
		if body, err = hex.DecodeString(r.Hex); err != nil {
			return nil, err
		}
	}
	if r.Token != nil && len(body) == 0 {
		body = []byte(Good().Body)
	}
	line := r.Line
	if line == "" {
		line = "POST /mcp HTTP/1.1"
	}
	lines := append(append([]string{line}, r.header()...), fmt.Sprintf("Content-Length: %d", len(body)))
	head := c.replace(strings.Join(lines, "\r\n") + "\r\n\r\n")
	if r.Token != nil {
		head = strings.ReplaceAll(head, "TOKEN", r.Token.text(t, c.Issuer, c.Stranger))
	}
	return append([]byte(head), body...), nil
}

// ReadAnswer reads the answer to a request, without interim ones.
func ReadAnswer(conn io.Reader) (*http.Response, error) {
	in := bufio.NewReader(conn)
	for {
		response, err := http.ReadResponse(in, nil)
		if err != nil || response.StatusCode >= http.StatusOK {
			return response, err
		}
	}
}

// header returns the lines of the header but for the length.
func (r *Request) header() (lines []string) {
	set := map[string]string{}
	for name, value := range r.Set {
		set[strings.ToLower(name)] = name + ": " + value
	}
	unset := " " + strings.ToLower(strings.Join(r.Unset, " ")) + " "
	add := func(name, line string) {
		if !strings.Contains(unset, " "+name+" ") {
			lines = append(lines, line)
		}
	}
	credential := "KEY"
	if r.Token != nil {
		credential = "TOKEN"
	}
	for _, field := range [][2]string{
		{"Host", Host}, {"Authorization", "Bearer " + credential}, {"Content-Type", "application/json"}, {"Accept", "application/json, text/event-stream"},
		{"MCP-Protocol-Version", "2025-11-25"},
	} {
		name := strings.ToLower(field[0])
		line := field[0] + ": " + field[1]
		if other, ok := set[name]; ok {
			line = other
			delete(set, name)
		}
		add(name, line)
	}
	var others []string
	for name := range set {
		others = append(others, name)
	}
	slices.Sort(others)
	for _, name := range others {
		add(name, set[name])
	}
	return append(lines, r.Add...)
}
