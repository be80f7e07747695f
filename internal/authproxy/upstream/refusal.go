package upstream

import (
	"bytes"
	"encoding/json"

	"github.com/go-json-experiment/json/jsontext"
)

// ReadRefusal returns the JSON-RPC error code of a refusal's body, and the data where the specification defines it for
// the code; code is 0 when the body is not one JSON-RPC error. The server's own text is for its operators only.
func ReadRefusal(body []byte) (code int, data json.RawMessage) {
	value := jsontext.Value(bytes.TrimSpace(body))
	// IsValid also refuses duplicate names and bad UTF-8.
	if !value.IsValid() {
		return 0, nil
	}
	var refusal struct {
		Version string `json:"jsonrpc"`
		Error   struct {
			Code int             `json:"code"`
			Data json.RawMessage `json:"data"`
		} `json:"error"`
	}
	if json.Unmarshal(value, &refusal) != nil || refusal.Version != "2.0" || refusal.Error.Code == 0 {
		return 0, nil
	}
	switch refusal.Error.Code {
	case codeHeaderMismatch, codeMissingCapability, codeUnsupportedVersion:
		return refusal.Error.Code, refusal.Error.Data
	default:
		return refusal.Error.Code, nil
	}
}

// Codes whose data the MCP specification (2026-07-28) defines.
const (
	codeHeaderMismatch     = -32020
	codeMissingCapability  = -32021
	codeUnsupportedVersion = -32022
)

// RefusalText is what a caller is told for a code that the server gave.
func RefusalText(code int) string {
	switch code {
	case -32700:
		return "the server could not parse the message"
	case -32600:
		return "the server does not take the message as a valid request"
	case -32601:
		return "the server does not have this method"
	case -32602:
		return "the server does not accept the parameters"
	case -32603:
		return "the server failed"
	case codeHeaderMismatch:
		return "the server found that a header and the message differ"
	case codeMissingCapability:
		return "the server needs a capability that the client has not declared"
	case codeUnsupportedVersion:
		return "the server does not speak this revision of the protocol"
	default:
		return "the server refused the request"
	}
}
