package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// begun is after how long a process has begun: what ran until then does not run again.
const begun = time.Second

// dontNeed is MADV_DONTNEED.
const dontNeed = 4

// settle gives back, soon, the pages of the program's file that only the beginning needed. Linux maps a file's pages sixteen at a
// time, so that the beginning, which touches all packages, leaves nearly all of the file in the process's memory. What is still
// used comes back out of the page cache when it is. The returned function ends the waiting.
func settle() (stop func() bool) { return time.AfterFunc(begun, giveBackProgram).Stop }

// giveBackProgram takes the pages of the program's file, which are as they are in the file, out of the process's memory.
func giveBackProgram() {
	program, err := os.Executable()
	if err != nil {
		return
	}
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	for _, m := range untouched(string(maps), program) {
		// Not to be given back is no harm.
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, m.start, m.end-m.start, dontNeed)
	}
}

// mapping is a part of the address space.
type mapping struct{ start, end uintptr }

// untouched are the mappings of a file that cannot be written to and never were (proc_pid_smaps(5)). A program that is independent
// of its position has relocated pages among its read-only ones, which are not as they are in the file.
func untouched(smaps, file string) (out []mapping) {
	var m *mapping
	for line := range strings.Lines(smaps) {
		if key, value, found := strings.Cut(line, ":"); found && !strings.Contains(key, " ") {
			if key == "Anonymous" && m != nil && strings.TrimSpace(value) == "0 kB" {
				out = append(out, *m)
			}
			continue
		}
		m = nil
		at := strings.IndexByte(line, '/')
		if at < 0 || strings.TrimSuffix(line[at:], "\n") != file {
			continue
		}
		addresses, rest, _ := strings.Cut(line, " ")
		if !strings.HasPrefix(rest, "r-xp ") && !strings.HasPrefix(rest, "r--p ") {
			continue
		}
		from, to, _ := strings.Cut(addresses, "-")
		start, err := strconv.ParseUint(from, 16, 64)
		if err != nil {
			continue
		}
		end, err := strconv.ParseUint(to, 16, 64)
		if err != nil || end < start {
			continue
		}
		m = &mapping{uintptr(start), uintptr(end)}
	}
	return out
}
