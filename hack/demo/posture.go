package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// round is a Service that leads past the gate, as somebody might make one who knows no better.
const round = `apiVersion: v1
kind: Service
metadata: {name: round, namespace: tools}
spec: {selector: {bartizan.dev/server: kubernetes}, ports: [{port: 80, targetPort: 8080}]}
`

// posture shows what is proven about the server, breaks one control, and sees that it is found and heals.
func posture(ctx context.Context, s *screen, c *cluster) error {
	s.title("What is proven about it: kubectl mcp verify kubernetes --namespace tools")
	printed, err := c.plugin(ctx, "verify", "kubernetes", "--namespace", "tools", "--output", "wide")
	if err != nil {
		return err
	}
	s.printf("%s\n", printed)
	s.title("One control is broken, and found")
	if err := c.apply(ctx, []byte(round)); err != nil {
		return err
	}
	began := time.Now()
	reason, err := c.failing(ctx, "LEAST-8", func(reason string) bool { return reason != "" })
	if err != nil {
		return err
	}
	s.seen("a Service round the gate is found", "kubectl apply of a Service to the server's own port",
		fmt.Sprintf("LEAST-8 fails %s later: %s", time.Since(began).Round(100*time.Millisecond), reason), strings.Contains(reason, "round"))
	if _, err := c.kubectl(ctx, nil, "delete", "service", "round", "--namespace", "tools"); err != nil {
		return err
	}
	began = time.Now()
	reason, err = c.failing(ctx, "LEAST-8", func(reason string) bool { return reason == "" })
	if err != nil {
		return err
	}
	s.seen("… and heals", "kubectl delete of that Service", fmt.Sprintf("LEAST-8 holds again %s later", time.Since(began).Round(100*time.Millisecond)), reason == "")
	return nil
}

// failing waits until the reason for which a control of the server fails is as it should be; it is "" for one that does not fail.
func (c *cluster) failing(ctx context.Context, control string, as func(reason string) bool) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		printed, err := c.kubectl(ctx, nil, "get", "mcpserver", "kubernetes", "--namespace", "tools", "--output",
			`jsonpath={.status.posture.failing[?(@.control=="`+control+`")].reason}`)
		reason := strings.TrimSpace(string(printed))
		if err == nil && as(reason) {
			return reason, nil
		}
		select {
		case <-ctx.Done():
			return reason, fmt.Errorf("%s of MCPServer tools/kubernetes did not change within a minute; it says %q", control, reason)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// plugin runs kubectl mcp, which ends with 1 when something that it shows is not as it should be.
func (c *cluster) plugin(ctx context.Context, arguments ...string) (string, error) {
	if c.isTestbed() {
		kubeconfig, err := output(ctx, nil, c.testbed(), "kubeconfig")
		if err != nil {
			return "", err
		}
		arguments = append(arguments, "--kubeconfig", strings.TrimSpace(string(kubeconfig)))
	} else {
		arguments = append(arguments, "--context", c.context)
	}
	command := exec.CommandContext(ctx, filepath.Join(c.cache, "bin", "kubectl-mcp"), arguments...)
	var said strings.Builder
	command.Stderr = &said
	printed, err := command.Output()
	if err != nil && command.ProcessState.ExitCode() != 1 {
		return "", fmt.Errorf("kubectl mcp %s: %w: %s", arguments[0], err, said.String())
	}
	return string(printed), nil
}
