package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/component"
)

// The cluster's own images.
const (
	pauseImage = "testbed.bartizan.dev/pause:1"
	dnsImage   = "testbed.bartizan.dev/coredns:1.14.3"
)

// BuildImage puts a component's binary into an image, and returns the archive. It is kept beside the binary.
func (c *Cluster) BuildImage(ctx context.Context, built map[string]component.Built, from component.Component, name, user string) (string, error) {
	binary := built[from.Name].Binary
	archive := binary + ".tar"
	if _, err := os.Stat(archive); err == nil {
		return archive, nil
	}
	draft := archive + "." + c.ID()
	defer os.Remove(draft)
	cmd := exec.CommandContext(ctx, built[component.Images.Name].Binary, "build", "--name", name, "--user", user,
		"--file", binary+":/"+from.Name, "--entrypoint", "/"+from.Name, "--out", draft)
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the image %s: %w: %s", name, err, output)
	}
	return archive, os.Rename(draft, archive)
}

// LoadImage makes the images of an archive usable in pods. It returns their references by tag and by digest.
func (c *Cluster) LoadImage(ctx context.Context, archive string) ([]string, error) {
	if err := c.Open(); err != nil {
		return nil, err
	}
	if c.state.Mode != Full {
		return nil, errors.New("this testbed runs no pods: it was made with --only control-plane")
	}
	return c.load(ctx, archive)
}

func (c *Cluster) load(ctx context.Context, archive string) ([]string, error) {
	names, err := archiveNames(archive)
	if err != nil {
		return nil, err
	}
	if err := c.ctr(ctx, nil, "images", "import", archive); err != nil {
		return nil, fmt.Errorf("%s: %w", archive, err)
	}
	var references []string
	for _, name := range names {
		full := canonical(name)
		digest, err := c.digest(ctx, full)
		if err != nil && name != full {
			// containerd took the name as it is, which no pod could ask for.
			if err := c.ctr(ctx, nil, "images", "tag", "--force", name, full); err != nil {
				return nil, err
			}
			digest, err = c.digest(ctx, full)
		}
		if err != nil {
			return nil, err
		}
		pinned := repository(full) + "@" + digest
		if err := c.ctr(ctx, nil, "images", "tag", "--force", full, pinned); err != nil {
			return nil, err
		}
		references = append(references, full, pinned)
	}
	return references, nil
}

// digest returns the digest of the image that has a name.
func (c *Cluster) digest(ctx context.Context, name string) (string, error) {
	var table bytes.Buffer
	if err := c.ctr(ctx, &table, "images", "list", "name=="+name); err != nil {
		return "", err
	}
	for line := range strings.Lines(table.String()) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] == name && strings.HasPrefix(fields[2], "sha256:") {
			return fields[2], nil
		}
	}
	return "", fmt.Errorf("containerd has not imported %s", name)
}

// canonical completes a name as container runtimes do: without a host it is one of docker.io.
func canonical(name string) string {
	host, rest, ok := strings.Cut(name, "/")
	switch {
	case !ok:
		return "docker.io/library/" + name
	case !strings.ContainsAny(host, ".:") && host != "localhost":
		return "docker.io/" + name
	default:
		return host + "/" + rest
	}
}

// repository is a name without its tag or digest.
func repository(name string) string {
	name, _, _ = strings.Cut(name, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		return name[:colon]
	}
	return name
}

// ctr runs containerd's client in the namespace of Kubernetes' images.
func (c *Cluster) ctr(ctx context.Context, out io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "ctr", append([]string{"--address", c.containerdSocket(), "--namespace", "k8s.io"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("ctr %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return nil
}
