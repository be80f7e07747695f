// Package controllers puts the operator's controllers together.
package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	pushsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1alpha1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	kubernetesdiscovery "k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/accesspolicy"
	"github.com/bartizan-dev/bartizan/controllers/authority"
	"github.com/bartizan-dev/bartizan/controllers/definitions"
	"github.com/bartizan-dev/bartizan/controllers/discovery"
	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/controllers/internal/optional"
	"github.com/bartizan-dev/bartizan/controllers/issuers"
	"github.com/bartizan-dev/bartizan/controllers/mcpclient"
	"github.com/bartizan-dev/bartizan/controllers/mcpserver"
	"github.com/bartizan-dev/bartizan/controllers/profile"
	"github.com/bartizan-dev/bartizan/controllers/verification"
	"github.com/bartizan-dev/bartizan/internal/rollover"
)

// Scheme returns all kinds that the operator works with.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, v1alpha1.AddToScheme, certmanager.AddToScheme, externalsecrets.AddToScheme, pushsecrets.AddToScheme,
	} {
		utilruntime.Must(add(scheme))
	}
	return scheme
}

// Options are what the operator's administrator decides.
type Options struct {
	// Namespace is the operator's own, with its certificates.
	Namespace string
	// PodLabels select the operator's pods.
	PodLabels map[string]string
	// GateMetricsFrom are the pods that may connect to the gates' status ports, where their metrics are. With any there is a
	// certificate for them, and the gates know it. None: only the operator reads there.
	GateMetricsFrom []networkingv1.NetworkPolicyPeer
	// GateImage is the image of the gate, by digest.
	GateImage string
	// WatchNamespaces are the namespaces that are looked after; none means all.
	WatchNamespaces []string
	// GrantableRules are the rights that a server may be given in its namespace.
	GrantableRules []rbacv1.PolicyRule
	// IssuerKinds are namespaced kinds of issuers that may issue serving certificates, beside cert-manager's Issuer.
	IssuerKinds []schema.GroupKind
	// WithoutAPIs are groups of optional APIs that are left alone although the cluster has them.
	WithoutAPIs []string
	// ClusterDomain is the DNS domain of Services.
	ClusterDomain string
	// ClusterRanges are public addresses that belong to the cluster.
	ClusterRanges []netip.Prefix
	// RolloutBudget is how many servers at most roll at once because the operator changed.
	RolloutBudget int
	// AuthorityLifetime is how long a private authority lives; zero: a year.
	AuthorityLifetime time.Duration
	// AuthorityOverlap is how long those who verify have to read a new bundle before a new authority issues anything, and how
	// long an authority is trusted after its last certificate was replaced; zero: a day.
	AuthorityOverlap time.Duration
	// RotateAuthoritiesAfter asks for new ones in place of all private authorities that were made before; zero: for none.
	RotateAuthoritiesAfter time.Time
	// Rest is how often a server is looked at when nothing happens, Retry how often what no watch shows; zero: 5 minutes
	// and 15 seconds.
	Rest, Retry time.Duration
	// IssuerNetworks are private address ranges in which token issuers may be; all others are not dialled.
	IssuerNetworks []netip.Prefix
	// IssuerTimes are when token issuers are asked; zero: issuers.DefaultTimes.
	IssuerTimes issuers.Times
	// DiscoveryInterval is how often MCP servers without a gate are looked for; zero: never.
	DiscoveryInterval time.Duration
	// DiscoveryHandshake asks pods that look like an MCP server whether they are one.
	DiscoveryHandshake bool
	// Gates asks gates for their status; nil: over the network.
	Gates gates.Reader
	// Lists asks gates what their servers offer; nil: over the network.
	Lists gates.Lister
	// Attack attacks a gate; nil: over the network.
	Attack verification.Attack
	// Now is the clock; nil: the machine's.
	Now func() time.Time
}

// How long authorities live, and overlap, where nothing is said.
const (
	authorityLifetime = 8760 * time.Hour
	authorityOverlap  = 24 * time.Hour
)

// Validate finds what cannot work.
func (o Options) Validate() error {
	switch {
	case !manifests.Pinned(o.GateImage):
		return fmt.Errorf("the gate's image %q is not an image by digest; write registry/name@sha256: and the 64 digits of the digest", o.GateImage)
	case len(o.PodLabels) == 0:
		return errors.New("no labels select the operator's pods: network policies would let nobody read the gates' status")
	case o.RolloutBudget < 1:
		return errors.New("the rollout budget must be at least 1: with less no server would ever get a new gate")
	}
	for _, group := range o.WithoutAPIs {
		if group != externalsecrets.SchemeGroupVersion.Group {
			return fmt.Errorf("the API %q cannot be left alone; only %s can", group, externalsecrets.SchemeGroupVersion.Group)
		}
	}
	lifetime, overlap := cmp.Or(o.AuthorityLifetime, authorityLifetime), cmp.Or(o.AuthorityOverlap, authorityOverlap)
	switch {
	case lifetime < 24*time.Hour || lifetime > 87600*time.Hour:
		return fmt.Errorf("the lifetime of authorities, %s, is not between 24h and 87600h", lifetime)
	case overlap < time.Second || overlap > lifetime/12:
		return fmt.Errorf("the overlap of authorities, %s, is not between 1s and a twelfth of their lifetime, %s: a rollover would not end in time", overlap, lifetime/12)
	}
	switch {
	case o.DiscoveryInterval != 0 && (o.DiscoveryInterval < time.Second || o.DiscoveryInterval > 5*time.Minute):
		return fmt.Errorf("the interval of discovery, %s, is not between 1s and 5m; 0 turns it off", o.DiscoveryInterval)
	case o.DiscoveryHandshake && o.DiscoveryInterval == 0:
		return errors.New("the handshake of discovery is on and discovery is off: give it an interval, such as 4m")
	}
	for i, peer := range o.GateMetricsFrom {
		if peer == (networkingv1.NetworkPolicyPeer{}) {
			return fmt.Errorf("peer %d of those who read the gates' metrics is empty, which would mean everybody; give it a podSelector, a namespaceSelector or an ipBlock", i+1)
		}
	}
	for i, rule := range o.GrantableRules {
		if slices.Contains(slices.Concat(rule.Verbs, rule.APIGroups, rule.Resources), rbacv1.VerbAll) {
			return fmt.Errorf("grantable rule %d has a wildcard; name verbs, groups and resources", i+1)
		}
	}
	return nil
}

func (o Options) settings() mcpserver.Settings {
	return mcpserver.Settings{
		Namespace: o.Namespace, GateImage: o.GateImage,
		Operator:      manifests.Operator{Namespace: o.Namespace, PodLabels: o.PodLabels},
		Monitoring:    o.GateMetricsFrom,
		Options:       manifests.Options{GrantableRules: o.GrantableRules, Issuers: o.IssuerKinds},
		ClusterDomain: o.ClusterDomain, ClusterRanges: o.ClusterRanges,
		Rest: cmp.Or(o.Rest, 5*time.Minute), Retry: cmp.Or(o.Retry, 15*time.Second),
	}
}

// Setup registers all controllers with a manager whose caches are those of CacheOptions.
func Setup(ctx context.Context, mgr ctrl.Manager, o Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	o.AuthorityLifetime, o.AuthorityOverlap = cmp.Or(o.AuthorityLifetime, authorityLifetime), cmp.Or(o.AuthorityOverlap, authorityOverlap)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.IssuerTimes == (issuers.Times{}) {
		o.IssuerTimes = issuers.DefaultTimes
	}
	kubernetes, err := kubernetesdiscovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("reach the API server: %w", err)
	}
	keys := &issuers.Network{Allowed: o.IssuerNetworks, Cluster: o.ClusterRanges, Kubernetes: kubernetes.RESTClient()}
	network := gates.New(authority.Credentials(mgr.GetClient(), o.Namespace))
	if o.Gates == nil {
		o.Gates = network
	}
	if o.Lists == nil {
		o.Lists = network
	}
	apis, err := optional.New(mgr, slices.DeleteFunc([]optional.API{
		{
			Name: "cert-manager", Version: certmanager.SchemeGroupVersion, Resources: []string{"certificates", "issuers"},
			Cached: []client.Object{&certmanager.Certificate{}, &certmanager.Issuer{}},
		},
		{
			Name: "external-secrets", Version: externalsecrets.SchemeGroupVersion, Resources: []string{"externalsecrets", "secretstores"},
			Cached: []client.Object{&externalsecrets.ExternalSecret{}},
		},
		mcpclient.PushSecrets,
		verification.AlertRules,
		verification.VulnerabilityReports,
		verification.BOMReports,
		verification.PolicyReports,
		verification.Reports,
	}, func(api optional.API) bool { return slices.Contains(o.WithoutAPIs, api.Version.Group) })...)
	if err != nil {
		return err
	}
	verifier := &verification.Reconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), APIs: apis, Gates: o.Gates, Attack: o.Attack,
		Events: mgr.GetEventRecorder("mcpserver-verification"), Now: o.Now, WatchNamespaces: o.WatchNamespaces,
		Settings: verification.Settings{
			Namespace: o.Namespace, GateImage: o.GateImage, Timeout: 2 * time.Second, Again: cmp.Or(o.Retry, 15*time.Second), RulesAge: 4 * cmp.Or(o.Retry, 15*time.Second), ReportsAge: 20 * cmp.Or(o.Retry, 15*time.Second),
			Spread: 5 * time.Minute,
		},
	}
	type controller struct {
		name  string
		setup func() error
	}
	for _, c := range []controller{
		{"optional APIs", func() error { return apis.SetupWithManager(mgr) }},
		{"authority", func() error {
			return (&authority.Reconciler{
				Client: mgr.GetClient(), Live: mgr.GetAPIReader(), APIs: apis, Gates: o.Gates, Recorder: mgr.GetEventRecorder("authority"),
				Namespace: o.Namespace, WatchNamespaces: o.WatchNamespaces, Clock: o.Now,
				Schedule:    rollover.Schedule{Lifetime: o.AuthorityLifetime, Overlap: o.AuthorityOverlap},
				RotateAfter: o.RotateAuthoritiesAfter, Monitored: len(o.GateMetricsFrom) > 0,
			}).SetupWithManager(ctx, mgr)
		}},
		{"MCPServer", func() error {
			return (&mcpserver.Reconciler{
				Client: mgr.GetClient(), Live: mgr.GetAPIReader(), APIs: apis, Gates: o.Gates, Events: mgr.GetEventRecorder("mcpserver"),
				Budget: mcpserver.NewBudget(o.RolloutBudget), Settings: o.settings(), Now: o.Now, Keys: keys, Times: o.IssuerTimes,
			}).SetupWithManager(ctx, mgr)
		}},
		{"discovery", func() error {
			if o.DiscoveryInterval == 0 {
				return nil
			}
			f := &discovery.Finder{Live: mgr.GetAPIReader(), Interval: o.DiscoveryInterval, Namespaces: o.WatchNamespaces, Now: o.Now}
			if o.DiscoveryHandshake {
				f.Handshake = discovery.Ask
			}
			verifier.Unmanaged = f.Unmanaged
			if err := f.SetupWithManager(mgr); err != nil {
				return err
			}
			verifier.Found = f.Changed()
			return nil
		}},
		{"verification", func() error { return verifier.SetupWithManager(ctx, mgr) }},
		{"definitions", func() error {
			return (&definitions.Reconciler{
				Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Gates: o.Gates, Lists: o.Lists, Now: o.Now,
				Events: mgr.GetEventRecorder("mcpserver-definitions"),
			}).SetupWithManager(ctx, mgr)
		}},
		{"MCPClient", func() error {
			return (&mcpclient.Reconciler{
				Client: mgr.GetClient(), Live: mgr.GetAPIReader(), APIs: apis, Gates: o.Gates, Recorder: mgr.GetEventRecorder("mcpclient"),
				WatchNamespaces: o.WatchNamespaces, Clock: o.Now,
			}).SetupWithManager(ctx, mgr)
		}},
		{"MCPAccessPolicy", func() error {
			return (&accesspolicy.Reconciler{
				Client: mgr.GetClient(), Recorder: mgr.GetEventRecorder("mcpaccesspolicy"), WatchNamespaces: o.WatchNamespaces, Clock: o.Now,
			}).SetupWithManager(ctx, mgr)
		}},
		{"MCPSecurityProfile", func() error {
			if len(o.WatchNamespaces) > 0 {
				return nil // it would tell of its own namespaces only, and another operator of others
			}
			return (&profile.Reconciler{Client: mgr.GetClient(), Recorder: mgr.GetEventRecorder("mcpsecurityprofile"), Now: o.Now}).SetupWithManager(ctx, mgr)
		}},
	} {
		if err := c.setup(); err != nil {
			return fmt.Errorf("set up the controller of %s: %w", c.name, err)
		}
	}
	return nil
}
