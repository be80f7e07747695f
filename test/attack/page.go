package main

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/bartizan-dev/bartizan/test/corpus"
	"github.com/bartizan-dev/bartizan/test/peers"
)

const head = `# What reaches the server

Each program stands before a server that notes what reaches it, and is sent the %d requests of [test/corpus](../test/corpus/README.md), none of which
a gate may pass on. The caller is alice, who may call the tools ` + "`greet` and `slow`, and `copy` on a condition" + `: with her certificate and her key, as far as a program knows them.
The table has how many got through; the lists below name them. A good request before and after them passes each.

The programs are configured for the same work as well as they can be, in [test/peers](../test/peers/README.md), whose configurations are the
place to object: HAProxy 2.6 with mutual TLS, keys, the host, the method and the tool from the body; nginx 1.22 with mutual TLS, keys and the host;
kube-rbac-proxy 0.19.1 with mutual TLS and the path; ToolHive 0.47.0 with its parser and a Cedar policy for each tool. Tokens go to a gate and to an HAProxy that take them in the place of keys, HTTP/2 to who speaks it as it is configured. They do not claim to do what
the gate does, and a dash is where a program has nothing that the requests are about. Some of what passes would be refused by a strict server; the
point of a gate is not to depend on that. ` + "`make attack-table`" + ` writes this page.

`

// without are the categories that are about something that a peer has not.
var without = map[string][]string{
	string(peers.HAProxy):       {"http2", "argument"},
	string(peers.Nginx):         {"token", "http2", "argument"},
	string(peers.KubeRBACProxy): {"credential", "token", "argument"},
	string(peers.ToolHive):      {"credential", "token", "http2"},
}

var about = map[string]string{
	"parser": "messages that two parsers read differently", "method": "methods that nobody may use", "tool": "tools that are not granted",
	"argument": "arguments that the condition of a grant does not allow",
	"resource": "resources that are not granted", "header": "headers with two readings, other hosts and origins", "cross-check": "headers that contradict the message",
	"path": "other paths, queries and verbs", "credential": "keys that are wrong, absent or somebody else's", "smuggling": "bodies whose end is unclear",
	"flow": "tasks, states and answers that are not the caller's", "token": "tokens that are forged, spoiled or somebody else's",
	"session": "sessions and events that are another's", "slow": "requests that do not come to their end",
	"http2": "requests that HTTP/2 does not have, or that would be two in HTTP/1.1",
}

// page is the table, and the names of what got through.
func page(requests []corpus.Request, answers []corpus.Answer, results []result) []byte {
	var categories []string
	all := map[string]int{}
	for _, r := range requests {
		if all[r.Category] == 0 {
			categories = append(categories, r.Category)
		}
		all[r.Category]++
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, head, len(requests))
	writeHead(&out, "Requests", results)
	for _, category := range categories {
		fmt.Fprintf(&out, "| %s: %s | %d |", category, about[category], all[category])
		for _, r := range results {
			if slices.Contains(without[r.name], category) {
				out.WriteString(" – |")
				continue
			}
			fmt.Fprintf(&out, " %d |", len(names(requests, r, category)))
		}
		out.WriteString("\n")
	}
	out.Write(answersPage(answers, results))
	for _, r := range results {
		if len(r.through()) == 0 {
			continue
		}
		fmt.Fprintf(&out, "\n## Through %s\n\n", r.name)
		for _, category := range categories {
			if through := names(requests, r, category); len(through) > 0 && !slices.Contains(without[r.name], category) {
				fmt.Fprintf(&out, "%s:\n", category)
				for _, name := range through {
					fmt.Fprintf(&out, "- %q\n", name)
				}
				out.WriteString("\n")
			}
		}
	}
	return append(bytes.TrimRight(out.Bytes(), "\n"), '\n')
}

// writeHead writes the head of a table with a column for each program.
func writeHead(out *bytes.Buffer, what string, results []result) {
	out.WriteString("| What | " + what + " |")
	line := "|---|--:|"
	for _, r := range results {
		out.WriteString(" " + r.name + " |")
		line += "--:|"
	}
	out.WriteString("\n" + line + "\n")
}

// through are the numbers of the requests that got through, in order.
func (r result) through() (numbers []int) {
	for i, reached := range r.reached {
		if reached {
			numbers = append(numbers, i)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// names are those of a category that got through.
func names(requests []corpus.Request, r result, category string) (all []string) {
	for _, i := range r.through() {
		if requests[i].Category == category {
			all = append(all, requests[i].Name)
		}
	}
	return all
}
