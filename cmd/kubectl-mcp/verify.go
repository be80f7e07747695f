package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/postureview"
)

func (p *plugin) verifyCommand() *cobra.Command {
	var format string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "verify MCPSERVER",
		Short: "Have the operator attack a server now, and show what came of it",
		Long: `Have the operator attack the gates of a server now, and show what came of it.

It sets the annotation ` + v1alpha1.AnnotationVerificationRequestedAt + ` and waits for the answer. It ends with 1 when an attack succeeded or
a control fails.`,
		Example: "  kubectl mcp verify pods --namespace tools",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := p.cluster()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			server, err := p.verify(ctx, c, names[0])
			if err != nil {
				return err
			}
			verified := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionVerified)
			if verified == nil || verified.Status == metav1.ConditionUnknown {
				return fmt.Errorf("MCPServer %s/%s could not be verified: kubectl describe mcpserver %s --namespace %s says why", server.Namespace, server.Name, server.Name, server.Namespace)
			}
			return p.show([]postureview.Server{postureview.FromStatus(server)}, format, postureview.Fail)
		},
	}
	outputFlag(cmd, &format)
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait for the answer")
	return cmd
}

// verify asks for a verification and waits until the operator has answered this request, or a later one.
func (p *plugin) verify(ctx context.Context, c *cluster, name string) (*v1alpha1.MCPServer, error) {
	server := &v1alpha1.MCPServer{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, server); err != nil {
		return nil, explain(err, "mcpserver", c.namespace, name)
	}
	request := p.now().UTC().Format(time.RFC3339Nano)
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, v1alpha1.AnnotationVerificationRequestedAt, strconv.Quote(request))
	if err := c.Patch(ctx, server, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		return nil, fmt.Errorf("ask for a verification of MCPServer %s/%s: %w; you need the right to patch mcpservers", c.namespace, name, err)
	}
	fmt.Fprintln(p.err, "asked; waiting for the operator")
	watcher, err := client.NewWithWatch(c.config, client.Options{Scheme: c.Scheme()})
	if err != nil {
		return nil, err
	}
	// Somebody else may ask as well: the answer to that is later than the one to ours.
	answered := func(s *v1alpha1.MCPServer) bool {
		return s.Status.Posture != nil && s.Status.Posture.HandledRequest == s.Annotations[v1alpha1.AnnotationVerificationRequestedAt]
	}
	for !answered(server) {
		changes, err := watcher.Watch(ctx, &v1alpha1.MCPServerList{}, client.InNamespace(c.namespace),
			client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", name)})
		if err != nil {
			return nil, late(ctx, c, name, err)
		}
		for change := range changes.ResultChan() {
			if s, ok := change.Object.(*v1alpha1.MCPServer); ok && change.Type != watch.Deleted {
				if server = s; answered(server) {
					break
				}
			}
			if change.Type == watch.Deleted {
				changes.Stop()
				return nil, fmt.Errorf("MCPServer %s/%s was deleted", c.namespace, name)
			}
		}
		changes.Stop()
		if ctx.Err() != nil && !answered(server) {
			return nil, late(ctx, c, name, ctx.Err())
		}
	}
	return server, nil
}

func late(ctx context.Context, c *cluster, name string, err error) error {
	if ctx.Err() == nil {
		return fmt.Errorf("watch MCPServer %s/%s: %w", c.namespace, name, err)
	}
	return fmt.Errorf("no answer about MCPServer %s/%s in time: does the operator run, and has the server a ready gate? --timeout waits longer", c.namespace, name)
}
