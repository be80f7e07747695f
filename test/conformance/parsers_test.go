package conformance_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/test/corpus"
)

var parserCases = flag.Int("parser-cases", 20_000, "how many messages TestConformanceParsers makes up")

// reading is what another parser makes of a message.
type reading struct {
	Error                                      string
	Version, Method, Name, URI, Revision, Task *string
	ID                                         json.RawMessage
	Answers                                    bool
	Ref                                        []*string
	Arguments                                  any
	URIs                                       []string
}

// parser is a process that reads messages.
type parser struct {
	name string
	in   *bufio.Writer
	out  *bufio.Reader
}

func startParser(t *testing.T, name string, command ...string) *parser {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return &parser{name, bufio.NewWriter(in), bufio.NewReader(out)}
}

// read returns what the parser makes of the messages.
func (p *parser) read(t *testing.T, bodies [][]byte) []reading {
	t.Helper()
	failed := make(chan error, 1)
	go func() {
		for _, body := range bodies {
			_, _ = fmt.Fprintln(p.in, base64.StdEncoding.EncodeToString(body))
		}
		failed <- p.in.Flush()
	}()
	all := make([]reading, len(bodies))
	for i := range all {
		line, err := p.out.ReadBytes('\n')
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if err := json.Unmarshal(line, &all[i]); err != nil {
			t.Fatalf("%s: %v: %q", p.name, err, line)
		}
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	return all
}

// TestConformanceParsers: what the gate accepts, the parsers of the languages that servers are written in read as the gate does: method,
// id, what is asked for, and the arguments that conditions judge.
func TestConformanceParsers(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("there is no python3 (on Debian: apt-get install --no-install-recommends python3)")
	}
	node, _ := installed(t, "clients-2.4.0-1.32.2-node-22.23.3", clientPackage, sdkPackage)
	parsers := []*parser{
		startParser(t, "JavaScript", node, filepath.Join("testdata", "parse.mjs")),
		startParser(t, "Python", python, filepath.Join("testdata", "parse.py")),
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	hostile, err := corpus.Requests()
	if err != nil {
		t.Fatal(err)
	}
	limits := gateconfig.Limits{RequestBytes: 1 << 20, Depth: 64}
	const batch = 500
	var bodies [][]byte
	var messages []message.Message
	accepted, differences := 0, 0
	compare := func() {
		for _, p := range parsers {
			for i, got := range p.read(t, bodies) {
				if difference := differs(&messages[i], &got); difference != "" && differences < 20 {
					differences++
					t.Errorf("%s: %s: %s", p.name, difference, bodies[i])
				}
			}
		}
		accepted += len(bodies)
		bodies, messages = bodies[:0], messages[:0]
	}
	for i := range *parserCases + len(hostile) {
		body := []byte(invent(random))
		if i < len(hostile) {
			body = []byte(hostile[i].Body)
		}
		m, refusal := message.Read(body, limits)
		if refusal != nil {
			continue
		}
		bodies, messages = append(bodies, body), append(messages, m)
		if len(bodies) == batch {
			compare()
		}
	}
	compare()
	if accepted < *parserCases/10 {
		t.Errorf("only %d of %d messages were accepted", accepted, *parserCases)
	}
	t.Logf("%d of %d messages were accepted", accepted, *parserCases)
}

// differs says in what another reading is not ours; empty when in nothing.
func differs(m *message.Message, got *reading) string {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	if got.Error != "" {
		return "it reads nothing: " + got.Error
	}
	if text(got.Version) != "2.0" || text(got.Method) != m.Method || got.Answers != (m.Kind == message.Response) {
		return fmt.Sprintf("the method is %q, not %q", text(got.Method), m.Method)
	}
	if !sameID(m.ID, got.ID) {
		return fmt.Sprintf("the id is %s, not %s", got.ID, m.ID)
	}
	if m.Kind == message.Response {
		return ""
	}
	if text(got.Revision) != string(m.Revision) {
		return fmt.Sprintf("the revision is %q, not %q", text(got.Revision), m.Revision)
	}
	for i, target := range m.Targets {
		theirs := text(got.Name)
		switch {
		case m.Method == "subscriptions/listen":
			if len(got.URIs) != len(m.Targets) {
				return fmt.Sprintf("%d subscriptions, not %d", len(got.URIs), len(m.Targets))
			}
			theirs = got.URIs[i]
		case m.Method == "completion/complete" && len(got.Ref) != 3:
			return "there is no reference"
		case m.Method == "completion/complete" && target.Kind == message.Prompt:
			theirs = text(got.Ref[1])
		case m.Method == "completion/complete":
			theirs = text(got.Ref[2])
		case target.Kind == message.Resource:
			theirs = text(got.URI)
		}
		if theirs != target.Name {
			return fmt.Sprintf("the target is %q, not %q", theirs, target.Name)
		}
	}
	if strings.HasPrefix(m.Method, "tasks/") && len(m.Handles) == 1 && text(got.Task) != m.Handles[0].Value {
		return fmt.Sprintf("the task is %q, not %q", text(got.Task), m.Handles[0].Value)
	}
	if len(m.Arguments) > 0 {
		// What conditions see; arguments that are not plain have none judge them.
		if ours, ok := message.Arguments(m.Arguments); ok && !reflect.DeepEqual(floats(ours), got.Arguments) {
			return fmt.Sprintf("the arguments are %v, not %v", got.Arguments, ours)
		}
	}
	return ""
}

// sameID compares ids; of numbers beyond 2^53 JavaScript has no exact value.
func sameID(ours, theirs []byte) bool {
	if len(ours) == 0 {
		return string(theirs) == "null"
	}
	var a, b any
	if json.Unmarshal(ours, &a) != nil || json.Unmarshal(theirs, &b) != nil {
		return false
	}
	n, err := strconv.ParseInt(string(ours), 10, 64)
	if err == nil && n <= 1<<53 && n >= -1<<53 {
		return bytes.Equal(ours, theirs)
	}
	return reflect.DeepEqual(a, b) && reflect.TypeOf(a) == reflect.TypeOf(b)
}

// floats is a value as encoding/json has it.
func floats(v any) any {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = floats(v[i])
		}
		return all
	case map[string]any:
		all := make(map[string]any, len(v))
		for name := range v {
			all[name] = floats(v[name])
		}
		return all
	}
	return v
}

// invent makes a message that is nearly one, and often enough one.
func invent(r *rand.Rand) string {
	b := &inventor{r: r, odd: []int{0, 0, 0, 1, 1, 2, 5}[r.IntN(7)]}
	members := []string{b.member("jsonrpc", b.often(`"2.0"`, `2.0`, `"\u0032.0"`, `"2.00"`)), b.member("method", b.quoted(b.pick(
		"tools/call", "tools/call", "prompts/get", "resources/read", "completion/complete", "tools/list", "subscriptions/listen", "tasks/get", "ping", "notifications/x", "")))}
	members = append(members, b.member("id", b.often(b.pick("1", "-7", `"a"`, `"\u0061"`, "9007199254740993", `"\ud83d\ude00"`), "1.0", "1e2", "null", "-0", "01", "[]")))
	params := []string{b.member("name", b.quoted(b.word())), b.member("arguments", b.often(b.object(3), b.value(2)))}
	switch r.IntN(5) {
	case 0:
		params = []string{b.member("uri", b.quoted(b.word()))}
	case 1:
		params = []string{b.member("ref", "{"+b.member("type", b.quoted(b.pick("ref/prompt", "ref/resource")))+","+b.member(b.pick("name", "uri"), b.quoted(b.word()))+"}")}
	case 2:
		params = []string{b.member(b.pick("notifications", "taskId"), b.pick(`{"resourceSubscriptions":[`+b.quoted(b.word())+`,"b:c"]}`, b.quoted(b.word())))}
	}
	if r.IntN(2) == 0 {
		params = append(params, b.member("_meta", "{"+b.member("io.modelcontextprotocol/protocolVersion", `"2026-07-28"`)+","+b.member(b.word(), b.value(2))+"}"))
	}
	if r.IntN(4) == 0 {
		params = append(params, b.member(b.word(), b.value(3)))
	}
	if b.goesOdd(8) {
		params = append(params, params[r.IntN(len(params))])
	}
	r.Shuffle(len(params), func(i, j int) { params[i], params[j] = params[j], params[i] })
	members = append(members, b.member("params", "{"+strings.Join(params, ",")+"}"))
	if b.goesOdd(12) {
		members = append(members, b.member(b.pick("result", "error", "extra", "method", "Method"), b.value(2)))
	}
	r.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	text := b.space() + "{" + strings.Join(members, b.space()+","+b.space()) + "}" + b.space()
	if !b.goesOdd(10) {
		return text
	}
	// One byte is wrong.
	bytes := []byte(text)
	switch i := r.IntN(len(bytes)); r.IntN(4) {
	case 0:
		bytes[i] = byte(r.IntN(256))
	case 1:
		bytes = append(bytes[:i], bytes[i+1:]...)
	case 2:
		bytes[i] ^= 0x20
	default:
		bytes = append(bytes[:i+1], bytes[i:]...)
	}
	return string(bytes)
}

// inventor makes parts of messages; odd is how many more of them may be what JSON or the gate does not have.
type inventor struct {
	r   *rand.Rand
	odd int
}

// goesOdd says whether the next part may be odd, about once in n.
func (b *inventor) goesOdd(n int) bool {
	if b.odd == 0 || b.r.IntN(n) > 0 {
		return false
	}
	b.odd--
	return true
}

func (b *inventor) pick(all ...string) string { return all[b.r.IntN(len(all))] }

// often is mostly the first.
func (b *inventor) often(first string, others ...string) string {
	if b.goesOdd(20) {
		return b.pick(others...)
	}
	return first
}

func (b *inventor) space() string {
	return b.often(b.pick("", "", " ", "\n", "\t\r\n "), "\ufeff", "\u00a0", "\f")
}

// member is a name and a value; the name now and then in another spelling, which is or is not the same name.
func (b *inventor) member(name, value string) string {
	spelled := b.quoted(name)
	if !b.goesOdd(20) {
		return spelled + b.space() + ":" + b.space() + value
	}
	switch b.r.IntN(4) {
	case 0:
		return b.quoted(strings.ToUpper(name)) + ":" + value
	case 1:
		return spelled + ":" + value + "," + b.quoted(name) + ":" + b.value(1)
	case 2:
		return b.quoted(strings.ReplaceAll(name, "s", "ſ")) + ":" + value + "," + spelled + ":" + value
	default:
		return b.quoted(name+"\x00") + ":" + value
	}
}

func (b *inventor) word() string {
	return b.pick("a", "get", "name", "Name", "x-y", "é", "e\u0301", "ſ", "\u2028", "\U0001F600", "a:b/c", "__proto__", "constructor", "toString", "\u007f", "a\\u0062", "\"", "/", "1", "", "\ufeffx")
}

// quoted is a string in one of its spellings.
func (b *inventor) quoted(s string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			out.WriteString(`\` + string(c))
		case c == '/' && b.r.IntN(4) == 0:
			out.WriteString(`\/`)
		case c < ' ':
			_, _ = fmt.Fprintf(&out, `\u%04x`, c)
		case b.r.IntN(12) == 0 && c < 0x10000:
			_, _ = fmt.Fprintf(&out, b.pick(`\u%04x`, `\u%04X`), c)
		case b.goesOdd(100):
			out.WriteString(b.pick(`\ud800`, `\u0000`, "\xc0\xaf", "\xed\xa0\x80", "\t", `\x41`, `\n`, `\b`))
		default:
			out.WriteRune(c)
		}
	}
	out.WriteByte('"')
	return out.String()
}

func (b *inventor) value(depth int) string {
	switch n := b.r.IntN(10); {
	case n < 3 && depth > 0:
		return b.object(depth - 1)
	case n < 5 && depth > 0:
		all := make([]string, b.r.IntN(4))
		for i := range all {
			all[i] = b.value(depth - 1)
		}
		return "[" + strings.Join(all, b.often(",", ",,", " , ")) + "]"
	case n < 7:
		return b.quoted(b.word())
	case n < 9:
		return b.often(b.pick("0", "1", "-1", "0.5", "1e3", "1.5E-3", "123456789", "9007199254740992", "-0", "1e-7", "5e-324"), "9007199254740993", "1e400", "-0.0", "01", "+1", ".5", "1.", "0x1", "1_0", "NaN", "Infinity", "1e999999", "0.1000000000000000055511151231257827")
	default:
		return b.often(b.pick("true", "false", "null"), "True", "nul", "undefined", "None")
	}
}

func (b *inventor) object(depth int) string {
	all := make([]string, b.r.IntN(4))
	for i := range all {
		all[i] = b.member(b.word(), b.value(depth))
	}
	return "{" + strings.Join(all, b.often(",", ",,", " ,\n")) + "}"
}
