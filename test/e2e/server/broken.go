package main

import (
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	gate "github.com/bartizan-dev/bartizan/internal/authproxy/config"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/probe/brokengate"
)

// brokenGate stands at an address where a gate should be, with the gate's configuration and certificate, and breaks the
// control that is named in a file. What it lets in is logged.
func brokenGate(address, upstream, file, expired string) error {
	document, err := os.ReadFile(filepath.Join(gateconfig.Directory, gateconfig.ConfigFile))
	if err != nil {
		return err
	}
	config, err := gateconfig.Parse(document)
	if err != nil {
		return err
	}
	real, err := gate.Load(gateconfig.Directory, config.Server)
	if err != nil {
		return err
	}
	pair := func(directory string) (tls.Certificate, error) {
		return tls.LoadX509KeyPair(filepath.Join(directory, gateconfig.CertificateFile), filepath.Join(directory, gateconfig.PrivateKeyFile))
	}
	certificate, err := pair(gateconfig.Directory)
	if err != nil {
		return err
	}
	other, err := pair(expired)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	broken, err := brokengate.New(config)
	if err != nil {
		return err
	}
	broken.Upstream = "http://" + upstream + config.Upstream.Path
	broken.Broken = func() string {
		control, err := os.ReadFile(file)
		if err != nil {
			log.Printf("what is broken cannot be read: %v", err)
		}
		return strings.TrimSpace(string(control))
	}
	broken.LetIn = func(body []byte) { fmt.Printf("let in: %q\n", body) }
	if real.OAuth != nil {
		broken.Metadata, broken.MetadataPath = string(real.OAuth.Metadata), "/.well-known/oauth-protected-resource"+strings.TrimSuffix(config.Endpoint.Path, "/")
	}
	go logs("https://"+gateBehind+config.Endpoint.Path, config.Endpoint.Hosts)
	return broken.Serve(listener, certificate, other)
}

// gateBehind is where the gate itself listens, whose port this program has.
const gateBehind = "127.0.0.1:15453"

// logs has the gate behind write its log, as if what is sent to this program came to it: that a log stands still is not what is broken.
func logs(url string, hosts []string) {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, // whatever its certificate is
	}}}
	for range time.Tick(time.Second) {
		request, err := http.NewRequest(http.MethodPost, url, strings.NewReader("{}"))
		if err != nil {
			log.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		if len(hosts) > 0 {
			request.Host = hosts[0]
		}
		if answer, err := client.Do(request); err == nil {
			_ = answer.Body.Close()
		}
	}
}
