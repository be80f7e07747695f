package cluster

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/component"
	"github.com/bartizan-dev/bartizan/hack/testbed/internal/process"
)

func newCluster(t *testing.T) *Cluster {
	return &Cluster{Dir: filepath.Join(t.TempDir(), "run"), Say: t.Logf, Builder: &component.Builder{Cache: t.TempDir(), Say: t.Logf}}
}

func TestMountsBelow(t *testing.T) {
	const mountinfo = `1 0 8:1 / / rw - ext4 /dev/sda rw
2 1 0:1 / /srv/run rw - tmpfs tmpfs rw
3 2 0:2 / /srv/run/with\040space/x rw - tmpfs tmpfs rw
4 1 0:3 / /srv/runner rw - tmpfs tmpfs rw
short line
`
	got := mountsBelow(mountinfo, "/srv/run")
	if want := []string{"/srv/run", "/srv/run/with space/x"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestImageNames(t *testing.T) {
	for _, test := range []struct{ name, canonical, repository string }{
		{"busybox:1", "docker.io/library/busybox:1", "docker.io/library/busybox"},
		{"team/app:v1", "docker.io/team/app:v1", "docker.io/team/app"},
		{"registry.example/app:v1", "registry.example/app:v1", "registry.example/app"},
		{"localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app"},
		{"localhost/app:v1", "localhost/app:v1", "localhost/app"},
		{"registry.example:5000/a/b", "registry.example:5000/a/b", "registry.example:5000/a/b"},
		{"registry.example/app@sha256:00", "registry.example/app@sha256:00", "registry.example/app"},
	} {
		t.Run(test.name, func(t *testing.T) {
			full := canonical(test.name)
			if full != test.canonical {
				t.Errorf("canonical %q", full)
			}
			if got := repository(full); got != test.repository {
				t.Errorf("repository %q", got)
			}
		})
	}
}

func TestStateSurvives(t *testing.T) {
	c := newCluster(t)
	if err := c.Open(); !errors.Is(err, ErrNone) {
		t.Fatalf("error %v", err)
	}
	c.state = state{Mode: Full, Server: "https://127.0.0.1:1", Ready: true, NetNS: "net:[1]", Parts: []part{{
		process.Spec{Name: "etcd", Path: "/bin/etcd", Args: []string{"etcd"}, Env: []string{"A=b"}, Log: "/log", Namespaced: true},
		process.ID{PID: 7, Start: 9},
	}}}
	if err := c.prepare(); err != nil {
		t.Fatal(err)
	}
	again := &Cluster{Dir: c.Dir}
	if err := again.Open(); err != nil {
		t.Fatal(err)
	}
	if len(again.state.Parts) != 1 || again.state.Parts[0].PID != 7 || again.state.Parts[0].Args[0] != "etcd" || !again.state.Ready || again.state.Mode != Full {
		t.Errorf("%+v", again.state)
	}
	if err := os.WriteFile(c.path("state.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := again.Open(); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("a damaged state opens with %v", err)
	}
}

func TestLock(t *testing.T) {
	c := newCluster(t)
	unlock, err := c.Lock(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Millisecond)
	defer cancel()
	if _, err := c.Lock(ctx); err == nil {
		t.Fatal("two hold the lock")
	}
	// Whoever waits while the folder is removed must not hold a lock on the removed one.
	got := make(chan error)
	go func() {
		unlock, err := c.Lock(context.Background())
		if err == nil {
			defer unlock()
			_, err = os.Stat(c.Dir)
		}
		got <- err
	}()
	if err := os.RemoveAll(c.Dir); err != nil {
		t.Fatal(err)
	}
	unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestDownRefusesFoldersThatAreNotATestbeds(t *testing.T) {
	c := newCluster(t)
	precious := c.path("thesis.txt")
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]func() error{
		"down": func() error { return c.Down(context.Background()) },
		"up":   func() error { return c.Up(context.Background(), ControlPlane) },
	} {
		if err := run(); err == nil || !strings.Contains(err.Error(), "thesis.txt") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := os.Stat(precious); err != nil {
		t.Fatal(err)
	}
}

func TestDownWithNothingThere(t *testing.T) {
	c := newCluster(t)
	if err := c.Down(context.Background()); !errors.Is(err, ErrNone) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(c.Dir); err == nil {
		t.Error("it made the folder")
	}
}

func TestStatusNamesWhatHasEnded(t *testing.T) {
	c := newCluster(t)
	c.state = state{Mode: ControlPlane, Ready: true, Parts: []part{{process.Spec{Name: "etcd"}, process.ID{PID: 1, Start: 1}}}}
	if err := c.prepare(); err != nil {
		t.Fatal(err)
	}
	mode, parts, err := c.Status(context.Background())
	if mode != ControlPlane || len(parts) != 1 || parts[0].Alive || err == nil || !strings.Contains(err.Error(), "etcd has ended") {
		t.Errorf("%s %+v %v", mode, parts, err)
	}
}

func TestAddonsSayWhereTheyBelong(t *testing.T) {
	for document := range bytes.SplitSeq(addons, []byte("\n---\n")) {
		if first, _, _ := strings.Cut(string(document), "\n"); !strings.HasPrefix(first, "# /api") {
			t.Errorf("an object starts with %q", first)
		}
	}
}

func TestKubeconfigIsReadBack(t *testing.T) {
	c := newCluster(t)
	creds, err := c.makeCredentials([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.makeKubeconfig(creds, "kubeconfig", "https://127.0.0.1:1", "someone"); err != nil {
		t.Fatal(err)
	}
	client, err := newAPI(c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if client.server != "https://127.0.0.1:1" {
		t.Errorf("server %q", client.server)
	}
	if info, err := os.Stat(c.Kubeconfig()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the kubeconfig is for others to read: %v %v", info.Mode(), err)
	}
}

func TestFreePortsDiffer(t *testing.T) {
	ports, err := freePorts(5)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ports)
	if len(slices.Compact(ports)) != 5 {
		t.Errorf("%v", ports)
	}
}
