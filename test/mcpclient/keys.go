package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// of are the settings of a client of this pod: its credentials are in a folder of its name.
func (s settings) of(client string) settings {
	in := func(file string) string { return path.Join(s.root, client, file) }
	s.keyFile, s.certFile, s.certKeyFile, s.caFile = in("api-key"), in("tls.crt"), in("tls.key"), in("ca.crt")
	return s
}

// tryKeys opens a session with each key that comes on a line of its own, after the name of the client whose certificate is
// shown beside it.
func tryKeys(ctx context.Context, s settings, in io.Reader) result.Result {
	done := result.Result{Outcome: result.OK, Keys: map[string]result.Outcome{}}
	connections := map[string]*connection{}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		client, key, ok := strings.Cut(lines.Text(), " ")
		if !ok {
			return result.Result{Outcome: result.Usage, Message: "standard input: want lines of the form \"client key\""}
		}
		with := connections[client]
		if with == nil {
			var err error
			if with, err = newConnection(s.of(client)); err != nil {
				return result.Result{Outcome: result.Usage, Message: err.Error()}
			}
			connections[client] = with
		}
		with.show(key)
		done.Keys[keyID(key)] = func() result.Outcome {
			ctx, cancel := context.WithTimeout(ctx, s.timeout)
			defer cancel()
			session, err := with.open(ctx)
			if err != nil {
				return with.failure(err).Outcome
			}
			_ = session.Close()
			return result.OK
		}()
	}
	if err := lines.Err(); err != nil {
		return result.Result{Outcome: result.Usage, Message: fmt.Sprintf("standard input: %v", err)}
	}
	return done
}

// keyID is the public part of a key.
func keyID(key string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(key, "mcpk_"), "_")
	return id
}
