package listing

import (
	"strconv"

	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// depth bounds the nesting of an answer.
const depth = 256

var (
	envelope = strictjson.Closed("jsonrpc", "id", "method", "params", "result", "error")
	// begun are the members of the answer to an initialize or a server/discover that are read, page those of a list.
	begun = strictjson.Open("protocolVersion", "supportedVersions", "capabilities", "instructions", "serverInfo")
	page  = strictjson.Open("tools", "prompts", "resources", "resourceTemplates", "nextCursor")
	has   = strictjson.Open("tools", "prompts", "resources")
)

// answered is one message of the server.
type answered struct {
	id     int
	method string
	result []byte
	failed bool
}

func parse(data []byte) (answered, error) {
	s := strictjson.New(data, depth)
	defer s.Release()
	s.AnyText()
	m := answered{id: -1}
	for s.Enter('{', envelope); s.Member(); {
		switch string(s.Name()) {
		case "id":
			if n, err := strconv.Atoi(string(s.Skip())); err == nil {
				m.id = n
			}
		case "method":
			m.method = string(s.String())
		case "result":
			m.result = s.Skip()
		case "error":
			m.failed = true
			s.Skip()
		default:
			s.Skip()
		}
	}
	if err := s.End(); err != nil {
		return answered{}, err
	}
	if m.method == "" && m.failed == (m.result != nil) {
		return answered{}, BadAnswer
	}
	return m, nil
}

// hello is what a server says of itself at the beginning.
type hello struct {
	revisions []gateconfig.Revision
	// declared are the lists that it says it has.
	declared     map[string]bool
	instructions *inventory.Item
}

func readHello(result []byte) (hello, error) {
	h := hello{declared: map[string]bool{}}
	s := strictjson.New(result, depth)
	defer s.Release()
	var instructions []byte
	for s.Enter('{', begun); s.Member(); {
		switch string(s.Name()) {
		case "protocolVersion":
			h.revisions = append(h.revisions, gateconfig.Revision(s.String()))
		case "supportedVersions":
			for s.Enter('[', nil); s.Element(); {
				h.revisions = append(h.revisions, gateconfig.Revision(s.String()))
			}
		case "capabilities":
			for s.Enter('{', has); s.Member(); {
				h.declared[string(s.Name())] = true
				s.Skip()
			}
		case "instructions":
			instructions = s.Skip()
		default:
			s.Skip()
		}
	}
	if s.End() != nil {
		return hello{}, BadAnswer
	}
	if len(instructions) > 0 && string(instructions) != `""` && string(instructions) != "null" {
		item, err := inventory.NewItem(inventory.Instructions, instructions)
		if err != nil {
			return hello{}, BadAnswer
		}
		h.instructions = &item
	}
	return h, nil
}

// readPage reads one page of a list.
func readPage(kind inventory.Kind, field string, result []byte) (items []inventory.Item, next string, err error) {
	s := strictjson.New(result, depth)
	defer s.Release()
	for s.Enter('{', page); s.Member(); {
		switch string(s.Name()) {
		case field:
			for s.Enter('[', nil); s.Element(); {
				item, err := inventory.NewItem(kind, s.Skip())
				if err != nil || len(items) == maxItems {
					s.Fail(BadAnswer)
					continue
				}
				items = append(items, item)
			}
		case "nextCursor":
			if s.Kind() == 'n' {
				s.Skip()
				continue
			}
			next = string(s.String())
		default:
			s.Skip()
		}
	}
	if s.End() != nil {
		return nil, "", BadAnswer
	}
	return items, next, nil
}
