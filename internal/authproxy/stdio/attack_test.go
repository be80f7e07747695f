package stdio

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestHostileChild: what a child says wrong harms nobody but its own caller, and the next call works again.
func TestHostileChild(t *testing.T) {
	w := newWorld(t, "rude")
	bob := w.join("agents/bob")
	pid, _, _ := strings.Cut(bob.call("0", "echo", ""), " ")
	const ended = "error -32603 the server's process ended before it answered"
	for _, tc := range []struct{ tool, want string }{
		{"twice", "first"}, {"foreign", "own"}, {"garbage", "after garbage\r"}, {"returns", ""},
		{"crash", ended}, {"half", ended}, {"malformed", ended}, {"batch", ended}, {"doubled", ended}, {"endless", ended},
	} {
		// Each is another caller, so that none has to wait after the crash of the one before.
		alice := w.join("agents/" + tc.tool)
		if got := alice.call("1", tc.tool, ""); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.tool, got, tc.want)
		}
		status, _ := alice.post(tool("2", "echo", "x"))
		if want := map[bool]int{true: http.StatusNotFound, false: http.StatusOK}[tc.want == ended]; status != want {
			t.Errorf("%s: the session afterwards: %d, want %d", tc.tool, status, want)
		}
		if got := w.join("agents/"+tc.tool).call("1", "echo", "y"); !strings.HasSuffix(got, " y") {
			t.Errorf("%s: a new session: %q", tc.tool, got)
		}
		if got := bob.call("1", "echo", "z"); got != pid+" z" {
			t.Errorf("%s: somebody else: %q", tc.tool, got)
		}
	}
}

// TestCrashes: a child that crashes all the time is not started all the time.
func TestCrashes(t *testing.T) {
	w := newWorld(t, "rude", func(o *Options) { o.Stateful = false })
	alice := &caller{w: w, name: "agents/alice"}
	refused := 0
	for range 20 {
		switch status, _ := alice.post(tool("1", "crash", "")); status {
		case http.StatusOK:
		case http.StatusServiceUnavailable:
			refused++
		default:
			t.Errorf("got %d", status)
		}
	}
	if refused < 10 {
		t.Errorf("%d of 20 were refused", refused)
	}
	eventually(t, "it is started again", func() bool {
		status, all := alice.post(tool("1", "echo", "x"))
		return status == http.StatusOK && strings.HasSuffix(content(t, "1", all[0]), " x")
	})
}

// TestMemory: a child that takes too much is ended, and the others go on.
func TestMemory(t *testing.T) {
	w := newWorld(t, "rude", func(o *Options) { o.ChildMemory = 64 << 20 })
	alice, bob := w.join("agents/alice"), w.join("agents/bob")
	if got := alice.call("1", "eat", ""); !strings.HasPrefix(got, "error -32603") {
		t.Errorf("got %q", got)
	}
	if got := bob.call("1", "echo", "x"); !strings.HasSuffix(got, " x") {
		t.Errorf("bob: %q", got)
	}
}

// TestNothingIsLeft: what a child has started ends with it.
func TestNothingIsLeft(t *testing.T) {
	w := newWorld(t, "rude")
	alice := w.join("agents/alice")
	left := alice.call("1", "leave", "")
	if _, err := os.Stat("/proc/" + left); err != nil {
		t.Fatal(err)
	}
	alice.call("2", "crash", "")
	eventually(t, "the process that the child left ends", func() bool {
		stat, err := os.ReadFile("/proc/" + left + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

// TestChildIsNoCaller: a child that connects to the socket is not served.
func TestChildIsNoCaller(t *testing.T) {
	w := newWorld(t, "rude")
	if got := w.join("agents/alice").call("1", "dial", w.socket); got != "0 bytes" {
		t.Errorf("the child got %q", got)
	}
	if w.bridge.refused.Load() == 0 {
		t.Error("nothing was refused")
	}
	if !descends(-1, os.Getpid()) || descends(0, os.Getpid()) || descends(os.Getppid(), os.Getpid()) {
		t.Error("who comes from whom is wrong")
	}
}

// TestServersThatDoNotStart end the bridge, with words that say why.
func TestServersThatDoNotStart(t *testing.T) {
	for name, command := range map[string][]string{
		"cannot be started":  {"/does/not/exist"},
		"does not answer an": {"/bin/false"},
	} {
		b, err := New(Options{Command: command, Socket: t.TempDir() + "/s", MaxChildren: 1, IdleTimeout: time.Hour, Log: &text{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Run(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: %v", command, err)
		}
		b.pool.end()
	}
	if _, err := New(Options{}); err == nil {
		t.Error("a bridge without a command")
	}
}

// TestPickyServer: one that ends at the first question it does not know is asked the other way.
func TestPickyServer(t *testing.T) {
	w := newWorld(t, "picky", func(o *Options) { o.MaxChildren = 1 })
	if got := w.join("agents/alice").call("1", "echo", "x"); !strings.HasSuffix(got, " x") {
		t.Errorf("got %q", got)
	}
	if w.bridge.modern {
		t.Error("it is taken for a modern one")
	}
}
