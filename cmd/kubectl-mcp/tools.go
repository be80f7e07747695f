package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

func (p *plugin) toolsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tools MCPSERVER",
		Short: "List what a server offers: what is pinned, what is risky, and what has changed",
		Long: `List what a server offers, as its gates have listed it: which definitions a pin approves, which tools are risky, and how a definition differs
from the approved one. It ends with 1 when there are pins and something is not as they say.`,
		Example: `  kubectl mcp tools github-tools --namespace team-a
  kubectl mcp tools pin github-tools --namespace team-a > pins.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			server, document, err := p.inventory(cmd, names[0])
			if err != nil {
				return err
			}
			return p.showTools(server, document)
		},
	}
	cmd.AddCommand(p.pinCommand())
	return cmd
}

func (p *plugin) pinCommand() *cobra.Command {
	var mode string
	var only []string
	cmd := &cobra.Command{
		Use:   "pin MCPSERVER",
		Short: "Print the change that approves what a server offers now, for the repository that it comes from",
		Long: `Print the change of an MCPServer that approves what it offers now. Read what kubectl mcp tools says first: whoever puts this into the manifest
has approved it. Nothing is applied.

Pins that are there stay, unless what they approve is offered no more; with --only nothing else is added.`,
		Example: `  kubectl mcp tools pin github-tools --namespace team-a
  kubectl mcp tools pin github-tools --namespace team-a --only list_issues --mode Audit`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			modes := []string{string(v1alpha1.PinningOff), string(v1alpha1.PinningAudit), string(v1alpha1.PinningEnforce)}
			if !slices.Contains(modes, mode) {
				return fmt.Errorf("--mode: %q is none of %s", mode, strings.Join(modes, ", "))
			}
			server, document, err := p.inventory(cmd, names[0])
			if err != nil {
				return err
			}
			for _, name := range only {
				if !slices.ContainsFunc(document.Present, func(i inventory.Item) bool { return i.Name == name && i.Kind.Pinnable() }) {
					return fmt.Errorf("--only: MCPServer %s/%s offers nothing that is called %q and can be pinned", server.Namespace, server.Name, name)
				}
			}
			patch, err := yaml.Marshal(map[string]any{"spec": map[string]any{"tools": map[string]any{"pinning": mode, "pins": pins(server, document, only)}}})
			if err != nil {
				return err
			}
			_, err = p.out.Write(patch)
			return err
		},
	}
	cmd.Flags().StringVar(&mode, "mode", string(v1alpha1.PinningEnforce), "spec.tools.pinning: Off, Audit or Enforce")
	cmd.Flags().StringArrayVar(&only, "only", nil, "the `name` of a definition to approve, beside what is approved already; may be repeated")
	return cmd
}

// inventory reads what a server offers.
func (p *plugin) inventory(cmd *cobra.Command, name string) (*v1alpha1.MCPServer, inventory.Document, error) {
	c, err := p.cluster()
	if err != nil {
		return nil, inventory.Document{}, err
	}
	server := &v1alpha1.MCPServer{}
	if err := c.Get(cmd.Context(), client.ObjectKey{Namespace: c.namespace, Name: name}, server); err != nil {
		return nil, inventory.Document{}, explain(err, "mcpserver", c.namespace, name)
	}
	kept := &corev1.ConfigMap{}
	at := client.ObjectKey{Namespace: c.namespace, Name: inventory.ConfigMapName(name)}
	if err := c.Get(cmd.Context(), at, kept); client.IgnoreNotFound(err) == nil && err != nil {
		return nil, inventory.Document{}, fmt.Errorf("nothing is known of what MCPServer %s/%s offers: no gate of it has listed it yet; kubectl describe mcpserver %s --namespace %s says whether one is ready", c.namespace, name, name, c.namespace)
	} else if err != nil {
		return nil, inventory.Document{}, explain(err, "configmap", at.Namespace, at.Name)
	}
	document, err := inventory.ParseDocument(kept.Data[inventory.DocumentKey])
	if err != nil {
		return nil, inventory.Document{}, fmt.Errorf("configmap %s/%s is not what the operator wrote: %w; delete it, and the operator writes it again", at.Namespace, at.Name, err)
	}
	return server, document, nil
}

// approved are the pins of a server's spec.
func approved(server *v1alpha1.MCPServer) (all []inventory.Pin) {
	if server.Spec.Tools == nil {
		return nil
	}
	for _, pin := range server.Spec.Tools.Pins {
		all = append(all, inventory.Pin{Kind: inventory.Kind(cmp.Or(pin.Kind, v1alpha1.DefinitionTool)), Name: pin.Name, SHA256: pin.SHA256})
	}
	return all
}

// pins are those that approve what is offered now: all of it, or what is approved already and what is named.
func pins(server *v1alpha1.MCPServer, document inventory.Document, only []string) []inventory.Pin {
	before := inventory.NewPins(approved(server))
	all := []inventory.Pin{}
	for _, item := range document.Present {
		if item.Kind.Pinnable() && (len(only) == 0 || before.Has(item.Key(), item.SHA256) || slices.Contains(only, item.Name)) {
			all = append(all, inventory.Pin{Kind: item.Kind, Name: item.Name, SHA256: item.SHA256})
		}
	}
	return all
}

func (p *plugin) showTools(server *v1alpha1.MCPServer, document inventory.Document) error {
	all := approved(server)
	table := tabwriter.NewWriter(p.out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "KIND\tNAME\tPIN\tRISKS\tSHA256")
	var changed []inventory.Finding
	wrong := false
	for _, f := range document.Judge(inventory.NewPins(all)) {
		state := "pinned"
		switch {
		case !f.Kind.Pinnable():
			state = "-"
		case f.Reason != inventory.Approved:
			state, wrong = string(f.Reason), true
		}
		if len(f.Differences) > 0 {
			changed = append(changed, f)
		}
		var risks []string
		for _, r := range f.Risks {
			risks = append(risks, string(r))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", f.Kind, inventory.Clean(f.Name, 80), state, or(strings.Join(risks, " ")), f.SHA256[:12])
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, f := range changed {
		fmt.Fprintf(p.out, "\n%s %s is not the one that was approved:\n", f.Kind, inventory.Clean(f.Name, 80))
		for _, line := range f.Differences {
			fmt.Fprintf(p.out, "  %s\n", line)
		}
	}
	if document.LeftOut > 0 {
		fmt.Fprintf(p.out, "\n%d more definitions were too many to be kept\n", document.LeftOut)
	}
	if len(all) > 0 && wrong {
		return errFound
	}
	return nil
}
