package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/internal/discovery"
	"github.com/bartizan-dev/bartizan/internal/discovery/collect"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

func (p *plugin) discoverCommand() *cobra.Command {
	var format, least string
	cmd := &cobra.Command{
		Use:   "discover [NAME...]",
		Short: "Find MCP servers that run without a gate, and say how to bring each under one",
		Long: `Find MCP servers that run without a gate: by images, commands, names of variables and ports, paths, labels and names, and by the objects of
ToolHive, kmcp and the MCP lifecycle operator. It asks the API server alone, with your rights, and connects to nothing it finds.

Confidence is High where there is hardly another explanation, Medium where it looks like one, Low where something about it has the name. With
--output yaml it prints a draft of an MCPServer for each, with what is left to do as comments. It ends with 1 when something was found.`,
		Example: `  kubectl mcp discover --all-namespaces
  kubectl mcp discover github-mcp-server --namespace tools --output yaml`,
		RunE: func(cmd *cobra.Command, names []string) error {
			levels := []string{string(discovery.High), string(discovery.Medium), string(discovery.Low)}
			if !slices.Contains(levels, least) {
				return fmt.Errorf("--confidence: %q is none of %s", least, strings.Join(levels, ", "))
			}
			c, err := p.cluster()
			if err != nil {
				return err
			}
			o := collect.Options{Workloads: true}
			if !p.allNamespaces {
				o.Namespaces = []string{c.namespace}
			}
			in, gaps, err := collect.Collect(cmd.Context(), c, o)
			if err != nil {
				return fmt.Errorf("look for MCP servers: %w; --namespace names one in which you may list pods and mcpservers", err)
			}
			if len(gaps) > 0 {
				fmt.Fprintln(p.err, "not looked at, because you may not list them:", strings.Join(gaps, ", "))
			}
			found := discovery.Find(in)
			found = slices.DeleteFunc(found, func(f discovery.Finding) bool {
				return !f.Confidence.AtLeast(discovery.Confidence(least)) || len(names) > 0 && !slices.Contains(names, f.Name)
			})
			if err := p.showFound(found, format); err != nil {
				return err
			}
			if len(found) > 0 {
				return errFound
			}
			return nil
		},
	}
	p.everywhere(cmd)
	cmd.Flags().StringVarP(&format, "output", "o", "table", "table, wide, json, or yaml: a draft of an MCPServer for each")
	cmd.Flags().StringVar(&least, "confidence", string(discovery.Medium), "the least confidence that is shown: High, Medium or Low")
	return cmd
}

func (p *plugin) showFound(found []discovery.Finding, format string) error {
	switch format {
	case "json":
		if found == nil {
			found = []discovery.Finding{}
		}
		encoder := json.NewEncoder(p.out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(found)
	case "yaml":
		for i := range found {
			if err := p.draft(&found[i]); err != nil {
				return err
			}
		}
		return nil
	case "table", "wide":
	default:
		return fmt.Errorf("--output: %q is none of table, wide, json and yaml", format)
	}
	if len(found) == 0 {
		fmt.Fprintln(p.err, "no MCP server without a gate found")
		return nil
	}
	table := tabwriter.NewWriter(p.out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "NAMESPACE\tKIND\tNAME\tCONFIDENCE\tEVIDENCE")
	for i := range found {
		f := &found[i]
		var why []string
		for _, e := range f.Evidence {
			why = append(why, e.Text)
		}
		if format == "table" && len(why) > 2 {
			why = append(why[:2], fmt.Sprintf("%d more", len(why)-2))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", inventory.Clean(f.Namespace, 63), f.Kind, inventory.Clean(f.Name, 100), f.Confidence, strings.Join(why, "; "))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(p.out)
	for i := range found {
		if format == "table" && i == 5 {
			fmt.Fprintf(p.out, "… and %d more: --output wide\n", len(found)-i)
			break
		}
		fmt.Fprintf(p.out, "%s: %s\n", found[i].String(), found[i].Advice)
	}
	return nil
}

// draft prints a manifest, with what is left for a person to do.
func (p *plugin) draft(f *discovery.Finding) error {
	server, todo := f.Draft()
	manifest, err := yaml.Marshal(map[string]any{
		"apiVersion": server.APIVersion, "kind": server.Kind,
		"metadata": map[string]any{"namespace": server.Namespace, "name": server.Name}, "spec": server.Spec,
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "---\n# A draft for %s.\n", f.String())
	if strings.ContainsFunc(string(manifest), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
		fmt.Fprintln(p.out, "# - left out: there are characters in it that nobody can see. Look at the workload itself")
		return nil
	}
	for _, line := range todo {
		fmt.Fprintf(p.out, "# - %s\n", line)
	}
	_, err = p.out.Write(manifest)
	return err
}
