// Package corpus has the hostile requests that README.md describes.
package corpus

import (
	"bytes"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

//go:embed requests.jsonl
var requests []byte

// Host is the host name that the requests are for.
const Host = "gate.test"

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

// Credentials returns what stands for the names of credentials in the requests: the key of a client that may call, and that of
// one that may not.
func Credentials(alice, bob string) *strings.Replacer {
	other := "a"
	if strings.HasSuffix(alice, other) {
		other = "b"
	}
	cut := alice[:len(alice)-1]
	return strings.NewReplacer("KEY", alice, "CUT", cut, "UPPER", strings.ToUpper(alice), "WRONG", cut+other, "BOB", bob,
		"PUBLIC", strings.Split(alice, "_")[1])
}

// Bytes is the request as it goes over the connection.
func (r *Request) Bytes(credentials *strings.Replacer) ([]byte, error) {
	if r.Raw != "" {
		return []byte(credentials.Replace(r.Raw)), nil
	}
	body := []byte(r.Body)
	if r.Hex != "" {
		var err error
		if body, err = hex.DecodeString(r.Hex); err != nil {
			return nil, err
		}
	}
	line := r.Line
	if line == "" {
		line = "POST /mcp HTTP/1.1"
	}
	head := append(r.header(), fmt.Sprintf("Content-Length: %d", len(body)))
	return append([]byte(credentials.Replace(line+"\r\n"+strings.Join(head, "\r\n")+"\r\n\r\n")), body...), nil
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
	for _, field := range [][2]string{
		{"Host", Host}, {"Authorization", "Bearer KEY"}, {"Content-Type", "application/json"}, {"Accept", "application/json, text/event-stream"},
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
