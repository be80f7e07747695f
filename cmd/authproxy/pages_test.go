package main

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
)

func TestUntouched(t *testing.T) {
	const maps = `00400000-00b95000 r-xp 00000000 fe:00 123   /a b/authproxy
Rss:                7000 kB
Anonymous:             0 kB
AnonHugePages:         0 kB
VmFlags: rd ex mr mw me
00b95000-01490000 r--p 00795000 fe:00 123   /a b/authproxy
Anonymous:             0 kB
01490000-014a0000 r--p 01090000 fe:00 123   /a b/authproxy
Anonymous:             8 kB
014a0000-014b0000 r--p 01090000 fe:00 123   /a b/authproxy
01490000-0151b000 rw-p 01090000 fe:00 123   /a b/authproxy
Anonymous:             0 kB
0151b000-03562000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f0000000000-7f0000001000 r--p 00000000 fe:00 7   /a b/authproxy.so
Anonymous:             0 kB
7f0000002000-7f0000003000 r--s 00000000 fe:00 123   /a b/authproxy
Anonymous:             0 kB
zz-7f0000003000 r--p 00000000 fe:00 123   /a b/authproxy
Anonymous:             0 kB
7fff00000000-7fff00001000 r-xp 00000000 00:00 0   [vdso]
Anonymous:             0 kB
`
	want := []mapping{{0x400000, 0xb95000}, {0xb95000, 0x1490000}}
	if got := untouched(maps, "/a b/authproxy"); !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	if got := untouched(maps, "/other"); got != nil {
		t.Errorf("%x", got)
	}
}

// fileMemory is how much of files the process has in its memory, in KiB.
func fileMemory(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssFile:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no RssFile")
	return 0
}

// TestSettle: what the beginning took is given back, and the program runs on.
func TestSettle(t *testing.T) {
	for _, arguments := range [][]string{{"--help"}, {"serve", "--help"}, {"version"}} {
		c := command(&strings.Builder{}, &strings.Builder{})
		c.SetArgs(arguments)
		if err := c.Execute(); err != nil {
			t.Fatal(err)
		}
	}
	before := fileMemory(t)
	stop := settle()
	gatetest.Eventually(t, "the pages of the program are given back", func() bool { return fileMemory(t) < before*3/4 })
	if stop() {
		t.Error("it is yet to come")
	}
	c := command(&strings.Builder{}, &strings.Builder{})
	c.SetArgs([]string{"serve", "--help"})
	if err := c.Execute(); err != nil {
		t.Error(err)
	}
}
