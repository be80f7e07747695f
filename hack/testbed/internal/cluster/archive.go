package cluster

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// archiveNames returns the names of the images in an archive: those of an OCI layout, which containerd prefers, or else those of docker save.
func archiveNames(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var plain io.Reader = file // a file, so that what is not read is skipped
	if magic, _ := bufio.NewReader(file).Peek(2); string(magic) == "\x1f\x8b" {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		if plain, err = gzip.NewReader(file); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	} else if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	names, err := tarNames(plain)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return names, nil
}

func tarNames(archive io.Reader) ([]string, error) {
	var index struct {
		Manifests []struct{ Annotations map[string]string }
	}
	var docker []struct{ RepoTags []string }
	for reader := tar.NewReader(archive); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("is no tar archive: %w", err)
		}
		switch header.Name {
		case "index.json":
			err = json.NewDecoder(reader).Decode(&index)
		case "manifest.json":
			err = json.NewDecoder(reader).Decode(&docker)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", header.Name, err)
		}
	}
	var names []string
	for _, manifest := range index.Manifests {
		if name := manifest.Annotations["io.containerd.image.name"]; name != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		for _, image := range docker {
			names = append(names, image.RepoTags...)
		}
	}
	if len(names) == 0 {
		return nil, errors.New("holds no image with a name; build it with a name such as registry.example/app:v1")
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
