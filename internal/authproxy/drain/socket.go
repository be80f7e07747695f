package drain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"
)

// path of the request to drain, on a socket that only the gate's own container has.
const path = "/drain"

// Listen opens the socket through which the pod's preStop hook asks for a drain. A socket that a crashed gate left is
// replaced.
func Listen(socket string) (net.Listener, error) {
	if info, err := os.Lstat(socket); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(socket); err != nil {
			return nil, fmt.Errorf("--drain-socket %s: an old socket cannot be removed: %w", socket, err)
		}
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("--drain-socket %s: the directory must exist and be writable; an empty value goes without: %w", socket, err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// Server returns the server for the socket. A request calls begin, which begins the drain, and is answered once it is done.
func (d *Drain) Server(begin func()) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		begin()
		select {
		case <-d.Done():
			w.WriteHeader(http.StatusNoContent)
		case <-r.Context().Done():
		}
	})
	return &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
}

// Ask asks the gate behind a socket to drain and returns once it is done. A context that ends earlier ends the waiting,
// not the drain.
func Ask(ctx context.Context, socket string) error {
	client := http.Client{Transport: &http.Transport{
		Proxy: nil,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://gate"+path, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil
	case err != nil:
		return fmt.Errorf("asking the gate to drain: %w", err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusNoContent {
		return fmt.Errorf("asking the gate to drain: it answered %s", response.Status)
	}
	return nil
}
