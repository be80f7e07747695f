package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// An artifactKind is a kind of artifact that is no image: what a registry keeps for a tool.
type artifactKind struct {
	config, layer types.MediaType
	// prefix is the folder in the archive that everything is in.
	prefix string
}

// The kinds, as Flux and Helm know them: https://fluxcd.io/flux/components/source/ocirepositories/, https://helm.sh/docs/topics/registries/.
var artifactKinds = map[string]artifactKind{
	"flux": {"application/vnd.cncf.flux.config.v1+json", "application/vnd.cncf.flux.content.v1.tar+gzip", ""},
	"helm": {"application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "chart"},
}

// artifact makes an artifact of all files below a folder. The same files give the same digest.
func artifact(kind, folder, revision string) (v1.Image, error) {
	k, ok := artifactKinds[kind]
	if !ok {
		return nil, fmt.Errorf("--kind is %q: flux or helm", kind)
	}
	var packed bytes.Buffer
	compressed := gzip.NewWriter(&packed)
	archive := tar.NewWriter(compressed)
	err := filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, file)
		if err != nil {
			return err
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: path.Join(k.prefix, filepath.ToSlash(name)), Mode: 0o644, Size: int64(len(content))}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err = archive.Write(content)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if err := compressed.Close(); err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), k.config)
	image, err := mutate.AppendLayers(base, static.NewLayer(packed.Bytes(), k.layer))
	if err != nil {
		return nil, err
	}
	return mutate.Annotations(image, map[string]string{"org.opencontainers.image.revision": revision}).(v1.Image), nil
}
