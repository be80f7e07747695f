package gateconfig

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
)

// MaxPacked bounds what Pack returns, in bytes: a Secret holds 1 MiB with everything in it.
const MaxPacked = 900 << 10

// magic begins what gzip makes, and no JSON.
const magic = "\x1f\x8b"

// Pack is a document as the gate's Secret holds it: as it is, or compressed where it would not fit. Equal documents are packed
// alike. ok is false for one that fits in no way. Parse takes both forms.
func Pack(document []byte) (packed []byte, ok bool) {
	if len(document) <= MaxPacked {
		return document, true
	}
	if len(document) > maxDocument {
		return nil, false
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(document)
	if err = errors.Join(err, w.Close()); err != nil {
		// A buffer takes everything.
		return nil, false
	}
	return b.Bytes(), b.Len() <= MaxPacked
}

// unpack is the document in what Pack returned.
func unpack(packed []byte) ([]byte, error) {
	if !bytes.HasPrefix(packed, []byte(magic)) {
		return packed, nil
	}
	from := bytes.NewReader(packed)
	r, err := gzip.NewReader(from)
	if err != nil {
		return nil, errPacked
	}
	r.Multistream(false)
	document, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	switch {
	case err != nil, from.Len() > 0 && len(document) <= maxDocument:
		return nil, errPacked
	case len(document) <= MaxPacked:
		// The operator has one form for each document.
		return nil, errPacked
	}
	return document, nil
}

var errPacked = errors.New("the document is not compressed as the operator does it")
