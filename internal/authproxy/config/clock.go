package config

import (
	"bytes"
	"crypto/x509"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/token"
)

// Skew is how far the clocks of those who issue, show and verify certificates may be apart. cert-manager dates a certificate at
// the moment of its issue, and it is delivered within a second.
const Skew = token.Skew

// JudgedAt is the time for which a caller's certificate is verified: now, or its beginning where that is yet to come by this
// clock, which may be behind. Nothing is tolerated at its end: certificates are renewed long before.
func JudgedAt(leaf *x509.Certificate, now time.Time) time.Time {
	if leaf.NotBefore.After(now) && !leaf.NotBefore.After(now.Add(Skew)) {
		return leaf.NotBefore
	}
	return now
}

// Reading is how long callers have to read a bundle with another authority of the same name, which was lost, before they are shown
// a certificate of it: kubelets take up to about two minutes for a mounted file.
const Reading = 150 * time.Second

// ripens is when a new serving certificate may be shown: callers whose clocks are behind refuse it before, and those who have not
// read of its authority. It is in the past where there is none before it that is good until then.
func ripens(leaf, before *x509.Certificate) time.Time {
	ripe := leaf.NotBefore.Add(Skew)
	if before != nil && bytes.Equal(leaf.RawIssuer, before.RawIssuer) && !bytes.Equal(leaf.AuthorityKeyId, before.AuthorityKeyId) {
		ripe = leaf.NotBefore.Add(Reading)
	}
	if before == nil || before.SerialNumber.Cmp(leaf.SerialNumber) == 0 || !ripe.Add(Skew).Before(before.NotAfter) {
		return time.Time{}
	}
	return ripe
}
