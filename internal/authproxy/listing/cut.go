package listing

import (
	"bytes"

	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

var definitions = strictjson.Open("tools", "prompts", "resources", "resourceTemplates", "instructions")

// Cut returns a JSON-RPC message, as package filter let it through, without the definitions that are not to be shown: in the
// lists of its result, and the instructions. A message without a result stays as it is.
func Cut(message []byte, shows func(inventory.Kind, []byte) bool) ([]byte, error) {
	s := strictjson.New(message, depth)
	defer s.Release()
	s.AnyText()
	out := []byte{'{'}
	cut := false
	for s.Enter('{', envelope); s.Member(); {
		out = append(append(append(out, '"'), s.Name()...), `":`...)
		if string(s.Name()) == "result" {
			cut = true
			out = append(cutResult(s, out, shows), ',')
			continue
		}
		out = append(append(out, s.Skip()...), ',')
	}
	if err := s.End(); err != nil {
		return nil, err
	}
	if !cut {
		return message, nil
	}
	return append(bytes.TrimSuffix(out, []byte(",")), '}'), nil
}

func cutResult(s *strictjson.Scanner, out []byte, shows func(inventory.Kind, []byte) bool) []byte {
	out = append(out, '{')
	for s.Enter('{', definitions); s.Member(); {
		var kind inventory.Kind
		switch string(s.Name()) {
		case "tools":
			kind = inventory.Tool
		case "prompts":
			kind = inventory.Prompt
		case "resourceTemplates":
			kind = inventory.Template
		case "instructions":
			if text := s.Skip(); string(text) == `""` || shows(inventory.Instructions, text) {
				out = append(append(append(out, `"instructions":`...), text...), ',')
			}
			continue
		}
		out = append(append(append(out, '"'), s.Name()...), `":`...)
		if kind == "" {
			out = append(append(out, s.Skip()...), ',')
			continue
		}
		out = append(out, '[')
		for s.Enter('[', nil); s.Element(); {
			if definition := s.Skip(); shows(kind, definition) {
				out = append(append(out, definition...), ',')
			}
		}
		out = append(append(bytes.TrimSuffix(out, []byte(",")), ']'), ',')
	}
	return append(bytes.TrimSuffix(out, []byte(",")), '}')
}
