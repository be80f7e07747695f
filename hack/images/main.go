// Command images builds container images from nothing but files: no base image, no container engine, no registry. Run it with --help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const help = `images builds a container image from nothing but files, and writes it as an archive (OCI layout, as tar). The same input gives the same digest.

  images build --name REPO:TAG --out FILE.tar --file SOURCE:PATH[:MODE]... [flags]

  --name REPO:TAG            the image's name
  --out FILE.tar             the archive to write
  --file SOURCE:PATH[:MODE]  a file, or a folder with all below it, and its place in the image; MODE is octal (default 0755 or 0644)
  --entrypoint WORD          once for each word of the entry point
  --cmd WORD                 once for each default argument
  --arch GOARCH              an architecture, once for each: then there is an image for each and an index of them, and {arch} in SOURCE
                             is the architecture (default: this machine's, without an index)
  --user UID:GID             whom it runs as (default 65532:65532)
  --env NAME=VALUE           an environment variable
  --label NAME=VALUE         a label
  --push                     push the image to the registry in its name as well, with the credentials of docker login

It prints REPO@sha256:..., which pods can use once the archive is loaded: testbed load-image FILE.tar

  images artifact --kind flux|helm --name REPO:TAG --from FOLDER [--revision TEXT]

pushes the files of a folder as what Flux or Helm reads from a registry: a configuration, or a chart.

  images registry --listen ADDRESS

serves a registry, by HTTP, that forgets everything at its end.
`

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) == 0 || args[0] == "--help" || args[0] == "-h" || args[0] == "help" {
		fmt.Fprint(out, help)
		return nil
	}
	switch args[0] {
	case "build":
		return buildImage(args[1:], out)
	case "artifact":
		return pushArtifact(args[1:], out)
	case "registry":
		return runRegistry(args[1:], out)
	}
	return fmt.Errorf("there is no command %q; see images --help", args[0])
}

// parse reads flags, and refuses everything else.
func parse(flags *flag.FlagSet, args []string) error {
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w; see images --help", err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is not a flag; see images --help", flags.Arg(0))
	}
	return nil
}

func pushArtifact(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("images artifact", flag.ContinueOnError)
	kind, name := flags.String("kind", "", ""), flags.String("name", "", "")
	from, revision := flags.String("from", "", ""), flags.String("revision", "", "")
	if err := parse(flags, args); err != nil {
		return err
	}
	image, err := artifact(*kind, *from, *revision)
	if err != nil {
		return err
	}
	if err := Push(context.Background(), *name, image); err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	repository, _, _ := cutTag(*name)
	fmt.Fprintf(out, "%s@%s\n", repository, digest)
	return nil
}

func runRegistry(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("images registry", flag.ContinueOnError)
	address := flags.String("listen", "", "")
	if err := parse(flags, args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return serveRegistry(ctx, *address, out)
}

func buildImage(args []string, out io.Writer) error {
	var spec Spec
	var archive string
	var push bool
	var architectures []string
	flags := flag.NewFlagSet("images build", flag.ContinueOnError)
	flags.StringVar(&spec.Name, "name", "", "")
	flags.StringVar(&spec.User, "user", "65532:65532", "")
	flags.StringVar(&archive, "out", "", "")
	flags.BoolVar(&push, "push", false, "")
	for name, list := range map[string]*[]string{
		"file": &spec.Files, "entrypoint": &spec.Entrypoint, "cmd": &spec.Cmd, "env": &spec.Env, "label": &spec.Labels,
		"arch": &architectures,
	} {
		flags.Func(name, "", func(value string) error {
			*list = append(*list, value)
			return nil
		})
	}
	if err := parse(flags, args); err != nil {
		return err
	}
	if archive == "" {
		return errors.New("--out is missing: the archive to write")
	}
	build := one
	if len(architectures) > 0 {
		build = func(spec Spec, archive string, push bool) (v1.Hash, error) {
			return all(spec, architectures, archive, push)
		}
	}
	digest, err := build(spec, archive, push)
	if err != nil {
		return err
	}
	repository, _, _ := cutTag(spec.Name)
	fmt.Fprintf(out, "%s@%s\n", repository, digest)
	return nil
}

// one builds, writes and pushes an image.
func one(spec Spec, archive string, push bool) (v1.Hash, error) {
	image, err := Build(spec)
	if err != nil {
		return v1.Hash{}, err
	}
	digest, err := WriteArchive(archive, spec.Name, image)
	if err == nil && push {
		err = Push(context.Background(), spec.Name, image)
	}
	return digest, err
}

// all builds, writes and pushes the images of several architectures.
func all(spec Spec, architectures []string, archive string, push bool) (v1.Hash, error) {
	index, err := BuildAll(spec, architectures)
	if err != nil {
		return v1.Hash{}, err
	}
	digest, err := WriteIndexArchive(archive, spec.Name, index)
	if err == nil && push {
		err = PushIndex(context.Background(), spec.Name, index)
	}
	return digest, err
}

// cutTag splits REPO:TAG. A colon before the last slash belongs to a registry's port.
func cutTag(name string) (repository, tag string, ok bool) {
	colon := strings.LastIndexByte(name, ':')
	if colon < 0 || strings.IndexByte(name[colon:], '/') >= 0 {
		return name, "", false
	}
	return name[:colon], name[colon+1:], true
}
