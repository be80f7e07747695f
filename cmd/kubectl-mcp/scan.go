package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/posture"
	"github.com/bartizan-dev/bartizan/internal/postureview"
)

// mostManifest bounds a file, in bytes.
const mostManifest = 16 << 20

func (p *plugin) scanCommand() *cobra.Command {
	var format, failOn string
	cmd := &cobra.Command{
		Use:   "scan FILE...",
		Short: "Evaluate manifests of MCPServers before they are applied, for pipelines",
		Long: `Evaluate manifests of MCPServers before they are applied, by the same controls as a server that runs. What only a cluster or an attack
shows is unknown here.

A folder stands for its files with the ends .yaml, .yml and .json, and - for standard input. Objects of other kinds are passed over. No cluster is
asked. It ends with 1 when a control fails that is at least as severe as --fail-on, and with 2 when a file cannot be read as a manifest.`,
		Example: `  kubectl mcp scan deploy/
  kustomize build overlays/production | kubectl mcp scan - --output sarif > posture.sarif`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			severities := []string{string(posture.Medium), string(posture.High), string(posture.Critical)}
			least := slices.Index(severities, failOn)
			if least < 0 && failOn != "never" {
				return fmt.Errorf("--fail-on: %q is none of %s and never", failOn, strings.Join(severities, ", "))
			}
			var all []postureview.Server
			for _, name := range names {
				found, err := p.scan(name)
				if err != nil {
					return err
				}
				all = append(all, found...)
			}
			if len(all) == 0 {
				fmt.Fprintln(p.err, "no MCPServer found in", strings.Join(names, ", "))
			}
			if err := p.show(all, format); err != nil {
				return err
			}
			for _, s := range all {
				for _, c := range s.Failing() {
					if failOn != "never" && c.Result == postureview.Fail && slices.Index(severities, c.Severity) >= least {
						return errFound
					}
				}
			}
			return nil
		},
	}
	outputFlag(cmd, &format)
	cmd.Flags().StringVar(&failOn, "fail-on", string(posture.Medium), "the least severity that makes it end with 1: medium, high, critical or never")
	return cmd
}

// scan evaluates the manifests of a file, a folder, or standard input.
func (p *plugin) scan(name string) ([]postureview.Server, error) {
	if name == "-" {
		content, err := io.ReadAll(io.LimitReader(p.in, mostManifest+1))
		if err != nil {
			return nil, err
		}
		return p.manifests("", content)
	}
	var all []postureview.Server
	err := filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if path != name && !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
			return nil
		}
		content, err := os.ReadFile(path) //nolint:gosec // who runs it names the folder
		if err != nil {
			return err
		}
		found, err := p.manifests(path, content)
		all = append(all, found...)
		return err
	})
	return all, err
}

// manifests evaluates the MCPServers among the documents of a file.
func (p *plugin) manifests(file string, content []byte) ([]postureview.Server, error) {
	shown := file
	if file == "" {
		shown = "standard input"
	}
	if len(content) > mostManifest {
		return nil, fmt.Errorf("%s is larger than %d MiB", shown, mostManifest>>20)
	}
	var all []postureview.Server
	for _, d := range documents(content) {
		server, err := read(d.content)
		if err != nil {
			return nil, fmt.Errorf("%s: the document at line %d: %w", shown, d.line, err)
		}
		if server == nil {
			continue
		}
		if server.Namespace == "" {
			server.Namespace = "default"
		}
		s := postureview.FromReport(server.Namespace, server.Name, posture.Evaluate(declared.Snapshot(server, p.now())))
		s.File, s.Line = file, d.line
		all = append(all, s)
	}
	return all, nil
}

// document is one YAML document, and the line where it begins.
type document struct {
	content []byte
	line    int
}

// documents cuts a file at the lines that separate YAML documents.
func documents(content []byte) (all []document) {
	line, begin := 1, 1
	var current bytes.Buffer
	end := func() {
		if len(bytes.TrimSpace(current.Bytes())) > 0 {
			all = append(all, document{bytes.Clone(current.Bytes()), begin})
		}
		current.Reset()
		begin = line + 1
	}
	for l := range bytes.Lines(content) {
		if bytes.HasPrefix(l, []byte("---")) && (len(bytes.TrimSpace(l)) == 3 || l[3] == ' ') {
			end()
		} else {
			current.Write(l)
		}
		line++
	}
	end()
	return all
}

// read is the MCPServer that a document holds; nil for a document of another kind.
func read(content []byte) (*v1alpha1.MCPServer, error) {
	var kind struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := yaml.Unmarshal(content, &kind); err != nil {
		return nil, errors.New("it is no YAML")
	}
	group, version, _ := strings.Cut(kind.APIVersion, "/")
	if kind.Kind != "MCPServer" || group != v1alpha1.GroupVersion.Group {
		return nil, nil
	}
	if version != v1alpha1.GroupVersion.Version {
		return nil, fmt.Errorf("the version %s of MCPServer is not known; this program knows %s", version, v1alpha1.GroupVersion.Version)
	}
	server := &v1alpha1.MCPServer{}
	if err := yaml.UnmarshalStrict(content, server); err != nil {
		return nil, fmt.Errorf("it is no MCPServer: %w", err)
	}
	return server, nil
}
