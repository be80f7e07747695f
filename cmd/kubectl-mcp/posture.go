package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/postureview"
)

var formats = []string{"table", "wide", "json", "sarif", "html"}

// outputFlag adds -o.
func outputFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVarP(format, "output", "o", "table", strings.Join(formats, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

func (p *plugin) postureCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "posture [MCPSERVER...]",
		Short: "Show what is proven about servers, and what does not hold",
		Long: `Show what is proven about servers, and what does not hold.

It reads the status of MCPServers, in which the operator keeps what came of its attacks and of what it observed. It ends with 1 when a
control of one of the servers fails.`,
		Example: `  kubectl mcp posture --all-namespaces
  kubectl mcp posture pods --namespace tools --output wide
  kubectl mcp posture --all-namespaces --output html > posture.html`,
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := p.cluster()
			if err != nil {
				return err
			}
			servers, err := p.servers(cmd, c, names)
			if err != nil {
				return err
			}
			var all []postureview.Server
			for i := range servers {
				all = append(all, postureview.FromStatus(&servers[i]))
			}
			return p.show(all, format, postureview.Fail)
		},
	}
	p.everywhere(cmd)
	outputFlag(cmd, &format)
	return cmd
}

// servers are the servers that are named, or all of the namespace.
func (p *plugin) servers(cmd *cobra.Command, c *cluster, names []string) ([]v1alpha1.MCPServer, error) {
	if len(names) > 0 {
		if p.allNamespaces {
			return nil, fmt.Errorf("--all-namespaces and a name exclude each other")
		}
		var servers []v1alpha1.MCPServer
		for _, name := range names {
			server := v1alpha1.MCPServer{}
			if err := c.Get(cmd.Context(), client.ObjectKey{Namespace: c.namespace, Name: name}, &server); err != nil {
				return nil, explain(err, "mcpserver", c.namespace, name)
			}
			servers = append(servers, server)
		}
		return servers, nil
	}
	list := v1alpha1.MCPServerList{}
	if err := c.List(cmd.Context(), &list, p.inNamespace(c)); err != nil {
		return nil, fmt.Errorf("list mcpservers: %w; is Bartizan installed in this cluster?", err)
	}
	if len(list.Items) == 0 {
		fmt.Fprintln(p.err, "no MCPServer found; --all-namespaces looks everywhere")
	}
	return list.Items, nil
}

// show writes postures, and says whether a control has one of the results.
func (p *plugin) show(all []postureview.Server, format string, bad ...postureview.Result) (err error) {
	switch format {
	case "table", "wide":
		err = postureview.Table(p.out, all, format == "wide")
	case "json":
		err = postureview.JSON(p.out, all)
	case "sarif":
		err = postureview.SARIF(p.out, all, buildVersion())
	case "html":
		err = postureview.HTML(p.out, all, p.now())
	default:
		return fmt.Errorf("--output: %q is none of %s", format, strings.Join(formats, ", "))
	}
	if err != nil {
		return err
	}
	for _, s := range all {
		if slices.ContainsFunc(bad, func(r postureview.Result) bool { return s.Count(r) > 0 }) {
			return errFound
		}
	}
	return nil
}
