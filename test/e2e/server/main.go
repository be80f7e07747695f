// Command server is an MCP server for the end-to-end tests. Its tools tell what reaches a server behind the gate: the
// headers of a request, its files, what it can connect to. It can be told to behave badly: to ignore SIGTERM, to listen on
// every interface. With --forward it is no MCP server at all, but a way to one: it passes connections on, unopened.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type server struct {
	boot     string
	requests atomic.Int64
	// says is the description of the tool echo.
	says atomic.Pointer[string]
}

func main() {
	address := flag.String("address", "127.0.0.1:8080", "address to listen on")
	ignore := flag.Bool("ignore-sigterm", false, "go on after SIGTERM, until killed")
	stateless := flag.Bool("stateless", true, "no sessions")
	says := flag.String("echo-says", "says the same", "the description of the tool echo, which the tool become changes")
	to := flag.String("forward", "", "pass connections on to this address, and do nothing else")
	pipes := flag.Bool("stdio", false, "speak over standard input and output, and listen nowhere")
	broken := flag.String("broken-gate", "", "stand at this address, too, as a gate with the control broken that --broken-file names")
	brokenFile := flag.String("broken-file", "", "file with the id of a control")
	expired := flag.String("expired", "", "folder with an expired certificate, for ENC-3")
	flag.Parse()
	if *broken != "" {
		go func() { log.Fatal(brokenGate(*broken, *address, *brokenFile, *expired)) }()
	}
	if *to != "" {
		log.Fatal(forward(*address, *to))
	}
	if *pipes {
		s := &server{boot: rand.Text()}
		s.says.Store(says)
		if err := s.mcp().Run(context.Background(), &mcp.StdioTransport{}); err != nil {
			log.Fatal(err)
		}
		return
	}
	if err := run(*address, *ignore, *stateless, *says); err != nil {
		log.Fatal(err)
	}
}

func run(address string, ignore, stateless bool, says string) error {
	s := &server{boot: rand.Text()}
	s.says.Store(&says)
	// The MCP handler checks Host for local addresses itself; the gate's requests are of that kind.
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s.mcp() },
		&mcp.StreamableHTTPOptions{Stateless: stateless})
	web := &http.Server{Addr: address, ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		handler.ServeHTTP(w, r)
	})}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() {
		for range ended {
			if ignore {
				log.Print("SIGTERM ignored")
				continue
			}
			// At once, as many servers do: whoever is still being answered is cut off.
			web.Close()
		}
	}()
	log.Printf("%s listens on %s", s.boot, address)
	if err := web.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// forward carries bytes between whoever connects and another address, as a TLS passthrough does.
func forward(address, to string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		outside, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer outside.Close()
			inside, err := net.Dial("tcp", to)
			if err != nil {
				log.Print(err)
				return
			}
			defer inside.Close()
			done := make(chan struct{}, 2)
			for _, way := range [][2]net.Conn{{inside, outside}, {outside, inside}} {
				go func() {
					_, _ = io.Copy(way[0], way[1])
					done <- struct{}{}
				}()
			}
			<-done
		}()
	}
}

type nothing struct{}

type words struct {
	Text string `json:"text" jsonschema:"what to say"`
}

type file struct {
	Path string `json:"path" jsonschema:"where it is"`
}

type pause struct {
	Milliseconds int `json:"milliseconds" jsonschema:"how long"`
}

type target struct {
	Address string `json:"address" jsonschema:"host:port"`
}

func (s *server) mcp() *mcp.Server {
	m := mcp.NewServer(&mcp.Implementation{Name: "e2e", Version: "1"}, nil)
	add(m, "echo", *s.says.Load(), func(_ context.Context, _ *mcp.CallToolRequest, in words) (string, error) {
		return in.Text, nil
	})
	add(m, "become", "changes what the tool echo says of itself", func(_ context.Context, _ *mcp.CallToolRequest, in words) (string, error) {
		s.says.Store(&in.Text)
		return "done", nil
	})
	add(m, "boot", "names this process", func(context.Context, *mcp.CallToolRequest, nothing) (string, error) {
		return s.boot, nil
	})
	add(m, "requests", "counts the HTTP requests that reached this process", func(context.Context, *mcp.CallToolRequest, nothing) (string, error) {
		return fmt.Sprint(s.requests.Load()), nil
	})
	add(m, "headers", "tells the HTTP headers of this request", func(_ context.Context, r *mcp.CallToolRequest, _ nothing) (string, error) {
		var lines []string
		for name, values := range r.Extra.Header {
			lines = append(lines, name+": "+strings.Join(values, ", "))
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n"), nil
	})
	add(m, "environment", "tells the environment of this process", func(context.Context, *mcp.CallToolRequest, nothing) (string, error) {
		return strings.Join(os.Environ(), "\n"), nil
	})
	add(m, "file", "tells a file of the container, if this process may read it", func(_ context.Context, _ *mcp.CallToolRequest, in file) (string, error) {
		content, err := os.ReadFile(in.Path)
		return string(content), err
	})
	add(m, "sleep", "answers late", func(ctx context.Context, _ *mcp.CallToolRequest, in pause) (string, error) {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(time.Duration(in.Milliseconds) * time.Millisecond):
			return "slept", nil
		}
	})
	add(m, "dial", "opens a TCP connection from the pod", func(ctx context.Context, _ *mcp.CallToolRequest, in target) (string, error) {
		connected, err := (&net.Dialer{Timeout: 3 * time.Second}).DialContext(ctx, "tcp", in.Address)
		if err != nil {
			return "", err
		}
		connected.Close()
		return "connected", nil
	})
	return m
}

// add registers a tool that answers with one text.
func add[In any](m *mcp.Server, name, description string, do func(context.Context, *mcp.CallToolRequest, In) (string, error)) {
	mcp.AddTool(m, &mcp.Tool{Name: name, Description: description}, func(ctx context.Context, r *mcp.CallToolRequest, in In) (*mcp.CallToolResult, any, error) {
		text, err := do(ctx, r, in)
		if err != nil {
			return nil, nil, err
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
	})
}
