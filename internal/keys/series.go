package keys

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"time"
)

const (
	// seriesFirst is for how long the first key of a series is shown, seriesPeriod each that follows.
	seriesFirst  = time.Hour
	seriesPeriod = 24 * time.Hour
	// seriesSettled is how long after its time a key counts as retired everywhere: without the right to wake kubelets that takes
	// more than a minute.
	seriesSettled = 2 * time.Minute
)

// Series are the keys that the operator shows to the gates of one server, one after the other: those of a client of its own that may
// do nothing. They follow from a secret, so that none has to be kept, and a new operator knows those of the one before.
type Series struct {
	// Secret is what nobody but the operator knows, Name tells the servers apart.
	Secret []byte
	Name   string
	// Since is when the first key begins.
	Since time.Time
}

// Key is one of the series, by its place.
func (s Series) Key(n int) (Key, error) {
	bits, err := hkdf.Key(sha256.New, s.Secret, nil, fmt.Sprintf("bartizan synthetic client\x00%s\x00%d\x00%d", s.Name, s.Since.Unix(), n), 10+32)
	if err != nil {
		return Key{}, fmt.Errorf("deriving an API key: %w", err)
	}
	return New(bytes.NewReader(bits))
}

// begins is when a key begins to be shown, which is when the one before is retired.
func (s Series) begins(n int) time.Time {
	if n <= 0 {
		return s.Since
	}
	return s.Since.Add(seriesFirst + time.Duration(n-1)*seriesPeriod)
}

// ends is when a key ends by itself: a period after its time, for gates that nobody tells.
func (s Series) ends(n int) time.Time { return s.begins(n + 1).Add(seriesPeriod) }

// Present is the place of the key that is shown at a time, and when the next one is.
func (s Series) Present(now time.Time) (n int, next time.Time) {
	if since := now.Sub(s.begins(1)); since >= 0 {
		n = 1 + int(since/seriesPeriod)
	}
	return n, s.begins(n + 1)
}

// Retired is the place of the newest key that no gate may accept any more at a time; false before there is one.
func (s Series) Retired(now time.Time) (n int, ok bool) {
	n, _ = s.Present(now.Add(-seriesSettled))
	return n - 1, n > 0
}

// Accepted are the keys that gates accept at a time: the present one, and the next, so that it is known everywhere before it is
// shown. A key leaves when its time is over.
func (s Series) Accepted(now time.Time) ([]Record, error) {
	var all []Record
	present, _ := s.Present(now)
	for n := present; n <= present+1; n++ {
		key, err := s.Key(n)
		if err != nil {
			return nil, err
		}
		all = append(all, Record{ID: key.ID, SHA256: Hash(key.Text), State: Current, IssuedAt: s.begins(n), NotAfter: s.ends(n)})
	}
	return all, nil
}
