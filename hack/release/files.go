package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const chartFolder = "charts/bartizan"

// chart packs the chart, with the images of this release in its values.
func (r *release) chart(context.Context) error {
	values, err := os.ReadFile(filepath.Join(chartFolder, "values.yaml"))
	if err != nil {
		return err
	}
	if values, err = r.values(values); err != nil {
		return err
	}
	about, err := os.ReadFile(filepath.Join(chartFolder, "Chart.yaml"))
	if err != nil {
		return err
	}
	replaced := map[string][]byte{"values.yaml": values, "Chart.yaml": versioned(about, r.version)}
	var names []string
	err = filepath.WalkDir(chartFolder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(chartFolder, path)
		if err == nil && !strings.HasPrefix(name, "tests/") && name != ".helmignore" {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.Sort(names)
	var packed bytes.Buffer
	compressed := gzip.NewWriter(&packed)
	writer := tar.NewWriter(compressed)
	for _, name := range names {
		content, ok := replaced[name]
		if !ok {
			if content, err = os.ReadFile(filepath.Join(chartFolder, name)); err != nil {
				return err
			}
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: "bartizan/" + name, Mode: 0o644, Size: int64(len(content)), ModTime: r.made.UTC()}
		if err := writer.WriteHeader(header); err != nil {
			return err
		}
		if _, err := writer.Write(content); err != nil {
			return err
		}
	}
	if err := errors.Join(writer.Close(), compressed.Close()); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, "bartizan-"+r.version+".tgz"), packed.Bytes(), 0o644)
}

// values puts the images of this release into the chart's values.
func (r *release) values(values []byte) ([]byte, error) {
	for _, program := range programs {
		repository, digest, _ := strings.Cut(r.images[program], "@")
		before := []byte("    repository: bartizan-dev/" + program + "\n")
		at := bytes.Index(values, before)
		if at < 0 {
			return nil, fmt.Errorf("values.yaml does not name bartizan-dev/%s", program)
		}
		head, rest := values[:at], values[at+len(before):]
		if !bytes.Contains(rest, []byte(`    digest: ""`+"\n")) {
			return nil, fmt.Errorf("values.yaml has no empty digest for %s", program)
		}
		rest = bytes.Replace(rest, []byte(`    digest: ""`+"\n"), []byte("    digest: "+digest+"\n"), 1)
		values = slices.Concat(head, []byte("    repository: "+repository+"\n"), rest)
	}
	return values, nil
}

// versioned puts the version into Chart.yaml.
func versioned(about []byte, version string) []byte {
	lines := strings.Split(string(about), "\n")
	for i, line := range lines {
		for _, key := range []string{"version: ", "appVersion: "} {
			if strings.HasPrefix(line, key) {
				lines[i] = key + version
			}
		}
	}
	return []byte(strings.Join(lines, "\n"))
}

// install writes the one file, with the images of this release.
func (r *release) install(context.Context) error {
	manifests, err := os.ReadFile("dist/install.yaml")
	if err != nil {
		return err
	}
	for _, program := range programs {
		placeholder := []byte("bartizan-dev/" + program + ":unset")
		if !bytes.Contains(manifests, placeholder) {
			return fmt.Errorf("dist/install.yaml does not name %s", placeholder)
		}
		manifests = bytes.ReplaceAll(manifests, placeholder, []byte(r.images[program]))
	}
	return os.WriteFile(filepath.Join(r.out, "install.yaml"), manifests, 0o644)
}

// checksums lists all files, as sha256sum --check reads them.
func (r *release) checksums(context.Context) error {
	entries, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	var list strings.Builder
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(r.out, entry.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&list, "%x  %s\n", sha256.Sum256(content), entry.Name())
	}
	return os.WriteFile(filepath.Join(r.out, "checksums.txt"), []byte(list.String()), 0o644)
}
