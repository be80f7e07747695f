package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// sources are what the operator, the gate and the chart are made of.
var sources = []string{"api", "cmd", "controllers", "internal", "charts", "go.mod", "go.sum"}

// settle is for how long nothing may change before it is built: an editor writes several files.
const settle = 300 * time.Millisecond

// dev brings the cluster up, and then keeps the operator and the gates in it as the checkout is, until it is interrupted.
func dev(ctx context.Context, s *screen, c *cluster) error {
	built, err := fingerprint(sources...)
	if err != nil {
		return err
	}
	if err := upAlone(ctx, s, c); err != nil {
		return err
	}
	for {
		s.printf("\nWaiting for a change in %s …\n", strings.Join(sources, ", "))
		if built, err = change(ctx, built); ctx.Err() != nil {
			return nil
		} else if err != nil {
			return err
		}
		began := time.Now()
		if err := c.renew(ctx, s); err != nil && ctx.Err() == nil {
			s.printf("%v\n", err) // It is mended by the next change.
		} else if err == nil {
			s.printf("The operator in the cluster is that of the checkout, %s after the change; gates follow one after the other.\n", seconds(time.Since(began)))
		}
	}
}

// renew brings the operator and the gate of the checkout into the cluster.
func (c *cluster) renew(ctx context.Context, s *screen) error {
	images := map[string]string{}
	return s.stage("compile, build the images, upgrade the release", func() error {
		bin := filepath.Join(c.cache, "bin")
		if err := goBuild(ctx, bin, "./cmd/manager", "./cmd/authproxy"); err != nil {
			return err
		}
		for _, name := range []string{managerImage, gateImage} {
			var err error
			if images[name], err = c.image(ctx, name, file{filepath.Join(bin, name), "/" + name}); err != nil {
				return err
			}
		}
		return c.install(ctx, images)
	})
}

// change waits until the sources are others than before, and have settled.
func change(ctx context.Context, before string) (string, error) {
	ticker := time.NewTicker(settle)
	defer ticker.Stop()
	last := before
	for {
		select {
		case <-ctx.Done():
			return before, ctx.Err()
		case <-ticker.C:
		}
		now, err := fingerprint(sources...)
		if err != nil {
			return before, err
		}
		if now != before && now == last {
			return now, nil
		}
		last = now
	}
}

// fingerprint changes when a file does, but for tests.
func fingerprint(roots ...string) (string, error) {
	hash := sha256.New()
	for _, root := range roots {
		if err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil // An editor's, which it has just removed.
			}
			if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "testdata/") {
				return err
			}
			info, err := entry.Info()
			if os.IsNotExist(err) {
				return nil
			}
			if err == nil {
				fmt.Fprintf(hash, "%q %d %d\n", path, info.Size(), info.ModTime().UnixNano())
			}
			return err
		}); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
