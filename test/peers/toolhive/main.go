// Command toolhive is ToolHive's proxy with the middlewares that it puts before a server: identity, the parser of MCP, audit and Cedar
// policies. Its listener has no TLS: in a cluster an ingress stands before it.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	port := flag.Int("port", 0, "port of 127.0.0.1 to listen on")
	upstream := flag.String("upstream", "", "URL of the server, without a path")
	user := flag.String("user", "", "who makes every request")
	policies := flag.String("policies", "", "file with Cedar policies")
	list := flag.String("filter", "", "instead of serving, filter this file, an answer to tools/list, and print how long it takes")
	count := flag.Int("count", 100, "how often to filter it")
	flag.Parse()
	authorizer, err := authorize(*policies)
	if err == nil && *list != "" {
		err = filter(authorizer, *user, *list, *count)
	} else if err == nil {
		err = serve(authorizer, *user, *port, *upstream)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "toolhive:", err)
		os.Exit(1)
	}
}
