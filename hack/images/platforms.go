package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// archPlaceholder stands in --file for the architecture of each image.
const archPlaceholder = "{arch}"

// BuildAll makes one image for each architecture, and an index of them. {arch} in a source of spec.Files is the architecture.
func BuildAll(spec Spec, architectures []string) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	files := spec.Files
	for _, architecture := range architectures {
		spec.Architecture = architecture
		spec.Files = nil
		for _, file := range files {
			spec.Files = append(spec.Files, strings.ReplaceAll(file, archPlaceholder, architecture))
		}
		image, err := Build(spec)
		if err != nil {
			return nil, fmt.Errorf("for %s: %w", architecture, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}
	return index, nil
}

// WriteIndexArchive writes the images of an index as an OCI layout in a tar, and returns the index's digest.
func WriteIndexArchive(file, reference string, index v1.ImageIndex) (v1.Hash, error) {
	raw, err := index.RawManifest()
	if err != nil {
		return v1.Hash{}, err
	}
	digest, err := index.Digest()
	if err != nil {
		return v1.Hash{}, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return v1.Hash{}, err
	}
	_, tag, _ := cutTag(reference)
	top, err := json.Marshal(v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: types.OCIImageIndex, Size: int64(len(raw)), Digest: digest,
			Annotations: map[string]string{"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": tag},
		}},
	})
	if err != nil {
		return v1.Hash{}, err
	}
	out, err := os.Create(file)
	if err != nil {
		return v1.Hash{}, err
	}
	defer out.Close()
	writer := tar.NewWriter(out)
	written := map[string]bool{}
	write := func(name string, content []byte) error {
		if written[name] {
			return nil
		}
		written[name] = true
		return writeMember(writer, name, content)
	}
	if err := errors.Join(write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)), write("index.json", top), write(blobPath(digest), raw)); err != nil {
		return v1.Hash{}, err
	}
	for _, descriptor := range manifest.Manifests {
		image, err := index.Image(descriptor.Digest)
		if err != nil {
			return v1.Hash{}, err
		}
		if err := writeImage(image, write); err != nil {
			return v1.Hash{}, err
		}
	}
	return digest, errors.Join(writer.Close(), out.Close())
}

// writeImage writes the blobs of an image.
func writeImage(image v1.Image, write func(name string, content []byte) error) error {
	manifest, err := image.RawManifest()
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	configDigest, err := image.ConfigName()
	if err != nil {
		return err
	}
	if err := errors.Join(write(blobPath(digest), manifest), write(blobPath(configDigest), config)); err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		hash, err := layer.Digest()
		if err != nil {
			return err
		}
		reader, err := layer.Compressed() // as it is in the manifest
		if err != nil {
			return err
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			return err
		}
		if err := write(blobPath(hash), content); err != nil {
			return err
		}
	}
	return nil
}

// PushIndex is Push for images of several architectures.
func PushIndex(ctx context.Context, reference string, index v1.ImageIndex) error {
	tag, err := name.NewTag(reference, name.StrictValidation)
	if err != nil {
		return fmt.Errorf("--push: %w", err)
	}
	if err := remote.WriteIndex(tag, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("--push to %s: %w; log in to the registry first, with docker login or the like", tag.RegistryStr(), err)
	}
	return nil
}

// architecture is what an image is for: this machine, unless the spec says otherwise.
func (s Spec) architecture() string {
	if s.Architecture != "" {
		return s.Architecture
	}
	return runtime.GOARCH
}
