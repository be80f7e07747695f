package discovery

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/bartizan-dev/bartizan/internal/discovery"
)

// Bounds of the handshakes of one look.
const (
	mostAsked     = 50
	mostPorts     = 3
	askTimeout    = 2 * time.Second
	mostAnswer    = 64 << 10
	handshakePath = "/mcp"
)

// Address is where a pod may listen.
type Address struct {
	IP   netip.Addr
	Port int32
}

// askable says whether a pod may be asked: one that runs and has an address of its own. What it says of itself in its spec never
// decides which address is dialled: the kubelet tells that.
func askable(pod *corev1.Pod) bool {
	if pod.Spec.HostNetwork || pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil {
		return false
	}
	ip, ok := address(pod)
	return ok && ip.String() != pod.Status.HostIP
}

func address(pod *corev1.Pod) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(pod.Status.PodIP)
	return ip, err == nil && outside(ip)
}

// outside says whether an address can be that of a pod: not the operator's own, a cloud's metadata or a whole network.
func outside(ip netip.Addr) bool {
	ip = ip.Unmap()
	return ip.IsValid() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() && !ip.IsMulticast() && !ip.IsUnspecified() && ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// ask asks pods of what was found and is not certain. One that answered, or did not, is not asked again.
func (f *Finder) ask(ctx context.Context, in *discovery.Input, found []discovery.Finding, pods map[string]*corev1.Pod) {
	uncertain := map[string]bool{}
	for i := range found {
		if found[i].Confidence != discovery.High {
			uncertain[found[i].Kind+" "+found[i].Namespace+"/"+found[i].Name] = true
		}
	}
	kept := map[string][]string{}
	asked := 0
	for i := range in.Workloads {
		w := &in.Workloads[i]
		key := w.Kind + " " + w.Namespace + "/" + w.Name
		pod := pods[key]
		if pod == nil || !uncertain[key] && f.asked[string(pod.UID)] == nil {
			continue
		}
		answered, done := kept[string(pod.UID)]
		if !done {
			answered, done = f.asked[string(pod.UID)]
		}
		if !done && asked < mostAsked {
			asked++
			answered, done = f.shake(ctx, pod, w), true
		}
		if done {
			kept[string(pod.UID)] = answered
			w.Answered = answered
		}
	}
	f.asked = kept
}

// shake tries the ports that a pod names.
func (f *Finder) shake(ctx context.Context, pod *corev1.Pod, w *discovery.Workload) []string {
	answered := []string{}
	ip, ok := address(pod)
	if !ok {
		return answered
	}
	tried := 0
	for _, c := range w.Containers {
		for _, port := range c.Ports {
			if tried == mostPorts {
				return answered
			}
			tried++
			if f.Handshake(ctx, Address{IP: ip, Port: port.Number}) {
				answered = append(answered, strconv.Itoa(int(port.Number))+handshakePath)
			}
		}
	}
	return answered
}

// initialize is the handshake, without a capability: the server may ask nothing back.
const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bartizan-discovery","version":"1"}}}`

// Ask does MCP's handshake over plain HTTP and says whether it was answered. It follows no redirect, uses no proxy, sends no
// credential and dials no other address than the one that it is given; a session that the server begins it ends.
func Ask(ctx context.Context, at Address) bool {
	if !outside(at.IP) || at.Port < 1 || at.Port > 65535 {
		return false
	}
	return ask(ctx, at)
}

func ask(ctx context.Context, at Address) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	target := net.JoinHostPort(at.IP.String(), strconv.Itoa(int(at.Port)))
	dialer := &net.Dialer{Timeout: askTimeout, Control: func(_, dialled string, _ syscall.RawConn) error {
		if dialled != target {
			return fmt.Errorf("refused to dial another address than %s", target)
		}
		return nil
	}}
	transport := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	url := "http://" + target + handshakePath
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte(initialize)))
	if err != nil {
		return false
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	answer, err := client.Do(request)
	if err != nil {
		return false
	}
	defer func() { _ = answer.Body.Close() }()
	if session := answer.Header.Get("Mcp-Session-Id"); session != "" {
		defer end(ctx, client, url, session)
	}
	return answer.StatusCode == http.StatusOK && recognised(io.LimitReader(answer.Body, mostAnswer))
}

// end ends a session; that it could not is the server's own affair.
func end(ctx context.Context, client *http.Client, url, session string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodDelete, url, nil)
	if err != nil {
		return
	}
	request.Header.Set("Mcp-Session-Id", session)
	if answer, err := client.Do(request); err == nil {
		_ = answer.Body.Close()
	}
}

// recognised says whether an answer, as JSON or as an event, is that of an MCP server.
func recognised(body io.Reader) bool {
	content, _ := io.ReadAll(body) // a stream that is still open is cut off by the deadline; what came counts
	for line := range bytes.Lines(content) {
		line = bytes.TrimSpace(line)
		line = bytes.TrimSpace(bytes.TrimPrefix(line, []byte("data:")))
		if isAnswer(line) {
			return true
		}
	}
	return isAnswer(content)
}

func isAnswer(text []byte) bool {
	var message struct {
		JSONRPC string `json:"jsonrpc"`
		Result  struct {
			ProtocolVersion string          `json:"protocolVersion"`
			Capabilities    json.RawMessage `json:"capabilities"`
		} `json:"result"`
	}
	return json.Unmarshal(text, &message) == nil && message.JSONRPC == "2.0" && message.Result.ProtocolVersion != "" && message.Result.Capabilities != nil
}
