// Package cluster brings a Kubernetes cluster up from compiled components, heals it, and takes it down without a trace.
package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/component"
	"github.com/bartizan-dev/bartizan/hack/testbed/internal/process"
)

// A Cluster is what one run folder holds.
type Cluster struct {
	// Dir is the run folder: state, logs, certificates, kubeconfig, data. It is absolute.
	Dir string
	// Builder compiles what is missing.
	Builder *component.Builder
	// Say shows a person what goes on.
	Say func(format string, args ...any)

	state state
}

// Mode is how much of a cluster there is.
type Mode string

// The modes.
const (
	ControlPlane Mode = "control-plane" // etcd and kube-apiserver on the host's loopback
	Full         Mode = "full"          // everything, in namespaces of its own
)

// state is what a later run needs to heal the cluster or take it down.
type state struct {
	Mode  Mode   `json:"mode"`
	Parts []part `json:"parts"`
	// Ready is set once everything was up.
	Ready bool `json:"ready"`
	// Server is the API server's address as the host reaches it.
	Server string `json:"server"`
	// NetNS names the network namespace of its own, as /proc shows it.
	NetNS string `json:"netns,omitempty"`
}

type part struct {
	process.Spec
	process.ID
}

func (c *Cluster) path(elements ...string) string {
	return filepath.Join(append([]string{c.Dir}, elements...)...)
}

// Kubeconfig is the file that reaches the cluster from the host.
func (c *Cluster) Kubeconfig() string { return c.path("kubeconfig") }

// AuditLog is the API server's record of who wrote what, one event of audit.k8s.io/v1 a line.
func (c *Cluster) AuditLog() string { return c.path("log/audit.log") }

// InnerKubeconfig is the file that reaches the cluster from inside its network namespace.
func (c *Cluster) InnerKubeconfig() string { return c.path("kubeconfig-inside") }

// ID is a short name that is unique to the run folder.
func (c *Cluster) ID() string {
	sum := sha256.Sum256([]byte(c.Dir))
	return hex.EncodeToString(sum[:])[:8]
}

// ErrNone means that there is no cluster in the run folder.
var ErrNone = errors.New("no testbed runs here")

// Open reads the state of the cluster in the run folder. It returns ErrNone where there is none.
func (c *Cluster) Open() error {
	raw, err := os.ReadFile(c.path("state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		c.state = state{}
		return ErrNone
	}
	if err != nil {
		return err
	}
	c.state = state{}
	if err := json.Unmarshal(raw, &c.state); err != nil {
		return fmt.Errorf("%s is damaged (%w); run down, then up", c.path("state.json"), err)
	}
	return nil
}

// save writes the state in one step, so that a crash leaves the old one or the new one.
func (c *Cluster) save() error {
	raw, err := json.MarshalIndent(c.state, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.path("state.json.new"), raw, 0o600); err != nil {
		return err
	}
	return os.Rename(c.path("state.json.new"), c.path("state.json"))
}

// Lock makes sure that one process at a time changes the cluster. The lock is on the run folder itself, and ends with the process.
func (c *Cluster) Lock(ctx context.Context) (unlock func(), err error) {
	for said := false; ; {
		if err := os.MkdirAll(c.Dir, 0o755); err != nil {
			return nil, err
		}
		folder, err := os.Open(c.Dir)
		if errors.Is(err, fs.ErrNotExist) { // down was quicker
			continue
		}
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && sameFile(folder, c.Dir) { // else it was removed meanwhile, by down
			return func() { folder.Close() }, nil
		}
		folder.Close()
		if err != nil && !said {
			c.Say("another process changes the testbed in %s just now; waiting for it", c.Dir)
			said = true
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func sameFile(open *os.File, path string) bool {
	held, err := open.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(held, there)
}

// self is the path of parts that are this very program. It is looked up at every start: the one that started them first may be gone, as go run's is.
const self = "(testbed)"

// start runs a part and records it.
func (c *Cluster) start(spec process.Spec) error {
	spec.Log = c.path("log", spec.Name+".log")
	index := -1
	for i := range c.state.Parts {
		if c.state.Parts[i].Name == spec.Name {
			index = i
		}
	}
	if index < 0 {
		c.state.Parts = append(c.state.Parts, part{})
		index = len(c.state.Parts) - 1
	}
	member, unshare := 0, uintptr(0)
	if spec.Namespaced {
		if member = c.member(); member == 0 {
			if spec.Name != anchorName {
				return fmt.Errorf("%s cannot start: nothing is left in the testbed's namespaces", spec.Name)
			}
			unshare = syscall.CLONE_NEWNS | syscall.CLONE_NEWNET
		}
	}
	run := spec
	if run.Path == self {
		var err error
		if run.Path, err = os.Executable(); err != nil {
			return err
		}
	}
	id, err := process.Start(run, c.Dir, member, unshare)
	if err != nil {
		return err
	}
	c.state.Parts[index] = part{Spec: spec, ID: id}
	return c.save()
}

// member returns a living process in the testbed's namespaces, or 0.
func (c *Cluster) member() int {
	for _, p := range c.state.Parts {
		if p.Namespaced && p.Alive() && (c.state.NetNS == "" || process.Namespace(p.PID, "net") == c.state.NetNS) {
			return p.PID
		}
	}
	return 0
}

// patience is how long a step may take. It is long, for machines that do much else at the time: a part that has died ends the waiting anyhow.
const patience = 5 * time.Minute

// wait polls until check succeeds. It ends early when a part has died, with the end of its log.
func (c *Cluster) wait(ctx context.Context, what string, limit time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s: not within %s", what, limit))
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		for _, p := range c.state.Parts {
			if !p.Alive() {
				return fmt.Errorf("%s has ended; %s", p.Name, process.Tail(p.Log, 15))
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
