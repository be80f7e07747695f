package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
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
	answers, err := marked()
	if err != nil {
		t.Fatal(err)
	}
	var few []corpus.Answer
	for i := 0; i < len(answers); i += 10 {
		few = append(few, answers[i])
	}
	results, err := attack(t.Context(), some, few, []peers.Peer{peers.Nginx})
	if err != nil {
		t.Fatal(err)
	}
	if through := results[0].through(); len(through) > 0 {
		t.Errorf("through the gate: %v", through)
	}
	if through := results[1].through(); len(through) == 0 || len(through) == len(some) {
		t.Errorf("%d of %d through nginx", len(through), len(some))
	}
	if n, all := got(results[0]), got(results[1]); n != 0 || all == 0 {
		t.Errorf("of %d answers, %d pass the gate, %d nginx", len(few), n, all)
	}
	if text := page(some, few, results); !bytes.Contains(text, []byte("| gate | nginx |")) || !bytes.Contains(text, []byte("## Through nginx")) || bytes.Contains(text, []byte("## Through gate")) {
		t.Errorf("%s", text)
	}
}

// got is of how many answers something reached the caller.
func got(r result) (n int) {
	for _, reached := range r.answered {
		if reached {
			n++
		}
	}
	return n
}

// TestPageIsOfTheCorpus: docs/attacks.md is of the requests that there are, and none of them passed the gate.
func TestPageIsOfTheCorpus(t *testing.T) {
	requests, err := corpus.Requests()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/attacks.md")
	if err != nil {
		t.Fatal(err)
	}
	all, known := map[string]int{}, map[string]bool{}
	for _, r := range requests {
		all[r.Category]++
		known[fmt.Sprintf("- %q", r.Name)] = true
	}
	if !bytes.Contains(text, fmt.Appendf(nil, "is sent the %d requests", len(requests))) {
		t.Errorf("the page does not say that there are %d requests", len(requests))
	}
	for category, n := range all {
		row := fmt.Sprintf("| %s: %s | %d | 0 |", category, about[category], n)
		if about[category] == "" || !bytes.Contains(text, []byte(row)) {
			t.Errorf("the page has no row %q: make attack-table", row)
		}
	}
	answers, err := marked()
	if err != nil {
		t.Fatal(err)
	}
	answered := map[string]int{}
	for i := range answers {
		answered[answers[i].Category]++
	}
	for category, n := range answered {
		row := fmt.Sprintf("| %s: %s | %d | 0 |", category, aboutAnswers[category], n)
		if aboutAnswers[category] == "" || !bytes.Contains(text, []byte(row)) {
			t.Errorf("the page has no row %q: make attack-table", row)
		}
	}
	model, err := os.ReadFile("../../docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(model, fmt.Appendf(nil, "all at once: %d hostile requests", len(requests))) {
		t.Errorf("docs/threat-model.md does not say that there are %d requests", len(requests))
	}
	for _, line := range regexp.MustCompile(`(?m)^- .*$`).FindAllString(string(text), -1) {
		if !known[line] {
			t.Errorf("the page names %s, which is no request of the corpus", line)
		}
	}
}
