// Command release builds all that a release consists of, into a folder: images for every architecture, the chart and the one
// file that name them by digest, bills of materials, the changes since the last release, the provenance and the checksums of all of it. The same commit gives
// the same files, byte for byte. It publishes nothing unless it is told to push.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// programs are the commands, each with the image of the same name.
var programs = []string{"manager", "authproxy"}

// plugin is the program for people's own machines, without an image, and platforms where they are, with the end of its file's name.
const plugin = "kubectl-mcp"

type platform struct{ system, architecture, suffix string }

var platforms = []platform{
	{"linux", "amd64", ""}, {"linux", "arm64", ""}, {"darwin", "amd64", ""}, {"darwin", "arm64", ""}, {"windows", "amd64", ".exe"},
}

// release is one release.
type release struct {
	// version is without the leading v.
	version string
	// registry is the beginning of the images' names.
	registry string
	// architectures are those that images and programs are built for.
	architectures []string
	out           string
	push          bool
	// made is when the commit was made: the only time in any file.
	made time.Time
	// images are names with digests, by program.
	images map[string]string
}

var versionForm = regexp.MustCompile(`^v?([0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?)$`)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	r := release{images: map[string]string{}}
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	version := flags.String("version", "", "`version`, such as v0.1.0")
	flags.StringVar(&r.registry, "registry", "ghcr.io/bartizan-dev", "where the images are, `registry/path`")
	flags.StringVar(&r.out, "out", "dist/release", "`folder` for the files")
	architectures := flags.String("architectures", "amd64,arm64", "what images and programs are built for, `separated` by commas")
	flags.BoolVar(&r.push, "push", false, "push the images, with the credentials of docker login")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	form := versionForm.FindStringSubmatch(*version)
	if form == nil {
		return fmt.Errorf("--version %q is not a version such as v0.1.0", *version)
	}
	r.version, r.architectures = form[1], strings.Split(*architectures, ",")
	changed, err := output(ctx, "git", "status", "--porcelain")
	if err != nil {
		return err
	}
	if changed != "" {
		return fmt.Errorf("a release is made of a commit: commit or undo these changes first:\n%s", changed)
	}
	made, err := output(ctx, "git", "log", "-1", "--format=%cI")
	if err != nil {
		return err
	}
	if r.made, err = time.Parse(time.RFC3339, made); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(r.out), os.MkdirAll(r.out, 0o755)); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"programs", r.programs}, {"images", r.build}, {"bills of materials", r.bills}, {"chart", r.chart}, {"one file to install from", r.install},
		{"changes", r.changes}, {"provenance", r.provenance}, {"checksums", r.checksums},
	} {
		fmt.Printf("%s\n", step.name)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	for _, program := range programs {
		fmt.Println(r.images[program])
	}
	return nil
}

// file is the path of a program for an architecture.
func (r *release) file(program, architecture string) string {
	return filepath.Join(r.out, program+"_linux_"+architecture)
}

// plugin is the path of the plugin for a platform.
func (r *release) plugin(p platform) string {
	return filepath.Join(r.out, plugin+"_"+p.system+"_"+p.architecture+p.suffix)
}

// files are the paths of all programs.
func (r *release) files() (all []string) {
	for _, architecture := range r.architectures {
		for _, program := range programs {
			all = append(all, r.file(program, architecture))
		}
	}
	for _, p := range platforms {
		all = append(all, r.plugin(p))
	}
	return all
}

func (r *release) programs(ctx context.Context) error {
	for _, architecture := range r.architectures {
		for _, program := range programs {
			if err := compile(ctx, program, "linux", architecture, "", r.file(program, architecture)); err != nil {
				return err
			}
		}
	}
	for _, p := range platforms {
		if err := compile(ctx, plugin, p.system, p.architecture, "-X main.version=v"+r.version, r.plugin(p)); err != nil {
			return err
		}
	}
	return nil
}

// compile builds a program for a platform, the same file each time.
func compile(ctx context.Context, program, system, architecture, flags, file string) error {
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags="+strings.TrimSpace("-s -w -buildid= "+flags), "-o", file, "./cmd/"+program)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+architecture, "GOFLAGS=")
	if said, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s for %s/%s: %w: %s", program, system, architecture, err, said)
	}
	return nil
}

func (r *release) build(ctx context.Context) error {
	out, err := filepath.Abs(r.out)
	if err != nil {
		return err
	}
	for _, program := range programs {
		arguments := []string{"-C", "hack/images", "run", ".", "build", "--name", r.registry + "/" + program + ":v" + r.version,
			"--out", filepath.Join(out, program+".tar"), "--file", filepath.Join(out, program+"_linux_{arch}") + ":/" + program, "--entrypoint", "/" + program,
			"--label", "org.opencontainers.image.source=https://github.com/bartizan-dev/bartizan",
			"--label", "org.opencontainers.image.version=" + r.version, "--label", "org.opencontainers.image.licenses=Apache-2.0"}
		for _, architecture := range r.architectures {
			arguments = append(arguments, "--arch", architecture)
		}
		if r.push {
			arguments = append(arguments, "--push")
		}
		if r.images[program], err = output(ctx, "go", arguments...); err != nil {
			return err
		}
	}
	return nil
}

// changes lists what was done since the last release.
func (r *release) changes(ctx context.Context) error {
	since, err := output(ctx, "git", "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^")
	arguments := []string{"log", "--no-merges", "--format=- %s"}
	title := "All changes"
	if err == nil {
		arguments = append(arguments, since+"..HEAD")
		title = "Changes since " + since
	}
	lines, err := output(ctx, "git", arguments...)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("# %s\n\n%s:\n\n%s\n", "v"+r.version, title, lines)
	return os.WriteFile(filepath.Join(r.out, "CHANGELOG.md"), []byte(text), 0o644)
}

// output returns what a command prints, without the surrounding white space.
func output(ctx context.Context, name string, arguments ...string) (string, error) {
	c := exec.CommandContext(ctx, name, arguments...)
	var said strings.Builder
	c.Stderr = &said
	printed, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(arguments[:min(3, len(arguments))], " "), err, said.String())
	}
	return strings.TrimSpace(string(printed)), nil
}
