// Package process starts the testbed's parts as daemons and finds and ends them again, by identities that survive the reuse of a process id.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Marker is the environment variable that every part carries; its value is the folder of its testbed. Children inherit it, so that a part
// that was started but never recorded, and containerd's shims, are found too.
const Marker = "BARTIZAN_TESTBED_DIR"

// Spec says how to run one part.
type Spec struct {
	Name string   `json:"name"`
	Path string   `json:"path"`
	Args []string `json:"args"`
	Env  []string `json:"env,omitempty"`
	Log  string   `json:"log"`
	// Namespaced parts run in the testbed's own network and mount namespaces.
	Namespaced bool `json:"namespaced,omitempty"`
}

// ID is a process: its id, and its start time in clock ticks since boot (proc(5), stat field 22), which tells it from a later process of the same id.
type ID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
}

// Start runs spec as a daemon with marker as its folder. Where member is not zero, it runs in the network and mount namespaces of that process.
// Where unshare is not zero, it gets new namespaces of these kinds (CLONE_NEW*).
func Start(spec Spec, marker string, member int, unshare uintptr) (ID, error) {
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return ID{}, err
	}
	defer log.Close()
	path, args := spec.Path, spec.Args
	if member != 0 {
		args = append([]string{
			fmt.Sprintf("--net=/proc/%d/ns/net", member), fmt.Sprintf("--mount=/proc/%d/ns/mnt", member), "--", path,
		}, args...)
		if path, err = exec.LookPath("nsenter"); err != nil {
			return ID{}, err
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(append(environment(), spec.Env...), Marker+"="+marker)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Unshareflags: unshare}
	if err := cmd.Start(); err != nil {
		return ID{}, fmt.Errorf("starting %s: %w", spec.Name, err)
	}
	start, _, err := stat(cmd.Process.Pid)
	if err != nil { // it is gone already; whoever waits for it finds that out and shows its log
		start = 1
	}
	id := ID{PID: cmd.Process.Pid, Start: start}
	go func() { _ = cmd.Wait() }() // so that it is no zombie while this program lives
	return id, nil
}

// environment is what parts get of the caller's: nothing that could change what they do, such as a proxy, and no secret.
func environment() []string {
	var kept []string
	for _, name := range []string{"PATH", "HOME", "XDG_CACHE_HOME"} {
		if value, ok := os.LookupEnv(name); ok {
			kept = append(kept, name+"="+value)
		}
	}
	return kept
}

// Alive tells whether the process still runs.
func (id ID) Alive() bool {
	if id.PID == 0 {
		return false
	}
	start, state, err := stat(id.PID)
	return err == nil && start == id.Start && state != 'Z' && state != 'X'
}

// Since returns for how long the process has run.
func (id ID) Since() time.Duration {
	raw, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0
	}
	var uptime float64
	if _, err := fmt.Sscan(string(raw), &uptime); err != nil {
		return 0
	}
	const ticksPerSecond = 100 // USER_HZ, fixed on Linux
	return time.Duration((uptime - float64(id.Start)/ticksPerSecond) * float64(time.Second))
}

func stat(pid int) (start uint64, state byte, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	return parseStat(raw)
}

// parseStat reads the state and the start time out of a line of /proc/PID/stat. The command's name, in parentheses, may hold anything.
func parseStat(raw []byte) (start uint64, state byte, err error) {
	end := bytes.LastIndexByte(raw, ')')
	if end < 0 {
		return 0, 0, errors.New("no command name in a process's stat line")
	}
	fields := strings.Fields(string(raw[end+1:])) // starts with field 3
	if len(fields) < 20 {
		return 0, 0, errors.New("too few fields in a process's stat line")
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return start, fields[0][0], err
}

// Marked returns the processes, other than the calling one, that carry the marker of this folder.
func Marked(marker string) []int {
	return all(func(pid int) bool { return markerOf(pid) == marker })
}

// AnyOther tells whether a part of another folder's testbed runs in a mount namespace that is not the caller's.
func AnyOther(marker string) bool {
	own := Namespace(os.Getpid(), "mnt")
	return len(all(func(pid int) bool {
		other := markerOf(pid)
		return other != "" && other != marker && Namespace(pid, "mnt") != own
	})) > 0
}

// markerOf returns the folder that a process is marked with, or "".
func markerOf(pid int) string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return ""
	}
	for _, entry := range bytes.Split(raw, []byte{0}) {
		if value, ok := bytes.CutPrefix(entry, []byte(Marker+"=")); ok {
			return string(value)
		}
	}
	return ""
}

// Namespace names the namespace of a kind ("net", "mnt") that a process is in, as /proc shows it; "" where that cannot be told.
func Namespace(pid int, kind string) string {
	name, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	if err != nil {
		return ""
	}
	return name
}

// InNamespace returns the processes that are in a namespace, by the name that Namespace gave. It returns none for the caller's own namespace.
func InNamespace(kind, name string) []int {
	if name == "" || name == Namespace(os.Getpid(), kind) {
		return nil
	}
	return all(func(pid int) bool { return Namespace(pid, kind) == name })
}

func all(match func(pid int) bool) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() || !match(pid) {
			continue
		}
		if _, state, err := stat(pid); err != nil || state == 'Z' || state == 'X' {
			continue
		}
		found = append(found, pid)
	}
	return found
}

// KillAll kills whatever find returns until it returns nothing.
func KillAll(find func() []int, deadline time.Duration) error {
	end := time.Now().Add(deadline)
	for {
		pids := find()
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if time.Now().After(end) {
			return fmt.Errorf("processes %v do not end", pids)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Tail returns the last lines of a part's log.
func Tail(log string, lines int) string {
	raw, err := os.ReadFile(log)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return fmt.Sprintf("the end of %s:\n  %s", filepath.Base(log), strings.Join(all, "\n  "))
}
