package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/controllers"
)

// namespaceFile is where a pod finds the name of its own namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// options are the flags.
type options struct {
	controllers         controllers.Options
	leaderElect         bool
	metricsAddress      string
	metricsCertificates string
	probeAddress        string
	log                 zap.Options
}

const usage = `manager is Bartizan's operator: it makes each MCPServer a running server behind a gate, gives each MCPClient its keys
and certificates, and has the gates enforce the MCPAccessPolicies.

It needs a cluster (from its pod, from KUBECONFIG or from --kubeconfig) with the CustomResourceDefinitions of bartizan.dev.
cert-manager and external-secrets may come later: servers that need them wait and say so.

  manager --gate-image registry.example/bartizan/authproxy@sha256:…

Outside a pod, name the namespace whose authority vouches for the operator:

  manager --gate-image … --namespace bartizan-system --leader-elect=false

Flags:
`

// parse reads the flags. Every error names the flag and the way out.
func parse(args []string, out io.Writer) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("manager", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Usage = func() {
		fmt.Fprint(out, usage)
		flags.PrintDefaults()
	}
	var rotateAfter, podLabels, gateMetricsFrom, watchNamespaces, grantableRules, issuerKinds, clusterRanges, issuerNetworks, without string
	flags.StringVar(&o.controllers.GateImage, "gate-image", "", "image of the gate, by `digest`: registry/name@sha256:…; changing it rolls the servers within the budget (required)")
	flags.StringVar(&o.controllers.Namespace, "namespace", "", "the operator's own `namespace`, with its certificates and its lease (default: the pod's)")
	flags.StringVar(&podLabels, "pod-labels", "app.kubernetes.io/name=bartizan,app.kubernetes.io/component=controller-manager", "`labels` that select the operator's pods, for the network policies that let them read the gates' status")
	flags.StringVar(&gateMetricsFrom, "gate-metrics-from", "", "who may read the gates' metrics: JSON `list` of NetworkPolicy peers. There is a certificate for them then, in the Secret bartizan-monitoring of the operator's namespace (default: nobody)")
	flags.StringVar(&watchNamespaces, "watch-namespaces", "", "`namespaces` to look after, separated by commas (default: all)")
	flags.StringVar(&grantableRules, "grantable-rules", "", "`file` with the rights that servers may be given through spec.kubernetesAccess.rules: a YAML list of RBAC rules, all of which the operator must hold itself (default: none)")
	flags.StringVar(&issuerKinds, "issuer-kinds", "", "further namespaced `kinds` of issuers that spec.tls.issuerRef may name, as Kind.group, separated by commas (default: Issuer.cert-manager.io alone)")
	flags.StringVar(&o.controllers.ClusterDomain, "cluster-domain", "cluster.local", "DNS `domain` of the cluster's Services")
	flags.StringVar(&clusterRanges, "cluster-cidrs", "", "public address `ranges` that belong to the cluster, separated by commas: spec.network.internet does not reach them")
	flags.StringVar(&issuerNetworks, "issuer-networks", "", "private address `ranges` in which token issuers may be, separated by commas: the operator fetches their keys (default: public addresses alone)")
	flags.StringVar(&without, "without-apis", "", "`groups` of optional APIs to leave alone although the cluster has them, separated by commas: external-secrets.io")
	flags.IntVar(&o.controllers.RolloutBudget, "rollout-budget", 5, "how many servers at most roll at once when the operator or the gate's image changed")
	flags.DurationVar(&o.controllers.AuthorityLifetime, "authority-lifetime", 8760*time.Hour, "how `long` private certificate authorities live; each is followed by another when a third of its life is left")
	flags.DurationVar(&o.controllers.AuthorityOverlap, "authority-overlap", 24*time.Hour, "how `long` everybody has to read a new authority before it issues certificates, and how long the old one is trusted after its last certificate was replaced")
	flags.StringVar(&rotateAfter, "rotate-authorities-after", "", "RFC 3339 `time`: private authorities made before are followed by others, the operator's own among them; the present time begins now")
	flags.DurationVar(&o.controllers.DiscoveryInterval, "discovery-interval", 0, "how `often` MCP servers without a gate are looked for, up to 5m, among the pods and Services of the watched namespaces and the objects of other projects; 0: never")
	flags.BoolVar(&o.controllers.DiscoveryHandshake, "discovery-handshake", false, "ask pods that look like an MCP server, at the ports that they name, whether they are one (MCP's handshake, without a credential)")
	flags.BoolVar(&o.leaderElect, "leader-elect", true, "have one of several replicas at work, the others ready to take over")
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443", "`address` of the metrics, served with TLS to who may get /metrics; 0 turns them off")
	flags.StringVar(&o.metricsCertificates, "metrics-cert-dir", "", "`directory` with tls.crt and tls.key for the metrics (default: a certificate that the process makes itself)")
	flags.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "`address` of /healthz and /readyz")
	if kubeconfig := flag.Lookup("kubeconfig"); kubeconfig != nil {
		flags.Var(kubeconfig.Value, "kubeconfig", "`file` that says where the cluster is and who we are (default: KUBECONFIG, or the pod's own account)")
	}
	o.log.BindFlags(flags)
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag; see --help", flags.Arg(0))
	}
	var err error
	if o.controllers.PodLabels, err = labels.ConvertSelectorToLabelsMap(podLabels); err != nil || len(o.controllers.PodLabels) == 0 {
		return o, fmt.Errorf("--pod-labels: %q is no list of labels; write key=value,key=value", podLabels)
	}
	if rotateAfter != "" {
		if o.controllers.RotateAuthoritiesAfter, err = time.Parse(time.RFC3339, rotateAfter); err != nil {
			return o, fmt.Errorf("--rotate-authorities-after: %q is no time; write one such as 2030-01-01T12:00:00Z", rotateAfter)
		}
	}
	if gateMetricsFrom != "" {
		if err := yaml.UnmarshalStrict([]byte(gateMetricsFrom), &o.controllers.GateMetricsFrom); err != nil {
			return o, fmt.Errorf(`--gate-metrics-from: no JSON list of NetworkPolicy peers; write such as [{"namespaceSelector":{"matchLabels":{"metrics":"enabled"}}}]: %w`, err)
		}
	}
	o.controllers.WatchNamespaces = list(watchNamespaces)
	o.controllers.WithoutAPIs = list(without)
	if o.controllers.GrantableRules, err = rules(grantableRules); err != nil {
		return o, err
	}
	for _, kind := range list(issuerKinds) {
		parsed := schema.ParseGroupKind(kind)
		if parsed.Group == "" {
			return o, fmt.Errorf("--issuer-kinds: %q has no group; write Kind.group, such as Issuer.cert-manager.io", kind)
		}
		o.controllers.IssuerKinds = append(o.controllers.IssuerKinds, parsed)
	}
	if o.controllers.ClusterRanges, err = prefixes("--cluster-cidrs", clusterRanges, "2001:db8::/48"); err != nil {
		return o, err
	}
	if o.controllers.IssuerNetworks, err = prefixes("--issuer-networks", issuerNetworks, "10.96.0.0/12"); err != nil {
		return o, err
	}
	return o, o.complete()
}

// complete fills in what the surroundings tell, and checks the whole.
func (o *options) complete() error {
	c := &o.controllers
	if c.GateImage == "" {
		return errors.New("--gate-image is required: the image of the gate, by digest")
	}
	if c.Namespace == "" {
		content, err := os.ReadFile(namespaceFile)
		if err != nil {
			return errors.New("--namespace is required outside a pod: the operator keeps its certificates and its lease there")
		}
		c.Namespace = strings.TrimSpace(string(content))
	}
	for _, namespace := range append([]string{c.Namespace}, c.WatchNamespaces...) {
		if len(validation.IsDNS1123Label(namespace)) > 0 {
			return fmt.Errorf("--namespace and --watch-namespaces: %q is no name of a namespace", namespace)
		}
	}
	return c.Validate()
}

// rules reads the grantable rules; without a file there are none.
func rules(file string) ([]rbacv1.PolicyRule, error) {
	if file == "" {
		return nil, nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--grantable-rules: %w", err)
	}
	var all []rbacv1.PolicyRule
	if err := yaml.UnmarshalStrict(content, &all); err != nil {
		return nil, fmt.Errorf("--grantable-rules: %s is no YAML list of RBAC rules: %w", file, err)
	}
	return all, nil
}

// prefixes reads address ranges.
func prefixes(flag, ranges, example string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, cidr := range list(ranges) {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is no address range; write one such as %s", flag, cidr, example)
		}
		all = append(all, prefix)
	}
	return all, nil
}

// list splits at commas and leaves out what is empty.
func list(s string) []string {
	return slices.DeleteFunc(strings.Split(s, ","), func(part string) bool { return part == "" })
}
