package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// operatorNamespace is where the demo installs the operator.
const operatorNamespace = "bartizan-system"

// A write is a request that can change an object, as the API server's audit log has it.
type write struct {
	Verb string `json:"verb"`
	User struct {
		Username string `json:"username"`
	} `json:"user"`
	ObjectRef struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
}

func (w write) String() string {
	resource := w.ObjectRef.Resource
	if w.ObjectRef.Subresource != "" {
		resource += "/" + w.ObjectRef.Subresource
	}
	return fmt.Sprintf("%s %s %s/%s", w.Verb, resource, w.ObjectRef.Namespace, w.ObjectRef.Name)
}

// operator is the name by which the API server knows the operator.
func (c *cluster) operator(ctx context.Context) (string, error) {
	var list appsv1.DeploymentList
	if err := c.List(ctx, &list, client.InNamespace(operatorNamespace), client.MatchingLabels{
		"app.kubernetes.io/name": "bartizan", "app.kubernetes.io/component": "controller-manager",
	}); err != nil {
		return "", err
	}
	if len(list.Items) != 1 {
		return "", fmt.Errorf("%d Deployments in %s are the operator", len(list.Items), operatorNamespace)
	}
	return "system:serviceaccount:" + operatorNamespace + ":" + list.Items[0].Spec.Template.Spec.ServiceAccountName, nil
}

// audited are the writes from a place of the audit log on by one user in some namespaces, and the place after them.
func (c *cluster) audited(from int64, user string, namespaces ...string) (found []write, next int64, err error) {
	file, err := os.Open(c.auditLog)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		return nil, 0, err
	}
	next = from
	for reader := bufio.NewReaderSize(file, 1<<20); ; {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return found, next, nil // The rest of a line that is being written is for the next time.
		}
		if err != nil {
			return nil, 0, err
		}
		next += int64(len(line))
		var w write
		if err := json.Unmarshal(bytes.TrimSpace(line), &w); err != nil {
			return nil, 0, fmt.Errorf("%s at %d: %w", c.auditLog, next, err)
		}
		if w.User.Username == user && slices.Contains(namespaces, w.ObjectRef.Namespace) {
			found = append(found, w)
		}
	}
}

// lines shows writes to a person, the first of many.
func lines(writes []write) string {
	const most = 20
	var b strings.Builder
	for _, w := range writes[:min(len(writes), most)] {
		fmt.Fprintf(&b, "\n  %s", w)
	}
	if len(writes) > most {
		fmt.Fprintf(&b, "\n  and %d more", len(writes)-most)
	}
	return b.String()
}
