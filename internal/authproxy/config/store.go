package config

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

const (
	dataLink = "..data"
	// interval is how often the directory is looked at. A poll misses nothing that a watch could, on any file system.
	interval = time.Second
)

// Store holds the generation in force. Its zero value is not ready for use; see NewStore.
type Store struct {
	directory string
	server    gateconfig.Object
	current   atomic.Pointer[state]
	// observe is told about every attempt to load; its error is nil when the generation came into force.
	observe func(*Generation, error)

	err atomic.Pointer[string]

	mu    sync.Mutex // guards what follows; one reload at a time
	tried bool
	seen  string
	// ripe is when the certificate in the directory is shown; zero when it is.
	ripe time.Time
	now  func() time.Time
}

// state pairs a generation with the channel that is closed when it is replaced.
type state struct {
	generation *Generation
	replaced   chan struct{}
}

// NewStore returns a Store without a generation. The observer is told about every attempt to load, one at a time.
func NewStore(directory string, server gateconfig.Object, observe func(*Generation, error)) *Store {
	s := &Store{directory: directory, server: server, observe: observe, now: time.Now}
	s.current.Store(&state{replaced: make(chan struct{})})
	return s
}

// Current returns the generation in force, nil when there has been none, and a channel that is closed once another is.
func (s *Store) Current() (*Generation, <-chan struct{}) {
	current := s.current.Load()
	return current.generation, current.replaced
}

// Err says why what is in the directory is not in force; empty when it is.
func (s *Store) Err() string {
	if text := s.err.Load(); text != nil {
		return *text
	}
	return ""
}

// Reload looks at the directory and puts what it holds into force, if it changed and can be obeyed.
func (s *Store) Reload() {
	s.mu.Lock()
	defer s.mu.Unlock()
	print := fingerprint(s.directory)
	before := s.Err()
	ripened := !s.ripe.IsZero() && !s.now().Before(s.ripe)
	if s.tried && print == s.seen && before == "" && !ripened {
		return
	}
	first := !s.tried
	s.tried = true
	next, err := Load(s.directory, s.server)
	if err != nil {
		text := err.Error()
		s.err.Store(&text)
		if first || print != s.seen || text != before {
			s.observe(nil, err)
		}
		s.seen = print
		return
	}
	s.seen, s.ripe = print, time.Time{}
	if current, _ := s.Current(); current != nil {
		if ripe := ripens(next.Certificate.Leaf, current.Certificate.Leaf); s.now().Before(ripe) {
			next.Certificate, s.ripe = current.Certificate, ripe
		}
	}
	previous := s.current.Swap(&state{generation: next, replaced: make(chan struct{})})
	s.err.Store(nil)
	close(previous.replaced)
	s.observe(next, nil)
}

// Watch reloads until the context ends.
func (s *Store) Watch(ctx context.Context) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		s.Reload()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// fingerprint changes whenever the directory's content may have changed. It is taken before the files are read, so that
// a change while they are read is seen the next time.
func fingerprint(directory string) string {
	var b strings.Builder
	if target, err := os.Readlink(filepath.Join(directory, dataLink)); err == nil {
		b.WriteString(target)
	}
	for _, file := range []string{gateconfig.ConfigFile, gateconfig.CertificateFile, gateconfig.PrivateKeyFile} {
		if info, err := os.Stat(filepath.Join(directory, file)); err == nil {
			fmt.Fprintf(&b, "|%d %d", info.Size(), info.ModTime().UnixNano())
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				fmt.Fprintf(&b, " %d", stat.Ino)
			}
		}
	}
	return b.String()
}
