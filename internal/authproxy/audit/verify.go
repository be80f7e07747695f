package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// BrokenError says where an audit log is not what was written.
type BrokenError struct {
	// Line is the first line that is not what was written, from 1; behind the last one where lines are missing there.
	Line int
	// Why says what is wrong with it, in words without anything of the line.
	Why string
}

// Error is the line and what is wrong with it.
func (e *BrokenError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Why) }

// Verified is what is known of a log that is whole.
type Verified struct {
	// Lines is the number of lines, Repeated how many requests are counted in lines of others, and Lost how many lines
	// could not be written: the log says so itself.
	Lines, Repeated, Lost uint64
	// Messages is the number of lines that are the gate's own messages and spans: kubectl logs shows them among the audit log.
	Messages uint64
	// Heads are the last lines of the boots, in the order in which they begin.
	Heads []Head
	// Absent are last lines that boots knew of earlier ones of which the log has nothing.
	Absent []Head
}

// Verify reads a log to its end. The lines of several boots may be mixed, as a collector of logs does it; those of one boot
// must all be there, in their order. That nothing was cut off at the end of a boot, only somebody who knows its last line
// can say: expected are such last lines, known elsewhere; of a hash its beginning will do. The error is a *BrokenError when the log is not whole.
func Verify(log io.Reader, expected ...Head) (Verified, error) {
	v := verifier{boots: map[string]*boot{}}
	lines := bufio.NewReaderSize(log, MaxLine)
	for {
		text, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(text) == 0 {
			break
		}
		v.line++
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return v.result, v.broken("it is longer than any line that a gate writes")
		case errors.Is(err, io.EOF):
			return v.result, v.broken("it is cut off")
		case err != nil:
			return v.result, err
		}
		if err := v.take(bytes.TrimSuffix(text, []byte("\n"))); err != nil {
			return v.result, err
		}
	}
	if v.torn > 0 {
		return v.result, &BrokenError{Line: v.torn, Why: "it is not a line of an audit log"}
	}
	for _, head := range expected {
		b := v.boots[head.Boot]
		if b == nil {
			return v.result, v.missing("the log has nothing of a boot whose last line is known")
		}
		if err := v.knows(b, head); err != nil {
			return v.result, err
		}
	}
	for _, id := range v.order {
		b := v.boots[id]
		v.result.Heads = append(v.result.Heads, Head{Boot: id, Seq: uint64(len(b.hashes)) - 1, Hash: hex.EncodeToString(b.hashes[len(b.hashes)-1][:])})
	}
	for _, head := range v.known {
		if b := v.boots[head.Boot]; b == nil {
			v.result.Absent = append(v.result.Absent, head)
		} else if err := v.knows(b, head); err != nil {
			return v.result, err
		}
	}
	return v.result, nil
}

// minHash is how many hexadecimal digits of a hash tell a line.
const minHash = 12

type verifier struct {
	line   int
	result Verified
	boots  map[string]*boot
	order  []string
	known  []Head
	// torn is a line that is none, which a gap must follow.
	torn int
}

// boot is what was read of one boot: the hashes and the places in the file of its lines.
type boot struct {
	hashes [][32]byte
	at     []int
}

func (v *verifier) broken(why string) error { return &BrokenError{Line: v.line, Why: why} }

func (v *verifier) missing(why string) error { return &BrokenError{Line: v.line + 1, Why: why} }

func (v *verifier) take(text []byte) error {
	var r struct {
		Kind  Kind    `json:"kind"`
		Boot  string  `json:"boot"`
		Seq   *uint64 `json:"seq"`
		Prev  string  `json:"prev"`
		Count uint64  `json:"count"`
		Lost  uint64  `json:"lost"`
		Known []Head  `json:"known"`
		Level string  `json:"level"`
		Msg   string  `json:"msg"`
		// Spans are what the gate writes beside its messages.
		Spans []struct{} `json:"resourceSpans"`
	}
	if err := json.Unmarshal(text, &r); err != nil || r.Boot == "" || r.Seq == nil || len(r.Prev) != 64 {
		if err == nil && r.Boot == "" && r.Seq == nil && r.Prev == "" && (r.Level != "" && r.Msg != "" || len(r.Spans) > 0) {
			v.result.Messages++
			return nil
		}
		// A write that failed half-way leaves one such line, and then says so.
		if v.torn == 0 {
			v.torn = v.line
		}
		return nil
	}
	if v.torn > 0 && r.Kind != KindGap {
		return &BrokenError{Line: v.torn, Why: "it is not a line of an audit log"}
	}
	v.torn = 0
	b := v.boots[r.Boot]
	switch {
	case b == nil && *r.Seq > 0:
		return v.broken("the lines of its boot before it are missing")
	case b == nil && (r.Kind != KindBoot || r.Prev != strings.Repeat("0", 64)):
		return v.broken("it is not what a boot begins with")
	case b == nil:
		b = &boot{}
		v.boots[r.Boot] = b
		v.order = append(v.order, r.Boot)
	case *r.Seq > uint64(len(b.hashes)):
		return v.broken(fmt.Sprintf("%d lines are missing before it", *r.Seq-uint64(len(b.hashes))))
	case *r.Seq < uint64(len(b.hashes)):
		return v.broken("it is out of its order, or a copy")
	case r.Prev != hex.EncodeToString(b.hashes[len(b.hashes)-1][:]):
		return &BrokenError{Line: b.at[len(b.at)-1], Why: fmt.Sprintf("it is not the line that was written: line %d names another one before it", v.line)}
	case r.Kind == KindBoot:
		return v.broken("its boot had begun before")
	}
	b.hashes, b.at = append(b.hashes, sha256.Sum256(text)), append(b.at, v.line)
	v.known = append(v.known, r.Known...)
	v.result.Lines++
	v.result.Repeated += r.Count
	v.result.Lost += r.Lost
	return nil
}

// knows checks that the boot has the line that is known elsewhere.
func (v *verifier) knows(b *boot, head Head) error {
	if n := uint64(len(b.hashes)); head.Seq >= n {
		return &BrokenError{Line: b.at[n-1] + 1, Why: fmt.Sprintf("%d lines of the boot are missing after line %d: its line %d is known elsewhere", head.Seq-n+1, b.at[n-1], head.Seq)}
	}
	if len(head.Hash) < minHash || !strings.HasPrefix(hex.EncodeToString(b.hashes[head.Seq][:]), head.Hash) {
		return &BrokenError{Line: b.at[head.Seq], Why: "it is not the line that is known elsewhere"}
	}
	return nil
}
