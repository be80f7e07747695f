package corpus

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
)

//go:embed answers.jsonl
var answers []byte

// Marker is in what no caller and no log may ever have of an answer.
const Marker = "EVIL"

// Answer is one answer of a server; README.md says what its members mean.
type Answer struct {
	Category string   `json:"category"`
	Name     string   `json:"name"`
	Request  string   `json:"request,omitempty"`
	Status   string   `json:"status,omitempty"`
	Head     []string `json:"head,omitzero"`
	Body     string   `json:"body,omitempty"`
	Events   string   `json:"events,omitempty"`
	Raw      *string  `json:"raw,omitempty"`
	Latin1   bool     `json:"latin1,omitempty"`
	ByByte   bool     `json:"byByte,omitempty"`
	Endless  string   `json:"endless,omitempty"`
	Times    int      `json:"times,omitempty"`
	End      string   `json:"end,omitempty"`
	Leaves   bool     `json:"leaves,omitempty"`
	Want     Received `json:"want"`
}

// Received is what the caller gets: the status, 0 for none; the messages, "answer", "error" or "message" each, or "cut" where
// the connection ends before the answer does, "left" where the caller does not wait for it; and the reason in the audit log.
type Received struct {
	Status int    `json:"status"`
	Gets   string `json:"gets"`
	Reason string `json:"reason"`
}

// Bytes is the answer as it goes over the connection.
func (a *Answer) Bytes() []byte {
	if a.Raw != nil {
		return a.encode(*a.Raw)
	}
	status, head, body := a.Status, a.Head, a.encode(a.Body)
	if status == "" {
		status = "200 OK"
	}
	switch {
	case a.Events != "":
		events := a.encode(a.Events)
		head = append([]string{"Content-Type: text/event-stream", "Transfer-Encoding: chunked"}, head...)
		body = fmt.Appendf(nil, "%x\r\n%s\r\n0\r\n\r\n", len(events), events)
	case head == nil:
		head = []string{"Content-Type: application/json"}
		fallthrough
	default:
		head = append(head, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	return append(a.encode("HTTP/1.1 "+status+"\r\n"+strings.Join(head, "\r\n")+"\r\n\r\n"), body...)
}

func (a *Answer) encode(text string) []byte {
	if !a.Latin1 {
		return []byte(text)
	}
	var raw []byte
	for _, r := range text {
		raw = append(raw, byte(r))
	}
	return raw
}

// Marked says whether something of the answer may not reach its caller.
func (a *Answer) Marked() bool {
	return bytes.Contains(a.Bytes(), []byte(Marker)) || strings.Contains(a.Endless, Marker)
}

// Answers returns the answers of the corpus.
func Answers() (all []Answer, err error) {
	names := map[string]bool{}
	for line := range bytes.Lines(answers) {
		var a Answer
		decoder := json.NewDecoder(bytes.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&a); err != nil {
			return nil, fmt.Errorf("%w: %s", err, line)
		}
		name := a.Category + "/" + a.Name
		if names[name] {
			return nil, fmt.Errorf("%s is there twice", name)
		}
		names[name] = true
		all = append(all, a)
	}
	return all, nil
}
