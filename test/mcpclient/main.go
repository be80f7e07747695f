// Command mcpclient is an MCP client for demonstrations and tests: the client of the MCP Go SDK behind flags, in one
// static binary that runs in a pod built from an empty image. It prints what happened as one JSON object, and its exit
// code says which kind of thing it was.
//
//	mcpclient list --url https://… --key-file … [--cert … --key …] --ca …
//	mcpclient call --url … --tool NAME --args JSON
//	mcpclient load --url … --tool NAME --for 60s --parallel 8
//	mcpclient dial --address host:port
//	mcpclient wait
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Outcome is what became of an attempt, as a word; exitCodes has its number.
type Outcome string

// The outcomes.
const (
	OK           Outcome = "ok"
	Failed       Outcome = "failed"
	Usage        Outcome = "usage"
	NoConnection Outcome = "no-connection"
	TLSRefused   Outcome = "tls-refused"
	Unauthorized Outcome = "unauthorized"
	Forbidden    Outcome = "forbidden"
	ToolError    Outcome = "tool-error"
)

var exitCodes = map[Outcome]int{
	OK: 0, Failed: 1, Usage: 2, NoConnection: 3, TLSRefused: 4, Unauthorized: 5, Forbidden: 6, ToolError: 7,
}

// Result is what is printed.
type Result struct {
	Outcome Outcome `json:"outcome"`
	// Status is the HTTP status of the answer that decided; 0 without one.
	Status int `json:"status,omitempty"`
	// Message is the error, in the server's words where it answered.
	Message string `json:"message,omitempty"`
	// Text is the text content of a tool's answer.
	Text string `json:"text,omitempty"`
	// Tools are the listed tools.
	Tools []string `json:"tools,omitempty"`
	// Protocol is the negotiated revision of MCP.
	Protocol string `json:"protocol,omitempty"`
	// Load is the account of a load.
	Load *Load `json:"load,omitempty"`
}

type settings struct {
	url, keyFile, certFile, certKeyFile, caFile string
	headers                                     headerFlag
	revision                                    string
	tool, args                                  string
	address                                     string
	timeout, duration, pause                    time.Duration
	parallel                                    int
	fresh                                       bool
}

type headerFlag [][2]string

func (h *headerFlag) String() string { return "" }

func (h *headerFlag) Set(text string) error {
	name, value, ok := strings.Cut(text, ":")
	if !ok {
		return errors.New("want Name: value")
	}
	*h = append(*h, [2]string{name, strings.TrimSpace(value)})
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	result := run(ctx, os.Args[1:])
	if result.Outcome == Usage {
		fmt.Fprintln(os.Stderr, result.Message)
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(result); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitCodes[Failed])
	}
	os.Exit(exitCodes[result.Outcome])
}

func run(ctx context.Context, arguments []string) Result {
	if len(arguments) == 0 {
		return Result{Outcome: Usage, Message: "usage: mcpclient list|call|load|dial|wait [flags]"}
	}
	var s settings
	flags := flag.NewFlagSet("mcpclient "+arguments[0], flag.ContinueOnError)
	flags.StringVar(&s.url, "url", "", "URL of the MCP endpoint")
	flags.StringVar(&s.keyFile, "key-file", "", "file with the API key; none is sent without it")
	flags.StringVar(&s.certFile, "cert", "", "client certificate, PEM")
	flags.StringVar(&s.certKeyFile, "key", "", "private key of the client certificate, PEM")
	flags.StringVar(&s.caFile, "ca", "", "authorities of the server's certificate, PEM; the system's without it")
	flags.Var(&s.headers, "header", "a further header, \"Name: value\"; may be repeated")
	flags.StringVar(&s.revision, "revision", "", "revision of MCP to begin with, such as 2025-11-25; the newest without it")
	flags.StringVar(&s.tool, "tool", "", "name of the tool (call, load)")
	flags.StringVar(&s.args, "args", "{}", "arguments of the tool as JSON (call, load)")
	flags.StringVar(&s.address, "address", "", "host:port (dial)")
	flags.DurationVar(&s.timeout, "timeout", 20*time.Second, "bound of one attempt")
	flags.DurationVar(&s.duration, "for", 30*time.Second, "how long (load)")
	flags.DurationVar(&s.pause, "pause", 20*time.Millisecond, "pause between the calls of one worker (load)")
	flags.IntVar(&s.parallel, "parallel", 4, "workers (load)")
	flags.BoolVar(&s.fresh, "fresh", false, "a new connection and handshake for each call (load)")
	if err := flags.Parse(arguments[1:]); err != nil {
		return Result{Outcome: Usage, Message: err.Error()}
	}
	switch arguments[0] {
	case "list":
		return attempt(ctx, s, list)
	case "call":
		return attempt(ctx, s, call)
	case "load":
		return load(ctx, s)
	case "dial":
		return dial(ctx, s)
	case "wait":
		<-ctx.Done()
		return Result{Outcome: OK}
	default:
		return Result{Outcome: Usage, Message: "unknown command " + arguments[0]}
	}
}

// attempt makes one session, does one thing in it and says what became of it.
func attempt(ctx context.Context, s settings, do func(context.Context, settings, *mcp.ClientSession) (Result, error)) Result {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	connection, err := newConnection(s)
	if err != nil {
		return Result{Outcome: Usage, Message: err.Error()}
	}
	session, err := connection.open(ctx)
	if err != nil {
		return connection.failure(err)
	}
	result, err := do(ctx, s, session)
	if err != nil {
		result = connection.failure(err)
	}
	result.Protocol = session.InitializeResult().ProtocolVersion
	connection.drop(session)
	return result
}

func list(ctx context.Context, _ settings, session *mcp.ClientSession) (Result, error) {
	result := Result{Outcome: OK, Tools: []string{}}
	for tool, err := range session.Tools(ctx, nil) {
		if err != nil {
			return Result{}, err
		}
		result.Tools = append(result.Tools, tool.Name)
	}
	return result, nil
}

func call(ctx context.Context, s settings, session *mcp.ClientSession) (Result, error) {
	answer, err := session.CallTool(ctx, &mcp.CallToolParams{Name: s.tool, Arguments: json.RawMessage(s.args)})
	if err != nil {
		return Result{}, err
	}
	result := Result{Outcome: OK, Text: text(answer)}
	if answer.IsError {
		result.Outcome = ToolError
	}
	return result, nil
}

func text(answer *mcp.CallToolResult) string {
	var parts []string
	for _, content := range answer.Content {
		if t, ok := content.(*mcp.TextContent); ok {
			parts = append(parts, t.Text)
		}
	}
	return strings.Join(parts, "\n")
}
