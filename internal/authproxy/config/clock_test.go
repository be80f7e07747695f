package config

import (
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

func TestJudgedAt(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name   string
		begins time.Duration
		want   time.Duration
	}{
		{"it has begun", -time.Hour, 0},
		{"it begins now", 0, 0},
		{"it begins soon by this clock", Skew, Skew},
		{"it begins later", Skew + time.Second, 0},
	} {
		if got := JudgedAt(&x509.Certificate{NotBefore: now.Add(test.begins)}, now); !got.Equal(now.Add(test.want)) {
			t.Errorf("%s: judged at %s, want %s", test.name, got, now.Add(test.want))
		}
	}
}

// TestServingCertificateRipens: a new serving certificate is shown when callers whose clocks are behind accept it, too, unless
// there is nothing else to show; whatever else changed with it is in force at once.
func TestServingCertificateRipens(t *testing.T) {
	server := gateconfig.Object{Namespace: "team-a", Name: "weather"}
	authority, directory := gatetest.NewAuthority(t, "serving"), gatetest.NewDirectory(t)
	now := time.Now()
	depth := 64
	other := gatetest.NewAuthority(t, "serving") // of the same name
	write := func(serial int64, notBefore, notAfter time.Time) {
		certificate, key := authority.Serving(t, func(c *x509.Certificate) {
			c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(serial), notBefore, notAfter
		})
		depth++
		directory.Write(t, gatetest.Files(t, gateconfig.Config{
			Server:   server,
			Endpoint: gateconfig.Endpoint{URL: "https://weather.team-a.svc/mcp", Path: "/mcp", Hosts: []string{"weather.team-a.svc"}},
			Upstream: gateconfig.Upstream{Port: 8080, Path: "/mcp", Sessions: gateconfig.Stateless, MinRevision: gateconfig.Revision20250618},
			Limits:   gateconfig.Limits{RequestBytes: 1 << 20, Depth: depth}, Authentication: gateconfig.Authentication{APIKeys: gateconfig.Enabled, ClientCertificates: gateconfig.Optional},
		}, certificate, key))
	}
	s := NewStore(directory.Path, server, func(_ *Generation, err error) {
		if err != nil {
			t.Error(err)
		}
	})
	s.now = func() time.Time { return now }
	shows := func(what string, serial int64) {
		t.Helper()
		s.Reload()
		g, _ := s.Current()
		if g == nil || g.Certificate.Leaf.SerialNumber.Int64() != serial || g.Limits.Depth != depth {
			t.Fatalf("%s: %+v, want certificate %d and depth %d", what, g, serial, depth)
		}
	}
	write(1, now, now.Add(time.Hour))
	shows("there is no other", 1)
	write(2, now, now.Add(time.Hour))
	shows("it was just issued", 1)
	now = now.Add(Skew - time.Second)
	write(3, now, now.Add(time.Hour))
	shows("another was just issued", 1)
	now = now.Add(Skew)
	shows("it is old enough", 3)
	write(4, now.Add(-time.Minute), now.Add(time.Minute))
	shows("it was old enough from the beginning", 4)
	now = now.Add(50 * time.Second)
	write(5, now, now.Add(time.Hour))
	shows("the one before ends", 5)
	authority = other
	write(6, now, now.Add(time.Hour))
	now = now.Add(Reading - time.Second)
	shows("callers may not have read of its authority", 5)
	now = now.Add(time.Second)
	shows("callers have read of its authority", 6)
	authority = gatetest.NewAuthority(t, "serving")
	write(7, now.Add(-Reading), now.Add(Reading))
	shows("it was issued long ago", 7)
	authority = other
	write(8, now, now.Add(time.Hour))
	shows("the one before ends before callers have read", 8)
	authority = gatetest.NewAuthority(t, "another")
	write(9, now.Add(-Skew), now.Add(time.Hour))
	shows("somebody chose another authority", 9)
}
