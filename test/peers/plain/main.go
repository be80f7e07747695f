// Command plain is the least that a program of Go can do before a server, with a demanded client certificate: httputil.ReverseProxy, or a
// pipe from TLS to TCP, which nothing that reads a request can be as cheap as.
//
//	plain reverseproxy|pipe ADDRESS UPSTREAM DIRECTORY
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 5 {
		fatal(errors.New("usage: plain reverseproxy|pipe ADDRESS UPSTREAM DIRECTORY"))
	}
	kind, address, upstream, directory := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	config, err := configuration(directory)
	if err != nil {
		fatal(err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		fatal(err)
	}
	listener = tls.NewListener(listener, config)
	if kind == "pipe" {
		fatal(pipe(listener, upstream))
	}
	fatal(reverseProxy(listener, upstream))
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "plain:", err)
	os.Exit(1)
}

func configuration(directory string) (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(filepath.Join(directory, "tls.crt"), filepath.Join(directory, "tls.key"))
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(filepath.Join(directory, "clients.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		return nil, errors.New("clients.crt: no certificate")
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		NextProtos: []string{"http/1.1"}, SessionTicketsDisabled: true,
	}, nil
}

func reverseProxy(listener net.Listener, upstream string) error {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 1024
	transport.MaxIdleConns = 1024
	proxy := &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: upstream}) },
	}
	return (&http.Server{Handler: proxy}).Serve(listener)
}

func pipe(listener net.Listener, upstream string) error {
	for {
		caller, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer caller.Close()
			server, err := net.Dial("tcp", upstream)
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(server, caller)
				_ = server.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(caller, server)
			_ = server.Close()
		}()
	}
}
