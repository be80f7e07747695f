// Command probe is what the testbed's self test runs in pods: a server, and a client that tells whether it can reach something.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// limit is how long a probe waits for an answer.
const limit = 3 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("probe serve ADDRESS | get URL | resolve NAME | dial ADDRESS")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	switch args[0] {
	case "serve":
		server := &http.Server{Addr: args[1], ReadHeaderTimeout: limit, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, "hello", r.RemoteAddr)
		})}
		context.AfterFunc(ctx, func() { server.Close() })
		fmt.Println("serving")
		if err := server.ListenAndServe(); err != http.ErrServerClosed {
			return err
		}
		return nil
	case "get":
		response, err := (&http.Client{Timeout: limit}).Get(args[1])
		if err != nil {
			return err
		}
		defer response.Body.Close()
		_, err = io.Copy(os.Stdout, response.Body)
		return err
	case "dial":
		conn, err := net.DialTimeout("tcp", args[1], limit)
		if err != nil {
			return err
		}
		fmt.Println("connected")
		return conn.Close()
	case "resolve":
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		addresses, err := net.DefaultResolver.LookupHost(ctx, args[1])
		fmt.Println(strings.Join(addresses, " "))
		return err
	}
	return fmt.Errorf("unknown command %q", args[0])
}
