package cluster

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cgroupRoot is where all cgroup hierarchies are mounted: of version 1 one in each folder, of version 2 the folder itself.
const cgroupRoot = "/sys/fs/cgroup"

// cgroupName is the cgroup that the kubelet makes all of its own in.
func (c *Cluster) cgroupName() string { return "bartizan-testbed-" + c.ID() }

// cgroups returns the cluster's cgroup in every hierarchy that has it.
func (c *Cluster) cgroups() []string {
	var found []string
	for _, pattern := range []string{cgroupRoot, filepath.Join(cgroupRoot, "*")} {
		matches, err := filepath.Glob(filepath.Join(pattern, c.cgroupName()))
		if err == nil {
			found = append(found, matches...)
		}
	}
	return found
}

// makeCgroups makes the cluster's cgroup in every hierarchy: the kubelet demands that its root exists.
func (c *Cluster) makeCgroups() error {
	hierarchies := []string{cgroupRoot}
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err != nil { // version 1
		entries, err := os.ReadDir(cgroupRoot)
		if err != nil {
			return fmt.Errorf("no cgroups: %w; they must be mounted at %s", err, cgroupRoot)
		}
		hierarchies = nil
		for _, entry := range entries {
			if entry.IsDir() {
				hierarchies = append(hierarchies, filepath.Join(cgroupRoot, entry.Name()))
			}
		}
	}
	for _, hierarchy := range hierarchies {
		folder := filepath.Join(hierarchy, c.cgroupName())
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		// A cpuset of version 1 starts empty, and nothing can run in it.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			parent, err := os.ReadFile(filepath.Join(hierarchy, file))
			if err != nil || filepath.Base(hierarchy) != "cpuset" {
				continue
			}
			if err := os.WriteFile(filepath.Join(folder, file), parent, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func cgroupProcesses(cgroup string) []int {
	var found []int
	_ = filepath.WalkDir(cgroup, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil
		}
		raw, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if err != nil {
			return nil
		}
		for field := range strings.FieldsSeq(string(raw)) {
			if pid, err := strconv.Atoi(field); err == nil && pid != 0 {
				found = append(found, pid)
			}
		}
		return nil
	})
	return found
}

// removeCgroups removes the cluster's cgroups, the innermost first. One that a process has just left is busy for a moment.
func (c *Cluster) removeCgroups() error {
	end := time.Now().Add(killing)
	for {
		var last error
		for _, cgroup := range c.cgroups() {
			var folders []string
			_ = filepath.WalkDir(cgroup, func(path string, entry fs.DirEntry, err error) error {
				if err == nil && entry.IsDir() {
					folders = append(folders, path)
				}
				return nil
			})
			for _, folder := range slices.Backward(folders) {
				if err := os.Remove(folder); err != nil && !os.IsNotExist(err) {
					last = err
				}
			}
		}
		if last == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("removing the containers' cgroups: %w", last)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
