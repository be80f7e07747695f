package stdio

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
	"github.com/bartizan-dev/bartizan/internal/literal"
)

// What a child may write into the log: lines of this many bytes, so many a second.
const (
	maxLogLine = 4 << 10
	logRate    = 50
	logBurst   = 200
)

// logger writes the messages of the bridge, one JSON line each.
type logger struct {
	*slog.Logger
	mu   sync.Mutex
	rate map[string]*rate.Limiter
}

func newLogger(w io.Writer) *logger {
	return &logger{Logger: slog.New(slog.NewJSONHandler(w, nil)), rate: map[string]*rate.Limiter{}}
}

func (l *logger) say(text string, attributes ...any) { l.Info(text, attributes...) }

// rare writes a message that a child can cause as often as it likes: each text at most once in ten seconds.
func (l *logger) rare(text string, attributes ...any) {
	l.mu.Lock()
	if l.rate[text] == nil {
		l.rate[text] = rate.NewLimiter(rate.Every(10*time.Second), 1)
	}
	allowed := l.rate[text].Allow()
	l.mu.Unlock()
	if allowed {
		l.Warn(text, attributes...)
	}
}

// copy writes what a child writes to its standard error, line by line, cut and counted where it is too much, without what looks
// like a secret. It returns at the end of the output.
func (l *logger) copy(from io.ReadCloser, child int) {
	defer from.Close()
	limit := rate.NewLimiter(logRate, logBurst)
	lines := bufio.NewReaderSize(from, maxLogLine)
	left := 0
	for {
		line, err := lines.ReadSlice('\n')
		cut := errors.Is(err, bufio.ErrBufferFull)
		if text := strings.TrimRight(string(line), "\r\n"); text != "" {
			if limit.Allow() {
				l.Info("stderr", "child", child, "line", redact(text))
			} else {
				left++
			}
		}
		for cut {
			_, err = lines.ReadSlice('\n')
			cut = errors.Is(err, bufio.ErrBufferFull)
		}
		if left > 0 && (err != nil || limit.Tokens() > logBurst/2) {
			l.Warn("lines of a child were left out", "child", child, "lines", left)
			left = 0
		}
		if err != nil {
			return
		}
	}
}

// redact leaves out the words of a line that look like secrets.
func redact(line string) string {
	words := strings.Split(strings.ToValidUTF8(line, "\uFFFD"), " ")
	for i, word := range words {
		name, value, ok := literal.Flag(word)
		if !ok {
			name, value = "", word
			if i > 0 {
				name = strings.TrimRight(words[i-1], ":=")
			}
		}
		if literal.Find(name, strings.Trim(value, `"',;()[]{}`)) != "" {
			words[i] = "[redacted]"
		}
	}
	return strings.Join(words, " ")
}

func compact(line []byte) []byte { return strictjson.Compact(make([]byte, 0, len(line)), line) }
