// Command vegeta measures latencies with vegeta, a load generator that others wrote, as a check of our own. It prints the median and the 99th
// percentile in nanoseconds and the share of requests that were answered with 200.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// warm is how long only connections are made.
const warm = time.Second / 2

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "vegeta:", err)
		os.Exit(1)
	}
}

func run() error {
	url := flag.String("url", "", "what to ask")
	host := flag.String("host", "", "the Host header, and the name in the certificate")
	body := flag.String("body", "", "file with the body of each request")
	authority := flag.String("authority", "", "file with the authority for the server's certificate; without TLS none")
	certificate := flag.String("certificate", "", "file with the client's certificate and key")
	rate := flag.Int("rate", 1000, "requests a second")
	duration := flag.Duration("duration", time.Second, "how long")
	flag.Parse()
	text, err := os.ReadFile(*body)
	if err != nil {
		return err
	}
	options := []func(*vegeta.Attacker){vegeta.KeepAlive(true), vegeta.HTTP2(false), vegeta.Connections(64), vegeta.Workers(16), vegeta.MaxWorkers(64), vegeta.Timeout(time.Minute)}
	if *authority != "" {
		config, err := configuration(*host, *authority, *certificate)
		if err != nil {
			return err
		}
		options = append(options, vegeta.TLSConfig(config))
	}
	targeter := vegeta.NewStaticTargeter(vegeta.Target{Method: http.MethodPost, URL: *url, Body: text, Header: http.Header{
		"Host": {*host}, "Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {"2025-11-25"},
	}})
	attacker := vegeta.NewAttacker(options...)
	var metrics, all vegeta.Metrics
	begun := time.Now()
	for result := range attacker.Attack(targeter, vegeta.Rate{Freq: *rate, Per: time.Second}, *duration+warm, "measure") {
		all.Add(result)
		if result.Timestamp.Sub(begun) > warm {
			metrics.Add(result)
		}
	}
	if metrics.Requests == 0 {
		metrics = all // a machine that is too busy for more
	}
	metrics.Close()
	if metrics.Requests == 0 {
		return errors.New("no request was made")
	}
	fmt.Println(metrics.Latencies.P50.Nanoseconds(), metrics.Latencies.P99.Nanoseconds(), metrics.Success)
	return nil
}

func configuration(host, authority, certificate string) (*tls.Config, error) {
	text, err := os.ReadFile(authority)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("no authority")
	}
	pair, err := tls.LoadX509KeyPair(certificate, certificate)
	if err != nil {
		return nil, err
	}
	return &tls.Config{RootCAs: pool, ServerName: host, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}, nil
}
