package gate_test

import (
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bartizan-dev/bartizan/hack/toolchain"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/test/prometheus"
)

// alone, in the environment, says that the test's binary runs in a network namespace of its own.
const alone = "BARTIZAN_TEST_ALONE"

// TestAlerts: a real Prometheus reads a gate with the identity of monitoring, and each alert about gates fires by its cause and
// resolves when that is gone. It runs in a network namespace of its own, where nothing else listens.
func TestAlerts(t *testing.T) {
	if os.Getenv(alone) == "" {
		t.Parallel()
		runAlone(t)
		return
	}
	loopback(t)
	w := newWorld(t, newRecorder(t, result).address(), func(w *world) {
		w.config.Status.Identities = append(w.config.Status.Identities, clientid.Monitoring)
	})
	monitoring := w.system.Client(t, clientid.Monitoring)
	p := prometheus.Start(t, "../../..", []prometheus.Target{{
		Job: prometheus.Gates, Address: strings.TrimPrefix(w.statusURL, "https://"), Identity: &monitoring,
		Labels: map[string]string{"namespace": "team-a", "server": "pods", "pod": "pods-0"},
	}}, "audit_stalled_seconds > 10", "audit_stalled_seconds > 1")
	for _, test := range []struct {
		alert string
		label []string
		// cause brings about what the alert is for, and returns what ends it.
		cause func(*testing.T) (end func())
	}{
		{"BartizanFailedLogins", []string{"namespace", "team-a", "server", "pods"}, func(t *testing.T) func() {
			for range 30 {
				if status, _, _ := do(t, w.keyed("mcpk_guess_guess"), w.post(legacyCall)); status != http.StatusUnauthorized {
					t.Fatalf("a guessed key gets %d", status)
				}
			}
			return func() {}
		}},
		{"BartizanGateBehind", []string{"pod", "pods-0"}, func(t *testing.T) func() {
			w.config.Limits.Depth = 0
			w.write()
			return func() { w.config.Limits.Depth = 32; w.write() }
		}},
		{"BartizanAuditStalled", []string{"pod", "pods-0"}, func(t *testing.T) func() {
			w.audit.mu.Lock() // nobody reads the gate's standard output any more
			answered := make(chan struct{})
			go func() {
				defer close(answered)
				if response, err := w.client(w.alice).Do(w.post(legacyCall)); err == nil {
					_ = response.Body.Close()
				}
			}()
			return func() { w.audit.mu.Unlock(); <-answered }
		}},
		{"BartizanAuditStalled", []string{"pod", "pods-0"}, func(t *testing.T) func() {
			w.audit.fail(errors.New("no space left on device"))
			response, err := w.client(w.alice).Do(w.post(legacyCall))
			if err == nil {
				defer response.Body.Close()
				if response.StatusCode == http.StatusOK {
					t.Fatal("a request is answered that is not in the log")
				}
			}
			return func() { w.audit.fail(nil) }
		}},
		{"BartizanGateCertificateNearEnd", []string{"pod", "pods-0"}, func(t *testing.T) func() {
			good, key := w.certificate, w.key
			w.certificate, w.key = w.serving.Serving(t, func(c *x509.Certificate) {
				c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(5*time.Minute)
			})
			w.write()
			return func() { w.certificate, w.key = good, key; w.write() }
		}},
		{"BartizanListenerBesideGate", []string{"pod", "pods-0"}, func(t *testing.T) func() {
			open, err := net.Listen("tcp4", "0.0.0.0:0")
			if err != nil {
				t.Fatal(err)
			}
			return func() { _ = open.Close() }
		}},
		{"BartizanGateNotRead", []string{"pod", "pods-0"}, func(t *testing.T) func() {
			w.reload(func(c *gateconfig.Config) { c.Status.Identities = []string{clientid.Operator} })
			return func() {
				w.reload(func(c *gateconfig.Config) {
					c.Status.Identities = append(c.Status.Identities, clientid.Monitoring)
				})
			}
		}},
	} {
		t.Run(test.alert, func(t *testing.T) {
			p.Resolves(t, test.alert)
			end := test.cause(t)
			ended := false
			defer func() {
				if !ended {
					end()
				}
			}()
			p.Fires(t, test.alert, test.label...)
			ended = true
			end()
			p.Resolves(t, test.alert)
		})
	}
}

func (b *buffer) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = err
}

// runAlone runs this test in a network namespace of its own; who is not root gets one of users, too.
func runAlone(t *testing.T) {
	t.Helper()
	if _, err := toolchain.Prometheus.Path(t.Context()); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=10m")
	command.Env = append(os.Environ(), alone+"=1")
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		command.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		command.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		command.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	printed, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(printed), "--- PASS: "+t.Name()+" ") {
		t.Fatalf("%v\n%s", err, printed)
	}
}

// loopback brings the loopback device of a new network namespace up.
func loopback(t *testing.T) {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		t.Fatal(err)
	}
}
