package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// forwarder reaches a gate through the API server, as kubectl port-forward does. When its pod goes, it takes another one.
type forwarder struct {
	cluster *cluster
	server  string

	mutex sync.Mutex
	// local is where the forwarded port is; empty: nowhere.
	local string
	// ended is closed when the forwarding ended.
	ended chan struct{}
}

func (f *forwarder) dial(ctx context.Context) (net.Conn, error) {
	for attempt := 0; ; attempt++ {
		local, err := f.address(ctx)
		if err != nil {
			return nil, err
		}
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", local)
		if err == nil || attempt == 2 {
			return connection, err
		}
	}
}

// address is the local address of a forwarded port, forwarded now if it must be.
func (f *forwarder) address(ctx context.Context) (string, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.local != "" {
		select {
		case <-f.ended:
		default:
			return f.local, nil
		}
	}
	pod, err := f.pod(ctx)
	if err != nil {
		return "", err
	}
	dialer, err := f.dialer(pod)
	if err != nil {
		return "", err
	}
	ready := make(chan struct{})
	// It outlives the request that it was opened for, and ends with the program.
	forward, err := portforward.NewOnAddressesForStreaming(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", gateconfig.GatePort)}, nil, ready, io.Discard, io.Discard)
	if err != nil {
		return "", err
	}
	ended, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		failed <- forward.ForwardPorts()
		close(ended)
	}()
	select {
	case <-ready:
	case err := <-failed:
		return "", fmt.Errorf("forward a port of pod %s/%s: %w; you need the right to create pods/portforward", pod.Namespace, pod.Name, err)
	case <-ctx.Done():
		return "", ctx.Err()
	}
	ports, err := forward.GetPorts()
	if err != nil {
		return "", err
	}
	f.local, f.ended = fmt.Sprintf("127.0.0.1:%d", ports[0].Local), ended
	return f.local, nil
}

// pod is a ready pod of the server.
func (f *forwarder) pod(ctx context.Context) (*corev1.Pod, error) {
	pods := &corev1.PodList{}
	if err := f.cluster.List(ctx, pods, client.InNamespace(f.cluster.namespace), client.MatchingLabels{v1alpha1.LabelServer: f.server}); err != nil {
		return nil, fmt.Errorf("list pods of %s: %w", f.cluster.namespace, err)
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil && declared.HasGate(pod) {
				return pod, nil
			}
		}
	}
	return nil, fmt.Errorf("MCPServer %s/%s has no ready pod: kubectl describe mcpserver %s --namespace %s says why", f.cluster.namespace, f.server, f.server, f.cluster.namespace)
}

// dialer tunnels through a WebSocket, and through SPDY where the API server knows no better.
func (f *forwarder) dialer(pod *corev1.Pod) (httpstream.Dialer, error) {
	clientset, err := kubernetes.NewForConfig(f.cluster.config)
	if err != nil {
		return nil, err
	}
	target := clientset.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(f.cluster.config)
	if err != nil {
		return nil, err
	}
	old := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, target)
	current, err := portforward.NewSPDYOverWebsocketDialerForStreaming(target, f.cluster.config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialerForStreaming(current, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}
