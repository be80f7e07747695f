package gates

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
)

// line is the way to one gate. It carries one question at a time.
type line struct {
	gate  Gate
	port  int
	slots *semaphore.Weighted
	// used is when somebody asked last; the Client guards it.
	used time.Time

	// What follows is of the question that is under way.
	transport   *http.Transport
	certificate []byte // that the transport shows
	made        time.Time
}

// status asks the gate for its status, for all who wait for it.
func (l *line) status(certificate *tls.Certificate) (status gatestatus.Status, err error) {
	err = l.fetch(context.Background(), certificate, gatestatus.Path, maxAnswer, &status)
	return status, err
}

// fetch asks the gate for one of the documents of its status port.
func (l *line) fetch(ctx context.Context, certificate *tls.Certificate, path string, most int64, document any) error {
	if l.gate.Address == "" {
		return errors.New("the pod has no address yet")
	}
	if err := l.slots.Acquire(ctx, 1); err != nil {
		return err
	}
	defer l.slots.Release(1)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := l.connect(certificate, time.Now()); err != nil {
		return err
	}
	err := l.read(ctx, path, most, document)
	if err != nil {
		l.close()
	}
	return err
}

// close ends the connection, if there is one.
func (l *line) close() {
	if l.transport != nil {
		l.transport.CloseIdleConnections()
	}
}

// connect has the transport show the certificate, and authenticate the gate again from time to time.
func (l *line) connect(certificate *tls.Certificate, now time.Time) error {
	shown := bytes.Join(certificate.Certificate, nil)
	if l.transport != nil && bytes.Equal(l.certificate, shown) && now.Sub(l.made) < lifetime {
		return nil
	}
	var roots *x509.CertPool
	if l.gate.Roots != "" {
		var err error
		if roots, err = gateconfig.Pool(l.gate.Roots); err != nil {
			return fmt.Errorf("the serving authority: %w", err)
		}
	}
	l.close()
	l.transport = &http.Transport{
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, ServerName: l.gate.ServerName, RootCAs: roots,
			Certificates: []tls.Certificate{*certificate},
		},
		// A connection is free again a moment after its answer was read: that is waited for.
		MaxConnsPerHost:        1,
		IdleConnTimeout:        idle,
		MaxResponseHeaderBytes: 16 << 10,
	}
	l.certificate, l.made = shown, now
	return nil
}

func (l *line) read(ctx context.Context, path string, most int64, document any) error {
	client := &http.Client{Transport: l.transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("gates do not redirect")
	}}
	address := net.JoinHostPort(l.gate.Address, strconv.Itoa(l.port))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+path, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the gate answered with HTTP status %d", response.StatusCode)
	}
	// A connection is used again only when its answer was read to the end.
	body, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	if err != nil {
		return err
	}
	if int64(len(body)) > most || json.Unmarshal(body, document) != nil {
		return errors.New("the gate's answer is not what it was asked for")
	}
	return nil
}
