package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/process"
)

// killing is how long processes may take to end after SIGKILL: one in the kernel's hands ends late.
const killing = 20 * time.Second

// Down takes the cluster down and removes its run folder. It needs no healthy cluster and no state.
func (c *Cluster) Down(ctx context.Context) error {
	if _, err := os.Stat(c.Dir); errors.Is(err, fs.ErrNotExist) && len(process.Marked(c.Dir)) == 0 && len(c.cgroups()) == 0 {
		return ErrNone
	}
	unlock, err := c.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return c.down()
}

func (c *Cluster) down() error {
	if err := c.foreign(); err != nil {
		return err
	}
	_ = c.Open() // a state that is lost or damaged is done without
	// Processes first: with the last one their namespaces go, and all mounts, links, routes and rules in them.
	err := errors.Join(
		process.KillAll(c.processes, killing),
		c.removeCgroups(),
	)
	if err != nil {
		return err
	}
	if err := c.unmount(); err != nil {
		return err
	}
	if err := c.removeHostFolders(); err != nil {
		return err
	}
	c.state = state{}
	return os.RemoveAll(c.Dir)
}

// foreign refuses a folder that is not a testbed's: it would be removed.
func (c *Cluster) foreign() error {
	entries, err := os.ReadDir(c.Dir)
	if err != nil || len(entries) == 0 {
		return nil
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "state.json") || entry.Name() == "pki" || entry.Name() == "log" {
			return nil
		}
	}
	return fmt.Errorf("%s is not a testbed's folder: it holds %s and no state.json; choose another --dir", c.Dir, entries[0].Name())
}

// processes returns everything that belongs to the cluster: recorded parts, unrecorded ones and their children by the marker, the containers by
// their cgroups, and whoever else is in the network namespace.
func (c *Cluster) processes() []int {
	var found []int
	for _, p := range c.state.Parts {
		if p.Alive() {
			found = append(found, p.PID)
		}
	}
	found = append(found, process.Marked(c.Dir)...)
	found = append(found, process.InNamespace("net", c.state.NetNS)...)
	for _, cgroup := range c.cgroups() {
		found = append(found, cgroupProcesses(cgroup)...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// unmount detaches what is mounted below the run folder in this mount namespace. Nothing should be: the parts mount in their own.
func (c *Cluster) unmount() error {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, mount := range slices.Backward(mountsBelow(string(raw), c.Dir)) {
		if err := syscall.Unmount(mount, syscall.MNT_DETACH); err != nil {
			return fmt.Errorf("unmounting %s: %w", mount, err)
		}
	}
	return nil
}

// mountsBelow returns the mount points of a mountinfo (proc(5)) that are in a folder or are the folder.
func mountsBelow(mountinfo, folder string) []string {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var found []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := unescape.Replace(fields[4])
		if point == folder || strings.HasPrefix(point, folder+string(filepath.Separator)) {
			found = append(found, point)
		}
	}
	return found
}
