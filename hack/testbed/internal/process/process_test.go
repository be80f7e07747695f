package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
	for _, test := range []struct {
		name, line string
		start      uint64
		state      byte
		bad        bool
	}{
		{name: "plain", line: "42 (etcd)" + rest, start: 4711, state: 'S'},
		{name: "a name with spaces and parentheses", line: "42 (a) R 1 (b)" + rest, start: 4711, state: 'S'},
		{name: "no name", line: "42 S 1", bad: true},
		{name: "too short", line: "42 (etcd) S 1 2 3", bad: true},
		{name: "empty", line: "", bad: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			start, state, err := parseStat([]byte(test.line))
			if (err != nil) != test.bad {
				t.Fatalf("error %v", err)
			}
			if !test.bad && (start != test.start || state != test.state) {
				t.Errorf("start %d, state %c", start, state)
			}
		})
	}
}

func sleeper(t *testing.T, folder string) ID {
	t.Helper()
	path, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	id, err := Start(Spec{Name: "sleep", Path: path, Args: []string{"60"}, Log: filepath.Join(folder, "log")}, folder, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(id.PID, syscall.SIGKILL) })
	return id
}

func TestStartMarkKill(t *testing.T) {
	mine, other := t.TempDir(), t.TempDir()
	id, spared := sleeper(t, mine), sleeper(t, other)
	if !id.Alive() {
		t.Fatal("it is not alive after its start")
	}
	if id.Since() < 0 || id.Since() > time.Minute {
		t.Errorf("it runs since %s", id.Since())
	}
	waitFor(t, func() bool { return slices.Equal(Marked(mine), []int{id.PID}) }) // the marker is there once it has executed its program
	if err := KillAll(func() []int { return Marked(mine) }, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return !id.Alive() })
	if !spared.Alive() {
		t.Error("the process of another folder was killed too")
	}
}

func TestAliveTellsProcessesOfTheSameIDApart(t *testing.T) {
	id := sleeper(t, t.TempDir())
	id.Start--
	if id.Alive() {
		t.Error("a process that started at another time is taken for the recorded one")
	}
	if (ID{}).Alive() {
		t.Error("no process is alive")
	}
}

func TestInNamespaceNeverReturnsTheCallersOwn(t *testing.T) {
	if found := InNamespace("net", Namespace(os.Getpid(), "net")); len(found) > 0 {
		t.Errorf("it would kill %v", found)
	}
	if found := InNamespace("net", ""); len(found) > 0 {
		t.Errorf("an unknown namespace is that of %v", found)
	}
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen within 10 seconds")
		}
	}
}
