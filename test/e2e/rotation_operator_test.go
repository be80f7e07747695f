package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Where the operator is installed.
const (
	operatorDeployment = "bartizan-controller-manager"
	operatorLease      = "bartizan.dev"
)

// leader is the operator's pod that is at work, by its name.
func (c *cluster) leader(ctx context.Context) (string, error) {
	lease := &coordinationv1.Lease{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: operatorLease}, lease); err != nil {
		return "", err
	}
	name, _, _ := strings.Cut(ptr.Deref(lease.Spec.HolderIdentity, ""), "_")
	if name == "" {
		return "", errors.New("nobody leads")
	}
	return name, nil
}

// leads waits until another pod than this one is the operator at work.
func (c *cluster) leads(t *testing.T, other string) {
	t.Helper()
	took := eventually(t, "another operator leads", 3*time.Minute, func(ctx context.Context) error {
		name, err := c.leader(ctx)
		if err == nil && name == other {
			err = fmt.Errorf("%s leads", name)
		}
		return err
	})
	t.Logf("another operator than %s leads after %s", other, took.Round(time.Second))
}

// killOperator ends the operator without a chance to finish anything, and waits until its successor is at work.
func (c *cluster) killOperator(t *testing.T) {
	t.Helper()
	var name string
	eventually(t, "the operator leads", 3*time.Minute, func(ctx context.Context) (err error) {
		name, err = c.leader(ctx)
		return err
	})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: name}}
	must(t, c.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))
	t.Logf("killed %d processes of %s", kill(string(pod.UID), "/manager"), name)
	// Where the node is another machine, this is as near to it as one gets; and a restarted container would lead under the same name.
	must(t, client.IgnoreNotFound(c.Delete(t.Context(), pod, client.GracePeriodSeconds(0))))
	c.leads(t, name)
}

// kill ends the processes of a pod that run a program, where they are processes of this machine.
func kill(uid, program string) (ended int) {
	groups, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, file := range groups {
		group, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(group, []byte(uid)) {
			continue
		}
		folder := filepath.Dir(file)
		if running, err := os.ReadFile(filepath.Join(folder, "cmdline")); err != nil || !bytes.HasPrefix(running, []byte(program+"\x00")) {
			continue
		}
		if id, err := strconv.Atoi(filepath.Base(folder)); err == nil && syscall.Kill(id, syscall.SIGKILL) == nil {
			ended++
		}
	}
	return ended
}

// changeLeader has another replica of the operator take over, and ends the one that led in good order.
func (c *cluster) changeLeader(t *testing.T) {
	t.Helper()
	c.scaleOperator(t, 2)
	defer c.scaleOperator(t, 1)
	name, err := c.leader(t.Context())
	must(t, err)
	must(t, c.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: name}}))
	c.leads(t, name)
}

func (c *cluster) scaleOperator(t *testing.T, replicas int32) {
	t.Helper()
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: operatorDeployment}}
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	must(t, c.Patch(t.Context(), deployment, client.RawPatch("application/merge-patch+json", patch)))
	eventually(t, fmt.Sprintf("the operator has %d replicas", replicas), 3*time.Minute, func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(deployment), deployment); err != nil {
			return err
		}
		s := deployment.Status
		if s.ObservedGeneration < deployment.Generation || s.Replicas != replicas || s.ReadyReplicas != replicas {
			return fmt.Errorf("%d of %d are ready", s.ReadyReplicas, s.Replicas)
		}
		return nil
	})
}
