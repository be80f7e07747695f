// Command kubectl-mcp is a plugin of kubectl: it shows what MCP servers there are, what is proven about them, who may use them, and lets a person
// connect to one. It only reads, but for "verify", which sets an annotation.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/authproxy/auditverify"
)

// version is set by the linker.
var version string

// errFound ends the program with 1: it worked, and what it looked at is not as it should be. Everything else ends it with 2.
var errFound = errors.New("found")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := command(os.Stdin, os.Stdout, os.Stderr).ExecuteContext(ctx)
	switch {
	case errors.Is(err, errFound):
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "kubectl mcp:", err)
		os.Exit(2)
	}
}

// plugin is what all commands share.
type plugin struct {
	in       io.Reader
	out, err io.Writer
	now      func() time.Time

	flags         clientcmd.ConfigOverrides
	rules         *clientcmd.ClientConfigLoadingRules
	allNamespaces bool
}

func command(in io.Reader, out, stderr io.Writer) *cobra.Command {
	p := &plugin{in: in, out: out, err: stderr, now: time.Now, rules: clientcmd.NewDefaultClientConfigLoadingRules()}
	root := &cobra.Command{
		Use:   "kubectl-mcp",
		Short: "What is proven about MCP servers, who may use them, and a way in",
		Long: `What is proven about MCP servers, who may use them, and a way in.

As a plugin it is called "kubectl mcp". It ends with 0 when all is well, with 1 when what it looked at is not as it should be, and with 2
when it could not tell.`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl mcp"},
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(stderr)
	flags := root.PersistentFlags()
	flags.StringVar(&p.rules.ExplicitPath, "kubeconfig", "", "the kubeconfig `file` (default: $KUBECONFIG, or ~/.kube/config)")
	flags.StringVar(&p.flags.CurrentContext, "context", "", "the context of the kubeconfig")
	flags.StringVarP(&p.flags.Context.Namespace, "namespace", "n", "", "the namespace (default: the context's)")
	root.AddCommand(p.postureCommand(), p.verifyCommand(), p.clientsCommand(), p.keysCommand(), p.rotateCommand(),
		p.toolsCommand(), p.accessCommand(), p.auditCommand(), p.connectCommand(), p.scanCommand(), p.discoverCommand(), p.versionCommand())
	return root
}

func (p *plugin) auditCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "Work with audit logs", Args: cobra.NoArgs}
	cmd.AddCommand(auditverify.Command(p.out, "kubectl mcp"))
	return cmd
}

func (p *plugin) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { _, err := fmt.Fprintln(p.out, buildVersion()); return err },
	}
}

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// cluster is the cluster of the kubeconfig, with the namespace that is asked for.
type cluster struct {
	client.Client
	config    *rest.Config
	namespace string
}

func (p *plugin) cluster() (*cluster, error) {
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(p.rules, &p.flags)
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w; name one with --kubeconfig, and its context with --context", err)
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w; name one with --kubeconfig, and its context with --context", err)
	}
	config.UserAgent = "kubectl-mcp/" + buildVersion()
	config.QPS, config.Burst = 50, 100
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	return &cluster{Client: c, config: config, namespace: namespace}, nil
}

// everywhere adds the flag for all namespaces.
func (p *plugin) everywhere(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&p.allNamespaces, "all-namespaces", "A", false, "all namespaces")
}

// inNamespace is where a list looks.
func (p *plugin) inNamespace(c *cluster) client.ListOption {
	if p.allNamespaces {
		return client.InNamespace("")
	}
	return client.InNamespace(c.namespace)
}

// explain adds what to do to errors of the API server.
func explain(err error, kind, namespace, name string) error {
	if client.IgnoreNotFound(err) == nil {
		return fmt.Errorf("there is no %s %s in namespace %s: kubectl get %s --all-namespaces lists them, --namespace names another", kind, name, namespace, kind)
	}
	return fmt.Errorf("read %s %s/%s: %w", kind, namespace, name, err)
}
