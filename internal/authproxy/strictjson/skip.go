package strictjson

// Skip reads one value of any kind, as strictly as if it were used, and returns its bytes.
func (s *Scanner) Skip() []byte {
	start := s.Start()
	if s.err == nil {
		s.skip()
	}
	return s.Since(start)
}

// skip reads the value at pos, which most of a body is: it does what Enter, Member and Element do, without a call for each step.
func (s *Scanner) skip() {
	data, i, outside := s.data, s.pos, len(s.open)
	// object says that the innermost container is an object, named that the name of its next member was read.
	object, named := false, false
	for {
		i = blank(data, i)
		if i == len(data) {
			s.err = ErrSyntax
			return
		}
		switch c := data[i]; {
		case c == '"':
			start, escaped := i+1, false
			if i = plain(data, start); i == len(data) || data[i] != '"' {
				if i, escaped, s.err = quoted(data, i, s.anyText && (named || !object)); s.err != nil {
					return
				}
			}
			end := i
			i++
			if object && !named {
				f := &s.open[len(s.open)-1]
				if bit := shape(data[start:end]); !escaped && f.shapes&bit == 0 && len(s.names)-int(f.names) < linear {
					f.shapes |= bit
					s.names = append(s.names, span{start: uint32(start), end: uint32(end)})
				} else if !s.unique(f, s.place(start, end, escaped)) {
					return
				}
				if i = blank(data, i); i == len(data) || data[i] != ':' {
					s.err = ErrSyntax
					return
				}
				i++
				named = true
				continue
			}
		case object && !named:
			s.err = ErrSyntax
			return
		case c == '{', c == '[':
			if len(s.open) >= s.depth {
				s.err = ErrDepth
				return
			}
			if next := blank(data, i+1); next < len(data) && data[next] == c+2 {
				i = next + 1
				break
			}
			i++
			object, named = c == '{', false
			s.open = append(s.open, frame{object: object, names: uint32(len(s.names)), arena: uint32(len(s.arena))})
			continue
		case c == '-', c-'0' <= 9:
			i = number(data, i)
		case c == 't':
			i = literal(data, i, "true")
		case c == 'f':
			i = literal(data, i, "false")
		case c == 'n':
			i = literal(data, i, "null")
		default:
			i = -1
		}
		if i < 0 {
			s.err = ErrSyntax
			return
		}
		// A value has ended, and with it perhaps the containers around it.
		for {
			if len(s.open) == outside {
				s.pos = i
				return
			}
			i = blank(data, i)
			if i == len(data) {
				s.err = ErrSyntax
				return
			}
			c := data[i]
			i++
			if c == ',' {
				named = false
				break
			}
			if object && c != '}' || !object && c != ']' {
				s.err = ErrSyntax
				return
			}
			f := &s.open[len(s.open)-1]
			s.names, s.arena, f.seen = s.names[:f.names], s.arena[:f.arena], nil
			s.open = s.open[:len(s.open)-1]
			if n := len(s.open); n > outside {
				object = s.open[n-1].object
			}
		}
	}
}
