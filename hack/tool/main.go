// Command tool runs a tool of hack/tools, compiled if it is not in the cache: go run ./hack/tool helm3 template charts/bartizan
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/bartizan-dev/bartizan/hack/toolchain"
)

var tools = map[string]toolchain.Tool{
	"helm3": toolchain.Helm3, "helm4": toolchain.Helm4, "helm-unittest": toolchain.HelmUnittest,
	"kubeconform": toolchain.Kubeconform, "kustomize": toolchain.Kustomize,
	"prometheus": toolchain.Prometheus,
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tool:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	names := strings.Join(slices.Sorted(maps.Keys(tools)), ", ")
	if len(arguments) == 0 {
		return fmt.Errorf("usage: tool NAME [ARGUMENT...]; there are %s", names)
	}
	tool, ok := tools[arguments[0]]
	if !ok {
		return fmt.Errorf("there is no tool %q: %s", arguments[0], names)
	}
	program, err := tool.Path(context.Background())
	if err != nil {
		return err
	}
	return syscall.Exec(program, arguments, os.Environ())
}
