package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

const (
	// accountAddress is where users tell what they have met, to this pod alone.
	accountAddress = "127.0.0.1:7070"
	// perConnection is how many calls a user makes before it opens a new connection and session.
	perConnection = 20
)

// users call a tool of each server as each client, each in one thing after another and with nothing tried twice, until they
// are told to end. As a real client does, they read the mounted files again for each request and each handshake.
func users(ctx context.Context, s settings) result.Result {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", accountAddress)
	if err != nil {
		return result.Result{Outcome: result.Usage, Message: err.Error()}
	}
	// The network learns of a new pod a moment after it runs. The names are looked up once: it is not the DNS that is tried.
	addresses := make([]string, len(s.urls))
	for i, endpoint := range s.urls {
		if addresses[i], err = reach(ctx, endpoint); err != nil {
			return result.Result{Outcome: result.Usage, Message: err.Error()}
		}
	}
	begun := time.Now()
	tallies := map[string]*tally{}
	all := func() result.Result {
		done := result.Result{Outcome: result.OK, Users: map[string]*result.Load{}}
		for name, t := range tallies {
			done.Users[name] = t.sum()
		}
		return done
	}
	for _, name := range s.clients {
		tallies[name] = newTally(begun)
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(all())
	})}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	var workers sync.WaitGroup
	for i, name := range s.clients {
		for j, endpoint := range s.urls {
			mine := s.of(name)
			mine.url, mine.connect, mine.reread = endpoint, addresses[j], true
			if (i+j)%2 == 1 {
				mine.revision = "2025-11-25"
			}
			connection, err := newConnection(mine)
			if err != nil {
				return result.Result{Outcome: result.Usage, Message: err.Error()}
			}
			// Not all at the same moment.
			offset := s.pause * time.Duration(i*len(s.urls)+j) / time.Duration(len(s.clients)*len(s.urls))
			workers.Go(func() {
				pause(ctx, offset)
				worker(ctx, connection, func(calls int) bool { return calls%perConnection == 0 }, time.Time{}, tallies[name])
			})
		}
	}
	workers.Wait()
	return all()
}

// reach waits until the host of a URL takes connections, and returns its address.
func reach(ctx context.Context, endpoint string) (address string, err error) {
	to, err := url.Parse(endpoint)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		connected, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(to.Hostname(), cmp.Or(to.Port(), "443")))
		if err == nil {
			return connected.RemoteAddr().String(), connected.Close()
		}
		if ctx.Err() != nil {
			return "", err
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// account asks the users of this pod.
func account(ctx context.Context) result.Result {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	failed := func(err error) result.Result { return result.Result{Outcome: result.Failed, Message: err.Error()} }
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+accountAddress, nil)
	if err != nil {
		return failed(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return failed(err)
	}
	defer answer.Body.Close()
	var done result.Result
	if err := json.NewDecoder(answer.Body).Decode(&done); err != nil {
		return failed(fmt.Errorf("the account: %w", err))
	}
	return done
}

// sum is the account until now.
func (t *tally) sum() *result.Load {
	t.mu.Lock()
	defer t.mu.Unlock()
	load := t.load
	load.Answers, load.Succeeded = map[string]int{}, map[string]time.Time{}
	for text, n := range t.load.Answers {
		load.Answers[text] = n
	}
	for id, at := range t.load.Succeeded {
		load.Succeeded[id] = at
	}
	load.Examples, load.KeyIDs = slices.Clone(load.Examples), slices.Clone(load.KeyIDs)
	if n := len(t.took); n > 0 {
		took := slices.Sorted(slices.Values(t.took))
		load.Median, load.Slowest = took[n/2].Milliseconds(), took[n-1].Milliseconds()
	}
	return &load
}
