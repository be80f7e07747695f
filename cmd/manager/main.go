// Command manager is the operator.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	_ "golang.org/x/crypto/x509roots/fallback" // the image has no authorities, and token issuers have certificates of public ones
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/bartizan-dev/bartizan/controllers"
)

// How long a leader may go on without reaching the API server. When it cannot renew its lease it notices that after retryPeriod and
// renewDeadline, and then tries to release it, for as long as renewDeadline once more, while its controllers still work. Only after leaseDuration
// may another one lead, so it must be longer than all three together: with client-go's defaults (15, 10 and 2 seconds) both would write.
const (
	leaseDuration = 20 * time.Second
	renewDeadline = 8 * time.Second
	retryPeriod   = 2 * time.Second
)

func main() {
	if err := run(ctrl.SetupSignalHandler(), os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args, out)
	if err == flag.ErrHelp {
		return nil
	}
	if err != nil {
		return err
	}
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&o.log)))
	kubernetes, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the cluster: %w; run in a pod, or set KUBECONFIG or --kubeconfig", err)
	}
	mgr, err := newManager(kubernetes, o)
	if err != nil {
		return err
	}
	if err := controllers.Setup(ctx, mgr, o.controllers); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

func newManager(kubernetes *rest.Config, o options) (ctrl.Manager, error) {
	kubernetes.QPS, kubernetes.Burst = 100, 200
	kubernetes.UserAgent = "bartizan-manager"
	mgr, err := ctrl.NewManager(kubernetes, ctrl.Options{
		Scheme: controllers.Scheme(),
		Cache:  controllers.CacheOptions(o.controllers.Namespace, o.controllers.WatchNamespaces),
		Client: client.Options{FieldValidation: "Strict"},
		Metrics: server.Options{
			BindAddress: o.metricsAddress, SecureServing: true, CertDir: o.metricsCertificates,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
		},
		HealthProbeBindAddress:        o.probeAddress,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              "bartizan.dev",
		LeaderElectionNamespace:       o.controllers.Namespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 ptr.To(leaseDuration),
		RenewDeadline:                 ptr.To(renewDeadline),
		RetryPeriod:                   ptr.To(retryPeriod),
		Controller:                    config.Controller{ReconciliationTimeout: 2 * time.Minute, EnableWarmup: ptr.To(true)},
	})
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w; are the CustomResourceDefinitions of bartizan.dev installed?", err)
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, err
	}
	return mgr, mgr.AddReadyzCheck("ping", healthz.Ping)
}
