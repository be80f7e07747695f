// Command kuberbacproxy is kube-rbac-proxy as its maintainers release it, compiled from its module.
package main

import (
	"os"

	"k8s.io/component-base/cli"

	"github.com/brancz/kube-rbac-proxy/cmd/kube-rbac-proxy/app"
)

func main() { os.Exit(cli.Run(app.NewKubeRBACProxyCommand())) }
