package main

import (
	"bytes"
	"testing"

	"github.com/bartizan-dev/bartizan/test/corpus"
	"github.com/bartizan-dev/bartizan/test/peers"
)

// TestIntegrationAttacks sends every fifteenth request, so that the page can be made at any time: none passes the gate, some pass a
// proxy that does not read bodies, and good ones pass both.
func TestIntegrationAttacks(t *testing.T) {
	t.Parallel()
	requests, err := corpus.Requests()
	if err != nil {
		t.Fatal(err)
	}
	var some []corpus.Request
	for i := 0; i < len(requests); i += 15 {
		some = append(some, requests[i])
	}
	results, err := attack(t.Context(), some, []peers.Peer{peers.Nginx})
	if err != nil {
		t.Fatal(err)
	}
	if through := results[0].through(); len(through) > 0 {
		t.Errorf("through the gate: %v", through)
	}
	if through := results[1].through(); len(through) == 0 || len(through) == len(some) {
		t.Errorf("%d of %d through nginx", len(through), len(some))
	}
	if text := page(some, results); !bytes.Contains(text, []byte("| gate | nginx |")) || !bytes.Contains(text, []byte("## Through nginx")) || bytes.Contains(text, []byte("## Through gate")) {
		t.Errorf("%s", text)
	}
}
