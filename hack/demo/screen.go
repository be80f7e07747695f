package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// width is where lines are wrapped, in characters.
const width = 110

// screen prints what is being done, how long it took, and what was found.
type screen struct {
	w     io.Writer
	begun time.Time
	// bold, good, bad and plain are terminal sequences; empty where nobody looks at a terminal.
	bold, good, bad, plain string

	mu     sync.Mutex
	times  []string
	checks int
	wrong  []string
}

func newScreen(w *os.File) *screen {
	s := &screen{w: w, begun: time.Now()}
	if info, err := w.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" {
		s.bold, s.good, s.bad, s.plain = "\033[1m", "\033[32m", "\033[31m", "\033[0m"
	}
	return s
}

func (s *screen) printf(format string, arguments ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, format, arguments...)
}

func (s *screen) title(text string) {
	s.printf("\n%s%s%s\n%s\n", s.bold, text, s.plain, strings.Repeat("─", min(len([]rune(text)), width)))
}

// stage does one thing and says how long it took.
func (s *screen) stage(name string, do func() error) error {
	begun := time.Now()
	s.printf("  … %s\n", name)
	err := do()
	took := time.Since(begun)
	if err != nil {
		s.printf("  %s✘%s not done, after %s\n", s.bad, s.plain, seconds(took))
		return fmt.Errorf("%s: %w", name, err)
	}
	s.printf("  %s✔%s %s (%s since the beginning)\n", s.good, s.plain, seconds(took), seconds(time.Since(s.begun)))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times = append(s.times, fmt.Sprintf("%8s  %s", seconds(took), name))
	return nil
}

// seen prints one check: what was tried, what happened, and whether that is what must happen.
func (s *screen) seen(name, tried, happened string, right bool) {
	mark := s.good + "✔" + s.plain
	if !right {
		mark = s.bad + "✘" + s.plain
	}
	s.printf("\n%s %s\n%s%s", mark, name, indented("tried:    ", tried), indented("happened: ", happened))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks++
	if !right {
		s.wrong = append(s.wrong, name)
	}
}

// indented puts a label before the first line of a text and wraps long ones.
func indented(label, text string) string {
	var b strings.Builder
	room := width - len(label) - 4
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		for {
			runes := []rune(line)
			cut := len(runes)
			if cut > room {
				cut = room
				if space := strings.LastIndex(string(runes[:room]), " "); space > room/2 {
					cut = len([]rune(string(runes[:room])[:space]))
				}
			}
			fmt.Fprintf(&b, "    %s%s\n", label, string(runes[:cut]))
			label = strings.Repeat(" ", len(label))
			if cut == len(runes) {
				break
			}
			line = strings.TrimPrefix(string(runes[cut:]), " ")
		}
	}
	return b.String()
}

// summary prints the times, and returns an error when anything was not as it must be.
func (s *screen) summary() error {
	s.title("Times")
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.times {
		fmt.Fprintln(s.w, line)
	}
	fmt.Fprintf(s.w, "%8s  in all\n", seconds(time.Since(s.begun)))
	if len(s.wrong) > 0 {
		return fmt.Errorf("%d of %d checks did not end as they must: %s", len(s.wrong), s.checks, strings.Join(s.wrong, "; "))
	}
	if s.checks > 0 {
		fmt.Fprintf(s.w, "\n%s✔ all %d checks ended as they must%s\n", s.good, s.checks, s.plain)
	}
	return nil
}

func seconds(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
}
