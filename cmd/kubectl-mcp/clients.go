package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

func (p *plugin) clientsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "clients",
		Short:   "List clients, the servers that they name, and whether these grant them anything",
		Example: "  kubectl mcp clients --all-namespaces",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, clients, err := p.mcpClients(cmd, nil)
			if err != nil {
				return err
			}
			table := tabwriter.NewWriter(p.out, 0, 0, 3, ' ', 0)
			fmt.Fprintln(table, "NAMESPACE\tCLIENT\tREADY\tSERVER\tGRANT\tURL")
			for _, c := range clients {
				ready := "Unknown"
				if condition := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady); condition != nil {
					ready = string(condition.Status)
				}
				states := map[v1alpha1.ServerRef]v1alpha1.ClientServerStatus{}
				for _, s := range c.Status.Servers {
					states[v1alpha1.ServerRef{Namespace: s.Namespace, Name: s.Name}] = s
				}
				for _, s := range c.Spec.Servers {
					fmt.Fprintf(table, "%s\t%s\t%s\t%s/%s\t%s\t%s\n", c.Namespace, c.Name, ready, s.Namespace, s.Name, or(string(states[s].State)), or(states[s].URL))
				}
			}
			return table.Flush()
		},
	}
	p.everywhere(cmd)
	return cmd
}

func (p *plugin) keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys [MCPCLIENT...]",
		Short: "List API keys by their ids: where each is in its life, and when it was used",
		Long: `List API keys by their ids: where each is in its life, how old it is, when it was used last and when the next one is made. The keys
themselves are in Secrets of the clients' namespaces and are never shown.`,
		Example: "  kubectl mcp keys --all-namespaces",
		RunE: func(cmd *cobra.Command, names []string) error {
			_, clients, err := p.mcpClients(cmd, names)
			if err != nil {
				return err
			}
			now := p.now()
			table := tabwriter.NewWriter(p.out, 0, 0, 3, ' ', 0)
			fmt.Fprintln(table, "NAMESPACE\tCLIENT\tSERVERS OF\tKEY\tSTATE\tAGE\tENDS IN\tLAST USED\tNEXT ROTATION")
			for _, c := range clients {
				for _, credential := range c.Status.Credentials {
					for _, key := range credential.Keys {
						used, next := "not known", "-"
						if key.LastUsed != nil {
							used = key.LastUsed.UTC().Format("2006-01-02 15h UTC")
						}
						if key.State == v1alpha1.KeyCurrent && credential.NextRotation != nil {
							next = credential.NextRotation.UTC().Format(time.RFC3339)
						}
						fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Namespace, c.Name, credential.Namespace, key.ID, key.State,
							duration.HumanDuration(now.Sub(key.IssuedAt.Time)), until(now, key.NotAfter.Time), used, next)
					}
				}
			}
			return table.Flush()
		},
	}
	p.everywhere(cmd)
	return cmd
}

func (p *plugin) rotateCommand() *cobra.Command {
	var printPatch bool
	cmd := &cobra.Command{
		Use:   "rotate MCPCLIENT --print-patch",
		Short: "Print the change that gives a client new keys, for the repository that it comes from",
		Long: `Print the change of an MCPClient that has each of its keys replaced now: spec.rotation.rotateAfter is set to the present time.

Nothing is applied: where manifests are in Git, a change of the cluster alone would be undone. Put it into the manifest, or apply it with
kubectl patch where there is no repository.`,
		Example: `  kubectl mcp rotate assistant --namespace assistants --print-patch
  kubectl patch mcpclient assistant --namespace assistants --type merge --patch "$(kubectl mcp rotate assistant --namespace assistants --print-patch)"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			if !printPatch {
				return fmt.Errorf("rotate only prints: add --print-patch, and put what it prints into the manifest of the MCPClient")
			}
			if _, _, err := p.mcpClients(cmd, names); err != nil {
				return err
			}
			_, err := fmt.Fprintf(p.out, "spec:\n  rotation:\n    rotateAfter: %q\n", p.now().UTC().Format(time.RFC3339))
			return err
		},
	}
	cmd.Flags().BoolVar(&printPatch, "print-patch", false, "print the change as YAML (required)")
	return cmd
}

// mcpClients are the clients that are named, or all of the namespace.
func (p *plugin) mcpClients(cmd *cobra.Command, names []string) (*cluster, []v1alpha1.MCPClient, error) {
	c, err := p.cluster()
	if err != nil {
		return nil, nil, err
	}
	if len(names) > 0 {
		if p.allNamespaces {
			return nil, nil, fmt.Errorf("--all-namespaces and a name exclude each other")
		}
		var clients []v1alpha1.MCPClient
		for _, name := range names {
			one := v1alpha1.MCPClient{}
			if err := c.Get(cmd.Context(), client.ObjectKey{Namespace: c.namespace, Name: name}, &one); err != nil {
				return nil, nil, explain(err, "mcpclient", c.namespace, name)
			}
			clients = append(clients, one)
		}
		return c, clients, nil
	}
	list := v1alpha1.MCPClientList{}
	if err := c.List(cmd.Context(), &list, p.inNamespace(c)); err != nil {
		return nil, nil, fmt.Errorf("list mcpclients: %w; is Bartizan installed in this cluster?", err)
	}
	if len(list.Items) == 0 {
		fmt.Fprintln(p.err, "no MCPClient found; --all-namespaces looks everywhere")
	}
	return c, list.Items, nil
}

func until(now, end time.Time) string {
	if !end.After(now) {
		return "ended"
	}
	return duration.HumanDuration(end.Sub(now))
}

func or(s string) string {
	if strings.TrimSpace(s) == "" {
		return "-"
	}
	return s
}
