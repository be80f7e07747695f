package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A Spec says what is in an image.
type Spec struct {
	// Name is REPO:TAG.
	Name string
	// Files are SOURCE:PATH[:MODE].
	Files []string
	// Entrypoint, Cmd and Env are as in the image's configuration.
	Entrypoint, Cmd, Env []string
	// Labels are NAME=VALUE.
	Labels []string
	// User is UID:GID.
	User string
	// Architecture is GOARCH's; empty: this machine's.
	Architecture string
}

var (
	nameForm = regexp.MustCompile(`^[a-z0-9]+([._:/-]+[a-z0-9]+)*:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	userForm = regexp.MustCompile(`^[0-9]+:[0-9]+$`)
)

// entry is a file or folder of the image.
type entry struct {
	mode    fs.FileMode
	folder  bool
	content []byte
}

// Build makes the image: one layer, uncompressed, because a machine that builds and loads it only loses time by compressing.
func Build(spec Spec) (v1.Image, error) {
	if !nameForm.MatchString(spec.Name) {
		return nil, fmt.Errorf("--name %q is not REPO:TAG in lower case", spec.Name)
	}
	if !userForm.MatchString(spec.User) {
		return nil, fmt.Errorf("--user %q is not UID:GID in numbers, which a kubelet can check runAsNonRoot by", spec.User)
	}
	entries, err := collect(spec)
	if err != nil {
		return nil, err
	}
	layer, err := pack(entries)
	if err != nil {
		return nil, err
	}
	labels := map[string]string{}
	for _, label := range spec.Labels {
		name, value, ok := strings.Cut(label, "=")
		if !ok {
			return nil, fmt.Errorf("--label %q is not NAME=VALUE", label)
		}
		labels[name] = value
	}
	for _, variable := range spec.Env {
		if !strings.Contains(variable, "=") {
			return nil, fmt.Errorf("--env %q is not NAME=VALUE", variable)
		}
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.AppendLayers(image, static.NewLayer(layer, types.OCIUncompressedLayer))
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", spec.architecture()
	config.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	config.Config = v1.Config{Entrypoint: spec.Entrypoint, Cmd: spec.Cmd, Env: spec.Env, User: spec.User, WorkingDir: "/", Labels: labels}
	return mutate.ConfigFile(image, config)
}

// collect reads all files, and adds what nearly every program expects: /tmp, and names for the user ids.
func collect(spec Spec) (map[string]entry, error) {
	uid, gid, _ := strings.Cut(spec.User, ":")
	passwd, group := "root:x:0:0:root:/:/sbin/nologin\n", "root:x:0:\n"
	if uid != "0" {
		passwd += fmt.Sprintf("nonroot:x:%s:%s:nonroot:/tmp:/sbin/nologin\n", uid, gid)
	}
	if gid != "0" {
		group += fmt.Sprintf("nonroot:x:%s:\n", gid)
	}
	entries := map[string]entry{
		"tmp":        {mode: 0o777 | fs.ModeSticky, folder: true},
		"etc/passwd": {mode: 0o644, content: []byte(passwd)},
		"etc/group":  {mode: 0o644, content: []byte(group)},
	}
	for _, file := range spec.Files {
		if err := add(entries, file); err != nil {
			return nil, fmt.Errorf("--file %q: %w", file, err)
		}
	}
	for name := range entries {
		for parent := path.Dir(name); parent != "."; parent = path.Dir(parent) {
			if there, ok := entries[parent]; ok && !there.folder {
				return nil, fmt.Errorf("/%s is a file and a folder", parent)
			} else if !ok {
				entries[parent] = entry{mode: 0o755, folder: true}
			}
		}
	}
	return entries, nil
}

func add(entries map[string]entry, file string) error {
	parts := strings.Split(file, ":")
	if len(parts) < 2 || len(parts) > 3 || !path.IsAbs(parts[1]) || path.Clean(parts[1]) == "/" {
		return errors.New("is not SOURCE:PATH[:MODE] with an absolute PATH")
	}
	source, target := parts[0], strings.TrimPrefix(path.Clean(parts[1]), "/")
	mode := fs.FileMode(0)
	if len(parts) == 3 {
		bits, err := strconv.ParseUint(parts[2], 8, 9)
		if err != nil {
			return fmt.Errorf("the mode %q is not octal, such as 0755", parts[2])
		}
		mode = fs.FileMode(bits)
	}
	return filepath.WalkDir(source, func(name string, found fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(source, name)
		if err != nil {
			return err
		}
		place := path.Join(target, filepath.ToSlash(relative))
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		if info.IsDir() {
			entries[place] = entry{mode: 0o755, folder: true}
			return nil
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		set := mode
		if set == 0 {
			set = 0o644
			if info.Mode()&0o111 != 0 {
				set = 0o755
			}
		}
		entries[place] = entry{mode: set, content: content}
		return nil
	})
}

// pack writes a tar in which nothing depends on the machine or the time.
func pack(entries map[string]entry) ([]byte, error) {
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	slices.Sort(names)
	var packed bytes.Buffer
	writer := tar.NewWriter(&packed)
	for _, name := range names {
		e := entries[name]
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(e.mode.Perm()), Size: int64(len(e.content)), ModTime: time.Unix(0, 0)}
		if e.mode&fs.ModeSticky != 0 {
			header.Mode |= 0o1000
		}
		if e.folder {
			header.Typeflag, header.Name = tar.TypeDir, name+"/"
		}
		if err := writer.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := writer.Write(e.content); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}
