package main

import (
	"archive/tar"
	"encoding/json"
	"io"
	"os"
	"path"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// WriteArchive writes the image as an OCI layout in a tar, and returns its digest. A manifest.json for docker load is in it too.
func WriteArchive(file, name string, image v1.Image) (v1.Hash, error) {
	manifest, err := image.RawManifest()
	if err != nil {
		return v1.Hash{}, err
	}
	digest, err := image.Digest()
	if err != nil {
		return v1.Hash{}, err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return v1.Hash{}, err
	}
	configDigest, err := image.ConfigName()
	if err != nil {
		return v1.Hash{}, err
	}
	layers, err := image.Layers()
	if err != nil {
		return v1.Hash{}, err
	}
	blobs := map[v1.Hash][]byte{digest: manifest, configDigest: config}
	order := []v1.Hash{digest, configDigest}
	var layerPaths []string
	for _, layer := range layers {
		hash, err := layer.Digest()
		if err != nil {
			return v1.Hash{}, err
		}
		reader, err := layer.Compressed() // as it is in the manifest
		if err != nil {
			return v1.Hash{}, err
		}
		if blobs[hash], err = io.ReadAll(reader); err != nil {
			return v1.Hash{}, err
		}
		order = append(order, hash)
		layerPaths = append(layerPaths, blobPath(hash))
	}
	_, tag, _ := cutTag(name)
	index, err := json.Marshal(v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: types.OCIManifestSchema1, Size: int64(len(manifest)), Digest: digest,
			Annotations: map[string]string{"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag},
		}},
	})
	if err != nil {
		return v1.Hash{}, err
	}
	docker, err := json.Marshal([]map[string]any{{"Config": blobPath(configDigest), "RepoTags": []string{name}, "Layers": layerPaths}})
	if err != nil {
		return v1.Hash{}, err
	}

	out, err := os.Create(file)
	if err != nil {
		return v1.Hash{}, err
	}
	defer out.Close()
	writer := tar.NewWriter(out)
	write := func(name string, content []byte) {
		if err == nil {
			err = writeMember(writer, name, content)
		}
	}
	write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	write("index.json", index)
	write("manifest.json", docker)
	for _, hash := range order {
		write(blobPath(hash), blobs[hash])
	}
	if err != nil {
		return v1.Hash{}, err
	}
	if err := writer.Close(); err != nil {
		return v1.Hash{}, err
	}
	return digest, out.Close()
}

// writeMember writes a file without anything that depends on the time or the machine.
func writeMember(writer *tar.Writer, name string, content []byte) error {
	if err := writer.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err := writer.Write(content)
	return err
}

func blobPath(hash v1.Hash) string { return path.Join("blobs", hash.Algorithm, hash.Hex) }
