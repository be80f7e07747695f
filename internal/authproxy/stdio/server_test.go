package stdio

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// asServer makes the test's binary a server of the named kind: a child of the bridge.
const asServer = "STDIO_TEST_AS_SERVER"

func TestMain(m *testing.M) {
	switch kind := os.Getenv(asServer); kind {
	case "":
		os.Exit(m.Run())
	case "sdk":
		serveSDK()
	default:
		(&server{kind: kind, out: os.Stdout, waiting: map[string]string{}}).serve()
	}
}

// serveSDK is a server of both eras.
func serveSDK() {
	s := mcp.NewServer(&mcp.Implementation{Name: "real", Version: "1"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "pid", Description: "tells its process"},
		func(ctx context.Context, r *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			if token := r.Params.GetProgressToken(); token != nil {
				_ = r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: token, Progress: 1})
			}
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprint(os.Getpid())}}}, nil, nil
		})
	_ = s.Run(context.Background(), &mcp.StdioTransport{})
}

// server is a server without manners, as its kind says.
type server struct {
	kind string
	mu   sync.Mutex
	out  *os.File
	// waiting are the calls that wait for the answer of a client, by the id of what it was asked.
	waiting map[string]string
	asked   int
}

func (s *server) say(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = s.out.WriteString(text + "\n")
}

func (s *server) serve() {
	fmt.Fprintln(os.Stderr, "hello from a child, password=hunter2hunter2")
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var m struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
			Params struct {
				Name      string `json:"name"`
				Arguments struct {
					Text string `json:"text"`
				} `json:"arguments"`
				Meta struct {
					ProgressToken json.RawMessage `json:"progressToken"`
				} `json:"_meta"`
				ProtocolVersion string          `json:"protocolVersion"`
				Capabilities    json.RawMessage `json:"capabilities"`
				RequestID       json.RawMessage `json:"requestId"`
			} `json:"params"`
			Result json.RawMessage `json:"result"`
			Error  json.RawMessage `json:"error"`
		}
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			os.Exit(3)
		}
		id := string(m.ID)
		text := func(text string) {
			quoted, _ := json.Marshal(text)
			s.say(`{"jsonrpc":"2.0","id":` + id + `,"result":{"content":[{"type":"text","text":` + string(quoted) + `}]}}`)
		}
		switch m.Method {
		case "server/discover":
			if s.kind == "picky" {
				os.Exit(4)
			}
			if s.kind != "silent" {
				s.say(`{"jsonrpc":"2.0","id":` + id + `,"error":{"code":-32601,"message":"no"}}`)
			}
		case "initialize":
			s.say(`{"jsonrpc":"2.0","id":` + id + `,"result":{"protocolVersion":"` + m.Params.ProtocolVersion +
				`","capabilities":{"tools":{},"logging":{},"resources":{"subscribe":true}},"serverInfo":{"name":"rude","version":"1"},"asked":` + string(m.Params.Capabilities) + `}}`)
		case "notifications/cancelled":
			s.say(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"cancelled ` + string(m.Params.RequestID) + `"}}`)
		case "tools/call":
			switch m.Params.Name {
			case "echo":
				text(fmt.Sprintf("%d %s", os.Getpid(), m.Params.Arguments.Text))
			case "late":
				go func() {
					time.Sleep(time.Millisecond * time.Duration(len(id)))
					text(fmt.Sprintf("%d %s", os.Getpid(), m.Params.Arguments.Text))
				}()
			case "never":
			case "crash":
				os.Exit(5)
			case "twice":
				text("first")
				text("second")
			case "foreign":
				for _, other := range []string{"0", "99999999", `"1"`, "1.5", "null", "-1", "18446744073709551616"} {
					s.say(`{"jsonrpc":"2.0","id":` + other + `,"result":{"stolen":true}}`)
				}
				text("own")
			case "garbage":
				s.say("Server running on stdio")
				s.say(`{"level":30,"msg":"a log line"}`)
				s.say(`{"jsonrpc":"2.0","id":` + id + `}`)
				s.say(`{"jsonrpc":"2.0","id":` + id + `,"result":{},"error":{"code":1,"message":""}}`)
				text("after garbage\r")
			case "malformed":
				s.say(`{"jsonrpc":"2.0","id":` + id + `,"result":{"a":`)
			case "batch":
				s.say(`[{"jsonrpc":"2.0","id":` + id + `,"result":{}}]`)
			case "doubled":
				s.say(`{"jsonrpc":"2.0","id":1,"id":` + id + `,"result":{}}`)
			case "endless":
				for {
					if _, err := s.out.WriteString(strings.Repeat("x", 1<<20)); err != nil {
						os.Exit(0)
					}
				}
			case "half":
				_, _ = s.out.WriteString(`{"jsonrpc":"2.0","id":` + id + `,"result":{`)
				os.Exit(0)
			case "returns":
				// White space that would end a line of an event.
				s.say(`{"jsonrpc":"2.0",` + "\r" + `"id":` + id + `,` + "\r" + `"result":{"content":[]}}`)
			case "progress":
				for i := range 3 {
					s.say(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d}}`, m.Params.Meta.ProgressToken, i))
				}
				s.say(`{"params":{"progress":9,"progressToken":424242},"jsonrpc":"2.0","method":"notifications/progress"}`)
				text("done")
			case "ask":
				s.asked++
				s.waiting[fmt.Sprintf(`"ask-%d"`, s.asked)] = id
				s.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":"ask-%d","method":"roots/list"}`, s.asked))
			case "flood":
				for i := range 5000 {
					s.say(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"%d %s"}}`, i, strings.Repeat("y", 1000)))
				}
				text("flooded")
			case "eat":
				food := make([]byte, 96<<20)
				for i := range food {
					food[i] = byte(i)
				}
				time.Sleep(time.Minute)
				text(fmt.Sprint(len(food)))
			case "leave":
				left := exec.Command("sleep", "120")
				_ = left.Start()
				text(fmt.Sprint(left.Process.Pid))
			case "dial":
				conn, err := net.Dial("unix", m.Params.Arguments.Text)
				if err == nil {
					_, _ = conn.Write([]byte("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
					answer := make([]byte, 100)
					n, _ := conn.Read(answer)
					text(fmt.Sprintf("%d bytes", n))
					continue
				}
				text(err.Error())
			case "ignore":
				signalIgnored()
				text("ignoring")
			}
		case "":
			// An answer of a client.
			if call, ok := s.waiting[id]; ok {
				delete(s.waiting, id)
				answer := string(m.Result) + string(m.Error)
				id = call
				text(answer)
			}
		case "notifications/initialized":
		default:
			if id != "" {
				s.say(`{"jsonrpc":"2.0","id":` + id + `,"result":{"method":"` + m.Method + `"}}`)
			}
		}
	}
	if s.kind == "stubborn" {
		signalIgnored()
		time.Sleep(time.Hour)
	}
}

func signalIgnored() {
	signals := make(chan os.Signal, 1)
	notify(signals, syscall.SIGTERM)
	go func() {
		for range signals {
			continue
		}
	}()
}
