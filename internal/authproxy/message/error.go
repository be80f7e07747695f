package message

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// The JSON-RPC codes of refusals of this package (JSON-RPC 2.0, section 5.1; MCP 2026-07-28, "Error Codes").
const (
	CodeParse          = -32700
	CodeInvalidRequest = -32600
	CodeInvalidParams  = -32602
	CodeHeaderMismatch = -32020
	CodeUnsupported    = -32022
)

// Error is a refusal: what the caller is told, from a closed list that never repeats the caller's input, and why, for
// the audit log. Errors are shared: they are not to be changed.
type Error struct {
	// Status is the HTTP status.
	Status int
	// Code is the JSON-RPC code.
	Code int
	// Message is a fixed text that says what to do.
	Message string
	// Data is data that the specification defines for Code; nil when there is none.
	Data any
	// Reason is a short fixed word for the audit log and metrics.
	Reason string
}

// Error is Message.
func (e *Error) Error() string { return e.Message }

// Unsupported is the data of CodeUnsupported.
type Unsupported struct {
	Supported []gateconfig.Revision `json:"supported"`
	// Requested is what the caller asked for if it looks like a revision, else empty.
	Requested string `json:"requested"`
}

// JSON is e as a JSON-RPC error response to the request with the raw id; without an id the response has none.
func (e *Error) JSON(id []byte) []byte {
	var data []byte
	if e.Data != nil {
		// There is no value that does not marshal.
		data, _ = json.Marshal(e.Data)
	}
	var b bytes.Buffer
	b.Grow(96 + len(id) + len(e.Message) + len(data))
	b.WriteString(`{"jsonrpc":"2.0"`)
	if len(id) > 0 {
		b.WriteString(`,"id":`)
		json.HTMLEscape(&b, id)
	}
	b.WriteString(`,"error":{"code":`)
	b.Write(strconv.AppendInt(b.AvailableBuffer(), int64(e.Code), 10))
	b.WriteString(`,"message":`)
	// The texts are ours, and UTF-8.
	text, _ := jsontext.AppendQuote(b.AvailableBuffer(), e.Message)
	b.Write(text)
	if len(data) > 0 {
		b.WriteString(`,"data":`)
		b.Write(data)
	}
	b.WriteString(`}}`)
	return b.Bytes()
}

func bad(code int, reason, text string) *Error {
	return &Error{Status: http.StatusBadRequest, Code: code, Message: text, Reason: reason}
}

// The refusals of a body that is not one clean JSON text.
var (
	errSize = &Error{Status: http.StatusRequestEntityTooLarge, Code: CodeInvalidRequest, Reason: "size",
		Message: "The request is larger than this server's limit. Send a smaller one."}
	errSyntax    = bad(CodeParse, "syntax", "The body is not a single JSON text. Send exactly one JSON-RPC message in UTF-8, without a byte order mark.")
	errUTF8      = bad(CodeParse, "utf8", "The body is not valid UTF-8.")
	errNUL       = bad(CodeParse, "nul", "The body has a NUL character. Send it without.")
	errSurrogate = bad(CodeParse, "surrogate", "The body has an escape that is half a surrogate pair. Send whole characters.")
	errDuplicate = bad(CodeParse, "duplicate", "The body has an object with a repeated member name. Send every member once.")
	errVariant   = bad(CodeInvalidRequest, "variant", "The body has a member name that differs from a known one only in case or punctuation, or is not printable ASCII. Use the names of the specification.")
	errUnknown   = bad(CodeInvalidRequest, "member", "The message has a member that JSON-RPC does not define.")
	errDepth     = bad(CodeInvalidRequest, "depth", "The body is nested more deeply than this server's limit.")
	errMembers   = bad(CodeInvalidRequest, "members", "The body has an object with too many members.")
)

// The refusals of a JSON text that is not one message.
var (
	errBatch   = bad(CodeInvalidRequest, "batch", "Batches are not offered. Send one JSON-RPC message in each request.")
	errShape   = bad(CodeInvalidRequest, "shape", "The body is not a JSON-RPC 2.0 request, notification or response.")
	errVersion = bad(CodeInvalidRequest, "jsonrpc", `The message is not JSON-RPC 2.0. Send "jsonrpc": "2.0".`)
	errID      = bad(CodeInvalidRequest, "id", "The id is neither a string nor an integer, or too long.")
	errNotify  = bad(CodeInvalidRequest, "notification", "A request has an id, and a method that begins with notifications/ has none.")
	errParams  = bad(CodeInvalidParams, "params", "The params are not what the method's specification says.")
	errTarget  = bad(CodeInvalidParams, "target", "The params do not name what the method is about, or name it twice. Send one name, or one URI, as the method's specification says.")
	errMeta    = bad(CodeInvalidParams, "meta", "The params have no _meta with io.modelcontextprotocol/protocolVersion. Send it with every request.")
)

// The refusals of headers.
var (
	errHeader   = bad(CodeHeaderMismatch, "header", "MCP-Protocol-Version, Mcp-Method or Mcp-Name is missing or does not match the body. Send what the body says.")
	errHeaders  = bad(CodeHeaderMismatch, "headers", "An MCP header is repeated, misspelt, named by the Connection header, or has invalid characters. Send each once.")
	errModern   = bad(CodeInvalidRequest, "response", "This revision of the protocol has no responses from clients. Send requests.")
	unsupported = bad(CodeUnsupported, "revision", "This server does not accept that revision of the protocol. Use one of the supported ones.")
)
