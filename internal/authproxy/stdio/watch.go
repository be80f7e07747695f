package stdio

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"syscall"
	"time"
)

// watchInterval is how often children are looked at.
const watchInterval = 2 * time.Second

// watch ends what has been idle for too long or takes too much memory, and reaps what children left behind.
func (b *Bridge) watch(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			b.sessions.stale(now.Add(-b.options.IdleTimeout))
			b.pool.tidy(now.Add(-b.options.IdleTimeout))
			b.pool.survey(os.Getpid(), b.options.ChildMemory)
		}
	}
}

// survey looks at the processes that this one can see: the groups of children that take more memory than most, in bytes, are
// ended; processes without a parent that are ours by being the first of the container are reaped.
func (p *pool) survey(self int, most int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := self == 1
	if len(p.children) == 0 && !first || most == 0 && !first {
		return
	}
	memory := map[int]int64{}
	for _, one := range processes() {
		if one.state == 'Z' && one.parent == self && p.pids[one.pid] == nil {
			_, _ = syscall.Wait4(one.pid, nil, syscall.WNOHANG, nil)
			continue
		}
		memory[one.group] += one.resident
	}
	for pid, c := range p.pids {
		if most > 0 && memory[pid] > most {
			c.broken("it takes more memory than --child-memory")
		}
	}
}

// proc is what the kernel says of a process (proc_pid_stat(5)).
type proc struct {
	pid, parent, group int
	state              byte
	resident           int64
}

// processes are those that this one can see.
func processes() []proc {
	folder, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = folder.Close() }()
	names, _ := folder.Readdirnames(-1)
	var all []proc
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if one, ok := look(pid); ok {
			all = append(all, one)
		}
	}
	return all
}

// look reads the state of a process.
func look(pid int) (proc, bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return proc{}, false
	}
	// The name of the program is in parentheses and may hold anything.
	_, rest, ok := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	fields := bytes.Fields(rest)
	if !ok || len(fields) < 22 {
		return proc{}, false
	}
	field := func(i int) int64 { n, _ := strconv.ParseInt(string(fields[i]), 10, 64); return n }
	return proc{pid: pid, state: fields[0][0], parent: int(field(1)), group: int(field(2)),
		resident: field(21) * int64(os.Getpagesize())}, true
}
