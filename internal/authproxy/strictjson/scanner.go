// Package strictjson reads JSON (RFC 8259) in one pass and refuses what two parsers could read differently: duplicate
// member names after unescaping, names that differ only as far as a lenient parser ignores, NUL, lone surrogates, bad
// UTF-8, a byte order mark, and anything after the value. What it accepts, every parser reads alike.
package strictjson

import (
	"bytes"
	"errors"
	"sync"
	"unicode/utf8"
)

// The reasons to refuse a text. They say nothing about its content.
var (
	ErrSyntax    = errors.New("not JSON")
	ErrUTF8      = errors.New("not UTF-8")
	ErrNUL       = errors.New("a NUL character")
	ErrSurrogate = errors.New("half a surrogate pair")
	ErrDuplicate = errors.New("a repeated member name")
	ErrVariant   = errors.New("a member name that is a variant of a known one")
	ErrUnknown   = errors.New("an unknown member")
	ErrDepth     = errors.New("nested too deeply")
	ErrMembers   = errors.New("too many members in one object")
	ErrKind      = errors.New("a value of the wrong kind")
)

// MaxMembers bounds the members of one object, and by that the memory which finding duplicates takes.
const MaxMembers = 10_000

// linear is the number of names up to which comparing with each is faster than hashing.
const linear = 16

// Scanner walks through one JSON text. Its first error stays: from then on every method returns zero values, so a caller
// may check Err or End once. Containers are walked to their end.
//
//	for s.Enter('{', names); s.Member(); { use s.Name() and read one value }
//	for s.Enter('[', nil); s.Element(); { read one value }
type Scanner struct {
	data  []byte
	pos   int
	depth int
	err   error
	open  []frame
	// names are the member names seen in the open objects, innermost last.
	names []span
	// arena holds names that are not plain bytes of data: unescaped or folded ones.
	arena []byte
	name  []byte
	// anyText says that Skip takes strings that are no valid Unicode text.
	anyText bool
}

// frame is an open container.
type frame struct {
	rule *Names
	seen map[string]struct{}
	// shapes has a bit for the shape of each name that the object has had: a name whose bit is not there is new.
	shapes uint64
	// names and arena are the lengths to go back to when the container is closed.
	names, arena  uint32
	object, begun bool
}

// span is a part of data or of arena.
type span struct {
	start, end uint32
	arena      bool
}

var pool = sync.Pool{New: func() any { return new(Scanner) }}

// New returns a Scanner over data that refuses more than depth nested containers. Release gives it back.
func New(data []byte, depth int) *Scanner {
	s := pool.Get().(*Scanner)
	s.data, s.pos, s.depth, s.err, s.name, s.anyText = data, 0, depth, nil, nil, false
	s.open, s.names, s.arena = s.open[:0], s.names[:0], s.arena[:0]
	switch {
	case len(data) > 1<<30:
		s.err = ErrSyntax
	case !utf8.Valid(data):
		s.err = ErrUTF8
	}
	return s
}

// AnyText lets Skip accept escapes of NUL and of half surrogate pairs in values, never in names: they are content, which
// programs that cut texts or read files do send, and nothing is decided by it.
func (s *Scanner) AnyText() { s.anyText = true }

// Release ends the use of the Scanner. What it returned stays valid.
func (s *Scanner) Release() {
	if cap(s.names) > 1024 || cap(s.arena) > 1<<14 || cap(s.open) > 256 {
		return
	}
	clear(s.open)
	s.data, s.name, s.err = nil, nil, nil
	pool.Put(s)
}

// Err is the first error.
func (s *Scanner) Err() error { return s.err }

// Fail makes err the Scanner's error unless it has one.
func (s *Scanner) Fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// End checks that nothing but white space is left, and returns the first error.
func (s *Scanner) End() error {
	if s.err == nil {
		if s.space(); s.pos != len(s.data) || len(s.open) != 0 {
			s.err = ErrSyntax
		}
	}
	return s.err
}

// Kind is the kind of the next value by its first byte: one of { [ " 0 (a number) t f n, or 0 when there is none.
func (s *Scanner) Kind() byte {
	if s.err != nil {
		return 0
	}
	s.space()
	if s.pos == len(s.data) {
		return 0
	}
	switch c := s.data[s.pos]; c {
	case '{', '[', '"', 't', 'f', 'n':
		return c
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return '0'
	}
	return 0
}

// Start is where the next value begins, for Since.
func (s *Scanner) Start() int {
	s.space()
	return s.pos
}

// Since is the data from start to after the last value read; nil after an error.
func (s *Scanner) Since(start int) []byte {
	if s.err != nil {
		return nil
	}
	return s.data[start:s.pos]
}

// Enter opens an object ('{') or an array ('['). Names, if not nil, is the rule for the object's member names; without
// it names only must not repeat.
func (s *Scanner) Enter(kind byte, names *Names) {
	if s.err != nil {
		return
	}
	switch s.Kind() {
	case kind:
	case 0:
		s.err = ErrSyntax
		return
	default:
		s.err = ErrKind
		return
	}
	if len(s.open) >= s.depth {
		s.err = ErrDepth
		return
	}
	s.pos++
	s.open = append(s.open, frame{object: kind == '{', rule: names, names: uint32(len(s.names)), arena: uint32(len(s.arena))})
}

// next moves to the next member or element, or closes the container.
func (s *Scanner) next(object bool, end byte) bool {
	if s.err != nil {
		return false
	}
	if len(s.open) == 0 || s.open[len(s.open)-1].object != object {
		s.err = ErrSyntax
		return false
	}
	f := &s.open[len(s.open)-1]
	s.space()
	if s.pos == len(s.data) {
		s.err = ErrSyntax
		return false
	}
	if s.data[s.pos] == end {
		s.pos++
		s.names, s.arena = s.names[:f.names], s.arena[:f.arena]
		f.seen = nil
		s.open = s.open[:len(s.open)-1]
		return false
	}
	if f.begun {
		if s.data[s.pos] != ',' {
			s.err = ErrSyntax
			return false
		}
		s.pos++
		s.space()
	}
	f.begun = true
	return true
}

// Element moves to the next element of the innermost array; false at its end, which it closes.
func (s *Scanner) Element() bool { return s.next(false, ']') }

// Member moves to the value of the next member of the innermost object; false at its end, which it closes.
func (s *Scanner) Member() bool {
	if !s.next(true, '}') {
		return false
	}
	name, escaped := s.str()
	if s.err != nil {
		return false
	}
	at := s.place(s.pos-1-len(name), s.pos-1, escaped)
	s.name = s.bytes(at)
	f := &s.open[len(s.open)-1]
	if f.rule != nil {
		at.start, at.arena = uint32(len(s.arena)), true
		s.arena, s.err = f.rule.fold(s.arena, s.name)
		at.end = uint32(len(s.arena))
	}
	if s.err != nil || !s.unique(f, at) {
		return false
	}
	s.space()
	if s.pos == len(s.data) || s.data[s.pos] != ':' {
		s.err = ErrSyntax
		return false
	}
	s.pos++
	return true
}

// Name is the unescaped name of the member that Member moved to, until the next call of a method.
func (s *Scanner) Name() []byte { return s.name }

// place is where the name between start and end of the data is, unescaped.
func (s *Scanner) place(start, end int, escaped bool) span {
	if !escaped {
		return span{start: uint32(start), end: uint32(end)}
	}
	at := span{start: uint32(len(s.arena)), arena: true}
	s.arena = unescape(s.arena, s.data[start:end])
	at.end = uint32(len(s.arena))
	return at
}

// shape is one bit that equal names have in common.
func shape(name []byte) uint64 {
	n := len(name)
	if n == 0 {
		return 1
	}
	return 1 << ((uint(name[0])*5 + uint(name[n/2])*3 + uint(name[n-1]) + uint(n)) & 63)
}

// unique notes the name at and refuses it if the object has had it.
func (s *Scanner) unique(f *frame, at span) bool {
	key := s.bytes(at)
	earlier := s.names[f.names:]
	if bit := shape(key); len(earlier) < linear && f.shapes&bit == 0 {
		f.shapes |= bit
		s.names = append(s.names, at)
		return true
	}
	switch n := len(earlier); {
	case n >= MaxMembers:
		s.err = ErrMembers
		return false
	case n < linear:
		for _, e := range earlier {
			if e.end-e.start == at.end-at.start && bytes.Equal(s.bytes(e), key) {
				s.err = ErrDuplicate
				return false
			}
		}
	default:
		if f.seen == nil {
			f.seen = make(map[string]struct{}, 4*linear)
			for _, e := range earlier {
				f.seen[string(s.bytes(e))] = struct{}{}
			}
		}
		if _, dup := f.seen[string(key)]; dup {
			s.err = ErrDuplicate
			return false
		}
		f.seen[string(key)] = struct{}{}
	}
	s.names = append(s.names, at)
	return true
}

func (s *Scanner) bytes(at span) []byte {
	if at.arena {
		return s.arena[at.start:at.end]
	}
	return s.data[at.start:at.end]
}

// String reads a string and returns it unescaped. Without escapes it is a part of the data.
func (s *Scanner) String() []byte {
	switch s.Kind() {
	case '"':
	case 0:
		s.Fail(ErrSyntax)
		return nil
	default:
		s.err = ErrKind
		return nil
	}
	text, escaped := s.str()
	if escaped && s.err == nil {
		return unescape(make([]byte, 0, len(text)), text)
	}
	return text
}
