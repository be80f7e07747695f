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
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for _, m := range mapped(string(maps), program) {
		// Not to be given back is no harm.
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, m.start, m.end-m.start, dontNeed)
	}
}

// mapping is a part of the address space.
type mapping struct{ start, end uintptr }

// mapped are the mappings of a file that cannot be written to (proc_pid_maps(5)).
func mapped(maps, file string) (out []mapping) {
	for line := range strings.Lines(maps) {
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
		out = append(out, mapping{uintptr(start), uintptr(end)})
	}
	return out
}
