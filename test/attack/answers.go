package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bartizan-dev/bartizan/test/corpus"
)

// marked are the answers of the corpus that have something which no caller may get, and an end: programs wait for others as long as they like.
func marked() ([]corpus.Answer, error) {
	all, err := corpus.Answers()
	return slices.DeleteFunc(all, func(a corpus.Answer) bool {
		return !a.Marked() || a.Leaves || a.End == "silence" || a.Endless != "" && a.Times == 0
	}), err
}

// asks is the request that an answer is to.
func asks(kind string) *corpus.Request {
	body := func(text string) *corpus.Request { return &corpus.Request{Body: text} }
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"x","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
	modern := func(r *corpus.Request, method string) *corpus.Request {
		r.Set = map[string]string{"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
		return r
	}
	switch kind {
	case "tools", "prompts", "resources", "resources/templates":
		return body(`{"jsonrpc":"2.0","id":1,"method":"` + kind + `/list"}`)
	case "read":
		return body(`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///pub/a"}}`)
	case "modern":
		r := modern(body(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet",`+meta+`}}`), "tools/call")
		r.Set["Mcp-Name"] = "greet"
		return r
	case "modern tools":
		return modern(body(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{`+meta+`}}`), "tools/list")
	case "initialize":
		return body(initialize)
	case "notification":
		return body(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	case "GET", "DELETE":
		return &corpus.Request{Line: kind + " /mcp HTTP/1.1", Set: map[string]string{"Accept": "text/event-stream"}}
	}
	return corpus.Good()
}

// listen has a server give the answers to a program's requests, one after another, with a good one after each, and notes of which of them
// something that is marked came back, with them or with the good one.
func (w *world) listen(ctx context.Context, start start, answers []corpus.Answer, reached map[int]bool) error {
	server := corpus.NewLiar(must{})
	defer server.Close()
	t, err := start(ctx, server.Addr().String())
	if err != nil {
		return err
	}
	defer func() { _ = t.stop() }()
	has := func(request *corpus.Request) (status int, has bool, err error) {
		answer, err := w.send(t, w.alice, request, w.known)
		var head bytes.Buffer
		_ = answer.header.Write(&head)
		return answer.status, strings.Contains(head.String()+answer.body, corpus.Marker), err
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		status, _, err := has(corpus.Good())
		if status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			return notGood("answer", status, err)
		}
	}
	for i := range answers {
		server.Next(&answers[i])
		_, now, err := has(asks(answers[i].Request))
		if err != nil {
			return fmt.Errorf("%s/%s: %w", answers[i].Category, answers[i].Name, err)
		}
		server.Forget()
		_, later, err := has(corpus.Good())
		if err != nil {
			return fmt.Errorf("after %s/%s: %w", answers[i].Category, answers[i].Name, err)
		}
		reached[i] = now || later
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

const answersHead = `
## What of an answer reaches the caller

The same programs stand before a server that gives the %d answers of the corpus which have something that no caller may get: a header or a cookie, a text of
the server's own, a tool that is not granted, a second answer, a message behind the end. The table has of how many something came back, with the answer or with the
next one; no lists, since a program that does not read answers passes what they say.

`

var aboutAnswers = map[string]string{
	"id": "answers to another request", "parser": "messages that two parsers read differently", "list": "lists of what is not granted",
	"framing": "answers whose end is unclear", "status": "errors, redirects and demands", "header": "headers and cookies", "event": "events of streams",
}

// answersPage is the table of the answers.
func answersPage(answers []corpus.Answer, results []result) []byte {
	var categories []string
	all := map[string]int{}
	for i := range answers {
		if all[answers[i].Category]++; all[answers[i].Category] == 1 {
			categories = append(categories, answers[i].Category)
		}
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, answersHead, len(answers))
	writeHead(&out, "Answers", results)
	for _, category := range categories {
		fmt.Fprintf(&out, "| %s: %s | %d |", category, aboutAnswers[category], all[category])
		for _, r := range results {
			n := 0
			for i, reached := range r.answered {
				if reached && answers[i].Category == category {
					n++
				}
			}
			fmt.Fprintf(&out, " %d |", n)
		}
		out.WriteString("\n")
	}
	return out.Bytes()
}
