package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/process"
)

// hostFolders are where parts keep files whatever they are told. In the testbed's mount namespace each is a folder of the run folder; outside there
// has to be an empty folder to mount on.
var hostFolders = []string{"/run/containerd", "/run/mount", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers"}

// madeByTestbed is an extended attribute of host folders that were not there before.
const madeByTestbed = "trusted.bartizan.testbed"

// lockHostFolders keeps a testbed that takes its host folders away and one that is about to mount on them from meeting.
func (c *Cluster) lockHostFolders() (unlock func(), err error) {
	if err := os.MkdirAll(c.Builder.Cache, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(c.Builder.Cache, "host.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	return func() { file.Close() }, syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
}

func (c *Cluster) makeHostFolders() error {
	for _, folder := range hostFolders {
		err := os.Mkdir(folder, 0o755)
		if err == nil {
			err = unix.Setxattr(folder, madeByTestbed, nil, 0)
		} else if errors.Is(err, fs.ErrExist) {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("making the folder %s: %w", folder, err)
		}
		if err := os.MkdirAll(c.path("host", folder), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// removeHostFolders removes those that a testbed made, unless another testbed has mounts on them: removing them would end the mounts.
func (c *Cluster) removeHostFolders() error {
	if os.Geteuid() != 0 {
		return nil // then none was made
	}
	unlock, err := c.lockHostFolders()
	if err != nil {
		return err
	}
	defer unlock()
	if process.AnyOther(c.Dir) {
		return nil
	}
	for _, folder := range hostFolders {
		if _, err := unix.Getxattr(folder, madeByTestbed, nil); err == nil {
			_ = os.Remove(folder) // fails where something outside of the testbed uses it by now
		}
	}
	return nil
}
