package probe

import (
	"context"
	"crypto/rand"
	"net/http"
	"time"

	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

const (
	// guesses is how many wrong keys are shown at most: three times what a gate takes of one source at once.
	guesses = 60
	// guessing is how long showing them may take: a gate takes another each second.
	guessing = 30 * time.Second
)

// throttled guesses keys, until the gate hears no more.
func (r *run) throttled(ctx context.Context) {
	const name, control = "guessed keys", "AUTH-10"
	began := time.Now()
	for range guesses {
		key, err := keys.New(rand.Reader)
		if err != nil {
			r.add(name, control, posture.Inconclusive, "no key can be made up")
			return
		}
		q := bearing(request{body: r.nothing(), counted: true}, key.Text)
		switch a := r.send(ctx, r.Identity, q); {
		case a.err != nil:
			r.add(name, control, posture.Inconclusive, words(a.err))
			return
		case unauthenticated.met(a) != "":
			r.add(name, control, posture.Inconclusive, "a made up key is answered otherwise: "+unauthenticated.met(a))
			return
		case a.status == http.StatusTooManyRequests:
			r.add(name, control, posture.Held, "")
			return
		}
	}
	if time.Since(began) > guessing {
		r.add(name, control, posture.Inconclusive, "the gate answers too slowly to be asked too often")
		return
	}
	r.add(name, control, posture.Broken, "as many wrong keys as anybody likes are looked at")
}
