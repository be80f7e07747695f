package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/accessreview"
	"github.com/bartizan-dev/bartizan/internal/profile"
)

func (p *plugin) accessCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "access", Short: "Who may do what", Args: cobra.NoArgs}
	cmd.AddCommand(p.canICommand())
	return cmd
}

// verbs are the short words for methods with a target.
var verbs = map[string]string{"call": "tools/call", "get": "prompts/get", "read": "resources/read"}

func (p *plugin) canICommand() *cobra.Command {
	var as, server, arguments string
	cmd := &cobra.Command{
		Use:   "can-i (call TOOL | get PROMPT | read URI | METHOD) --as-client CLIENT --server MCPSERVER",
		Short: "Say whether a client may do something at a server, and by which rule",
		Long: `Say whether a client may do something at a server, and by which rule, or what is missing.

It reads the MCPServer, the MCPAccessPolicies beside it, the MCPClient and the MCPSecurityProfiles, and judges them as the gate does; it says so
when you may not read profiles, whose forbidden tools then do not count. Whether the gates run this
configuration already is in the condition ConfigurationInForce of the MCPServer. Rates are not counted. It ends with 1 for no.`,
		Example: `  kubectl mcp access can-i call pods_list --as-client assistants/assistant --server kubernetes --namespace tools
  kubectl mcp access can-i call pods_list --as-client assistants/assistant --server kubernetes --arguments '{"namespace":"demo"}'
  kubectl mcp access can-i logging/setLevel --as-client assistants/assistant --server kubernetes`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, words []string) error {
			q := accessreview.Question{Method: words[0], Now: p.now()}
			if method, ok := verbs[words[0]]; ok {
				if len(words) != 2 {
					return fmt.Errorf("%s needs a name or a URI: kubectl mcp access can-i %s NAME", words[0], words[0])
				}
				q.Method, q.Target = method, words[1]
			} else if len(words) == 2 {
				return fmt.Errorf("%q is none of call, get and read, and a method has no name behind it", words[0])
			}
			if arguments != "" {
				if err := json.Unmarshal([]byte(arguments), &q.Arguments); err != nil || q.Arguments == nil {
					return fmt.Errorf("--arguments: give a JSON object, such as '{\"namespace\":\"demo\"}'")
				}
			}
			c, err := p.cluster()
			if err != nil {
				return err
			}
			if err := p.fill(cmd, c, &q, as, server); err != nil {
				return err
			}
			answer, err := accessreview.Review(q)
			if err != nil {
				return err
			}
			for _, problem := range answer.Problems {
				fmt.Fprintln(p.err, "does not count:", problem)
			}
			if !answer.Allowed {
				fmt.Fprintf(p.out, "no: %s\n", answer.Reason)
				return errFound
			}
			_, err = fmt.Fprintf(p.out, "yes: %s\n", answer.Reason)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&as, "as-client", "", "the MCPClient, as namespace/name (required)")
	flags.StringVar(&server, "server", "", "the MCPServer, as name or namespace/name (required)")
	flags.StringVar(&arguments, "arguments", "", "the arguments of the call, as a JSON object")
	_, _ = cmd.MarkFlagRequired("as-client"), cmd.MarkFlagRequired("server")
	return cmd
}

// fill reads what the question is about.
func (p *plugin) fill(cmd *cobra.Command, c *cluster, q *accessreview.Question, as, server string) error {
	ctx := cmd.Context()
	who, err := key(as, "")
	if err != nil {
		return fmt.Errorf("--as-client: %w", err)
	}
	where, err := key(server, c.namespace)
	if err != nil {
		return fmt.Errorf("--server: %w", err)
	}
	q.Server, q.Client = &v1alpha1.MCPServer{}, &v1alpha1.MCPClient{}
	if err := c.Get(ctx, where, q.Server); err != nil {
		return explain(err, "mcpserver", where.Namespace, where.Name)
	}
	if err := c.Get(ctx, who, q.Client); err != nil {
		return explain(err, "mcpclient", who.Namespace, who.Name)
	}
	policies := v1alpha1.MCPAccessPolicyList{}
	if err := c.List(ctx, &policies, client.InNamespace(where.Namespace)); err != nil {
		return fmt.Errorf("list mcpaccesspolicies of %s: %w", where.Namespace, err)
	}
	q.Policies = policies.Items
	var problem error
	if q.Floor, problem = floorOf(ctx, c, where.Namespace); problem != nil {
		fmt.Fprintln(p.err, "does not count: the tools that MCPSecurityProfiles forbid:", problem)
	}
	return nil
}

// floorOf is what the security profiles of a namespace ask for.
func floorOf(ctx context.Context, c client.Reader, namespace string) (profile.Floor, error) {
	profiles := v1alpha1.MCPSecurityProfileList{}
	if err := c.List(ctx, &profiles); err != nil || len(profiles.Items) == 0 {
		return profile.Floor{}, err
	}
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := c.Get(ctx, client.ObjectKey{Name: namespace}, object); err != nil {
		return profile.Floor{}, err
	}
	return profile.Of(profiles.Items, object.Labels), nil
}

// key reads namespace/name, or a name in a namespace that is known.
func key(s, namespace string) (client.ObjectKey, error) {
	before, name, ok := strings.Cut(s, "/")
	if !ok && namespace != "" {
		before, name = namespace, s
	}
	if before == "" || name == "" || strings.Contains(name, "/") {
		return client.ObjectKey{}, fmt.Errorf("%q is not namespace/name", s)
	}
	return client.ObjectKey{Namespace: before, Name: name}, nil
}
