package gate_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gate"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// TestConfigurationSwappedUnderLoad: while the configuration changes many times, a client that is in all of them is never
// refused, one that is in none is never let in, and the serving certificate changes without a failed call.
func TestConfigurationSwappedUnderLoad(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address())
	stranger, _ := gatetest.NewKey(t, time.Now().Add(time.Hour))
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var calls atomic.Int64
	for i := range 6 {
		key, want := w.aliceKey, http.StatusOK
		if i%3 == 2 {
			key, want = stranger, http.StatusUnauthorized
		}
		load.Go(func() {
			c := w.keyed(key)
			for ctx.Err() == nil {
				if calls.Add(1)%50 == 0 {
					c.CloseIdleConnections()
				}
				response, err := c.Do(w.post(legacyCall))
				if err != nil {
					t.Errorf("a call failed: %v", err)
					return
				}
				_, err = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				// Whoever shows many keys that are none is told only that.
				throttled := want == http.StatusUnauthorized && response.StatusCode == http.StatusTooManyRequests
				if err != nil || response.StatusCode != want && !throttled {
					t.Errorf("%d, %v; want %d", response.StatusCode, err, want)
					return
				}
			}
		})
	}
	serials := map[string]bool{}
	for i := range 4 {
		w.certificate, w.key = w.serving.Serving(t)
		_, extra := gatetest.NewKey(t, time.Now().Add(time.Hour))
		w.reload(func(c *gateconfig.Config) {
			c.Clients[0].Keys = []gateconfig.Key{c.Clients[0].Keys[0], extra}
			c.Limits.Depth = 64 + i
		})
		conn, err := tls.Dial("tcp", w.address(), &tls.Config{RootCAs: w.serving.Pool(), ServerName: host})
		if err != nil {
			t.Fatal(err)
		}
		serials[conn.ConnectionState().PeerCertificates[0].SerialNumber.String()] = true
		_ = conn.Close()
	}
	stop()
	load.Wait()
	if len(serials) != 4 || calls.Load() < 100 {
		t.Errorf("%d serving certificates, %d calls", len(serials), calls.Load())
	}
}

// TestBadConfigurationChangesNothing: what cannot be obeyed leaves the last one in force, and says so without content.
func TestBadConfigurationChangesNothing(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address())
	generation := w.status(t).Generation
	good := gatetest.Files(t, w.config, w.certificate, w.key)
	other := w.config
	other.Server.Name = "other"
	_, otherKey := w.serving.Serving(t)
	with := func(file, content string) map[string]string {
		files := map[string]string{}
		for name, text := range good {
			files[name] = text
		}
		files[file] = content
		return files
	}
	document := good[gateconfig.ConfigFile]
	for _, test := range []struct {
		name, want string
		files      map[string]string
	}{
		{"not JSON", "config.json", with(gateconfig.ConfigFile, "hello "+secret)},
		{"another server's", "server", gatetest.Files(t, other, w.certificate, w.key)},
		{"edited by hand", "generation", with(gateconfig.ConfigFile, strings.Replace(document, "friends/0", "friends/9", 1))},
		{"unknown field", "config.json", with(gateconfig.ConfigFile, strings.Replace(document, `{"version":1`, `{"version":1,"`+secret+`":1`, 1))},
		{"another key", "tls.crt and tls.key", with(gateconfig.PrivateKeyFile, otherKey)},
		{"no certificate", "tls.crt and tls.key", with(gateconfig.CertificateFile, secret)},
		{"a file missing", "tls.key", map[string]string{gateconfig.ConfigFile: document, gateconfig.CertificateFile: w.certificate}},
	} {
		w.directory.Write(t, test.files)
		gatetest.Eventually(t, test.name+" is reported", func() bool { return strings.Contains(w.status(t).ConfigError, test.want) })
		if s := w.status(t); s.Generation != generation || strings.Contains(s.ConfigError, secret) || strings.Contains(w.log.String(), secret) {
			t.Errorf("%s: the status is %+v", test.name, s)
		}
		if status, _, body := do(t, w.keyed(w.aliceKey), w.post(legacyCall)); status != http.StatusOK {
			t.Errorf("%s: %d %s", test.name, status, body)
		}
		if code, body := w.ready(t); code != http.StatusOK {
			t.Errorf("%s: %d %s", test.name, code, body)
		}
	}
	w.directory.Write(t, good)
	gatetest.Eventually(t, "the good configuration is in force again", func() bool { return w.status(t).ConfigError == "" })
}

// TestPlainDirectory: a demo has no kubelet.
func TestPlainDirectory(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	plain := t.TempDir()
	w := newWorld(t, upstream.address(), func(w *world) { w.options.ConfigDirectory = plain })
	if code, body := w.ready(t); code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", code, body)
	}
	for i := range 2 {
		w.config.Limits.Depth = 32 + i
		document, sealed, err := gateconfig.Seal(w.config)
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string]string{gateconfig.ConfigFile: string(document), gateconfig.CertificateFile: w.certificate, gateconfig.PrivateKeyFile: w.key} {
			if err := os.WriteFile(filepath.Join(plain, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		gatetest.Eventually(t, fmt.Sprint("configuration ", i, " is in force"), func() bool { return strings.Contains(w.log.String(), sealed) })
		if status, _, body := do(t, w.keyed(w.aliceKey), w.post(legacyCall)); status != http.StatusOK {
			t.Errorf("%d %s", status, body)
		}
	}
}

// TestWhereThePodsServerIs: a configuration for pods that are yet to come does not lead a gate away from its own pod's server.
func TestWhereThePodsServerIs(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address(), func(w *world) { w.options.UpstreamPath = "/own" })
	for _, change := range []func(*gateconfig.Config){
		func(*gateconfig.Config) {},
		func(c *gateconfig.Config) { c.Upstream.Path, c.Upstream.Port = "/other", 2 },
		func(c *gateconfig.Config) { c.Upstream.Port, c.Upstream.Socket = 0, gateconfig.StdioSocket },
	} {
		w.reload(change)
		if status, _, body := do(t, w.keyed(w.aliceKey, w.alice), w.post(legacyCall)); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		if all := upstream.seen(); all[len(all)-1].uri != "/own" {
			t.Errorf("the server is asked at %s", all[len(all)-1].uri)
		}
	}
	for _, path := range []string{"own", "/a?b", "/a/../b"} {
		if _, err := gate.New(gate.Options{UpstreamPath: path, Log: io.Discard, Audit: io.Discard}); err == nil {
			t.Errorf("the path %q is taken", path)
		}
	}
}
