package selftest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/process"
)

// A trace is what a testbed could leave behind on the machine, outside its run folder.
type trace struct {
	links, namespaces, mounts, cgroups, folders []string
	settings                                    map[string]string
}

func takeTrace() (trace, error) {
	var t trace
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return t, err
	}
	for line := range strings.Lines(string(mountinfo)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			t.mounts = append(t.mounts, fields[4])
		}
	}
	for list, pattern := range map[*[]string]string{
		&t.links: "/sys/class/net/*", &t.namespaces: "/run/netns/*", &t.cgroups: "/sys/fs/cgroup/*/bartizan-testbed-*",
	} {
		if *list, err = filepath.Glob(pattern); err != nil {
			return t, err
		}
	}
	for _, folder := range []string{"/run", "/var/lib", "/var/log", "/opt", "/etc"} {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return t, err
		}
		for _, entry := range entries {
			t.folders = append(t.folders, filepath.Join(folder, entry.Name()))
		}
	}
	t.settings = map[string]string{}
	for _, name := range []string{
		"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "net/ipv4/ip_forward",
	} {
		value, err := os.ReadFile(filepath.Join("/proc/sys", name))
		if err != nil {
			return t, err
		}
		t.settings[name] = string(value)
	}
	return t, nil
}

// compare is nil when nothing came since the trace was taken, and no process of the run folder's testbed runs.
func (t trace) compare(dir string) error {
	now, err := takeTrace()
	if err != nil {
		return err
	}
	var left []error
	for _, kind := range []struct {
		name          string
		before, after []string
	}{
		{"link", t.links, now.links}, {"network namespace", t.namespaces, now.namespaces}, {"mount", t.mounts, now.mounts},
		{"cgroup", t.cgroups, now.cgroups}, {"folder", t.folders, now.folders},
	} {
		for _, name := range kind.after {
			if !slices.Contains(kind.before, name) {
				left = append(left, fmt.Errorf("down left the %s %s", kind.name, name))
			}
		}
	}
	if !maps.Equal(t.settings, now.settings) {
		left = append(left, fmt.Errorf("kernel settings changed from %v to %v", t.settings, now.settings))
	}
	if pids := process.Marked(dir); len(pids) > 0 {
		left = append(left, fmt.Errorf("down left the processes %v", pids))
	}
	if _, err := os.Lstat(dir); err == nil {
		left = append(left, fmt.Errorf("down left %s", dir))
	}
	return errors.Join(left...)
}
