// Command mcpclient is an MCP client for demonstrations and tests: the client of the MCP Go SDK behind flags, in one
// static binary that runs in a pod built from an empty image. It prints what happened as one JSON object, and its exit
// code says which kind of thing it was.
//
//	mcpclient list --url https://… --key-file … [--cert … --key …] --ca …
//	mcpclient call --url … --tool NAME --args JSON
//	mcpclient load --url … --tool NAME --for 60s --parallel 8
//	mcpclient keys --url … --connect host:port   tries keys that come on standard input, in lines of the form "client key"
//	mcpclient watch --url … --connect host:port  says when the server begins or ceases to answer, one JSON object a line
//	mcpclient users --client NAME… --server URL…  load of many clients until told to end, with /NAME/api-key and so on
//	mcpclient account                            what the users of this pod have met
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

	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

type settings struct {
	url, keyFile, certFile, certKeyFile, caFile string
	headers                                     headerFlag
	revision                                    string
	tool, args                                  string
	address                                     string
	timeout, duration, pause                    time.Duration
	parallel                                    int
	fresh, reread                               bool
	connect, root                               string
	clients, urls                               listFlag
}

type listFlag []string

func (l *listFlag) String() string { return strings.Join(*l, ",") }

func (l *listFlag) Set(text string) error {
	*l = append(*l, text)
	return nil
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
	done := run(ctx, os.Args[1:])
	if done.Outcome == result.Usage {
		fmt.Fprintln(os.Stderr, done.Message)
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(done); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(result.Failed.ExitCode())
	}
	os.Exit(done.Outcome.ExitCode())
}

func run(ctx context.Context, arguments []string) result.Result {
	if len(arguments) == 0 {
		return result.Result{Outcome: result.Usage, Message: "usage: mcpclient list|call|load|keys|watch|users|account|dial|wait [flags]"}
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
	flags.BoolVar(&s.reread, "reread", false, "read the credentials' files again for each request and each handshake")
	flags.StringVar(&s.connect, "connect", "", "host:port to connect to in place of the URL's: one replica")
	flags.Var(&s.clients, "client", "name of a client; its credentials are in a folder of this name (users); may be repeated")
	flags.StringVar(&s.root, "root", "/", "folder of the clients' folders (users, keys)")
	flags.Var(&s.urls, "server", "URL of an MCP endpoint (users); may be repeated")
	if err := flags.Parse(arguments[1:]); err != nil {
		return result.Result{Outcome: result.Usage, Message: err.Error()}
	}
	switch arguments[0] {
	case "list":
		return attempt(ctx, s, list)
	case "call":
		return attempt(ctx, s, call)
	case "load":
		return load(ctx, s)
	case "keys":
		return tryKeys(ctx, s, os.Stdin)
	case "watch":
		return watch(ctx, s, os.Stdout)
	case "users":
		return users(ctx, s)
	case "account":
		return account(ctx)
	case "dial":
		return dial(ctx, s)
	case "wait":
		<-ctx.Done()
		return result.Result{Outcome: result.OK}
	default:
		return result.Result{Outcome: result.Usage, Message: "unknown command " + arguments[0]}
	}
}

// attempt makes one session, does one thing in it and says what became of it.
func attempt(ctx context.Context, s settings, do func(context.Context, settings, *mcp.ClientSession) (result.Result, error)) result.Result {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	connection, err := newConnection(s)
	if err != nil {
		return result.Result{Outcome: result.Usage, Message: err.Error()}
	}
	session, err := connection.open(ctx)
	if err != nil {
		return connection.failure(err)
	}
	done, err := do(ctx, s, session)
	if err != nil {
		done = connection.failure(err)
	}
	done.Protocol = session.InitializeResult().ProtocolVersion
	connection.drop(session)
	return done
}

func list(ctx context.Context, _ settings, session *mcp.ClientSession) (result.Result, error) {
	done := result.Result{Outcome: result.OK, Tools: []string{}}
	for tool, err := range session.Tools(ctx, nil) {
		if err != nil {
			return result.Result{}, err
		}
		done.Tools = append(done.Tools, tool.Name)
	}
	return done, nil
}

func call(ctx context.Context, s settings, session *mcp.ClientSession) (result.Result, error) {
	answer, err := session.CallTool(ctx, &mcp.CallToolParams{Name: s.tool, Arguments: json.RawMessage(s.args)})
	if err != nil {
		return result.Result{}, err
	}
	done := result.Result{Outcome: result.OK, Text: text(answer)}
	if answer.IsError {
		done.Outcome = result.ToolError
	}
	return done, nil
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
