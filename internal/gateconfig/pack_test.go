package gateconfig_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

func zip(t *testing.T, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestPack: a document that would not fit into a Secret is compressed, and read; what is compressed in another way than the operator's
// is refused, and nobody makes the gate hold more than a document may have.
func TestPack(t *testing.T) {
	small := valid(t)
	document, _, err := gateconfig.Seal(small)
	if err != nil {
		t.Fatal(err)
	}
	if packed, ok := gateconfig.Pack(document); !ok || !bytes.Equal(packed, document) {
		t.Error("a small document is changed")
	}
	large := small
	for i := range 15_000 {
		large.Endpoint.Hosts = append(large.Endpoint.Hosts, fmt.Sprintf("%s-%05d.example.com", strings.Repeat("host", 12), i))
	}
	long, generation, err := gateconfig.Seal(large)
	if err != nil {
		t.Fatal(err)
	}
	packed, ok := gateconfig.Pack(long)
	if !ok || len(long) <= gateconfig.MaxPacked || len(packed) > gateconfig.MaxPacked {
		t.Fatalf("%d bytes become %d, %t", len(long), len(packed), ok)
	}
	if c, err := gateconfig.Parse(packed); err != nil || c.Generation != generation {
		t.Errorf("%s, %v", c.Generation, err)
	}
	if _, ok := gateconfig.Pack(make([]byte, 9<<20)); ok {
		t.Error("a document of 9 MiB is taken")
	}
	for name, text := range map[string][]byte{
		"cut off":             packed[:len(packed)-9],
		"one byte is another": append(append(bytes.Clone(packed[:len(packed)/2]), packed[len(packed)/2]^1), packed[len(packed)/2+1:]...),
		"something after it":  append(bytes.Clone(packed), 0),
		"twice":               append(bytes.Clone(packed), packed...),
		"no need":             zip(t, document),
		"zeros":               zip(t, make([]byte, 64<<20)),
		"no more than a head": packed[:2],
	} {
		if _, err := gateconfig.Parse(text); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
