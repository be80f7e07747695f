package keys

import (
	"cmp"
	"slices"
	"time"
)

const (
	// maxEnded bounds how many ended keys are remembered.
	maxEnded = 4
	// maxDraining bounds how many replaced keys are accepted: with as many, a schedule waits, and only age does not.
	maxDraining = 4
	// patience is for how long a new key waits for the gates where the client's Secret is gone: what read it before works with
	// the old key, and what starts waits.
	patience = 30 * time.Second
	// Somebody who takes the key out of the client's Secret again and again gets a new one at once so often within the window,
	// and then once in each pause.
	lostAtOnce, lostWindow, lostPause = 3, 10 * time.Minute, 2 * time.Minute
)

// Record is what is remembered of a key: never the key itself.
type Record struct {
	ID, SHA256         string
	State              State
	IssuedAt, NotAfter time.Time
	// ActivatedAt is when the client's Secret was first seen to hold the key, ReplacedAt when it was first seen to hold its
	// successor; zero before.
	ActivatedAt, ReplacedAt time.Time
}

// Held is the key that a Secret holds.
type Held struct {
	ID, SHA256 string
	// Since is a time at which the key existed: it counts as issued then when no record knows better.
	Since time.Time
}

// Facts are what is there now. Whoever acts on what Next says must have read them past any cache.
type Facts struct {
	Records []Record
	// Client is what the client's Secret holds; nil when there is no Secret, or nothing in it that is a key.
	Client *Held
	// ClientExists says that there is a client's Secret, whatever it holds.
	ClientExists bool
	// Waiting is what the Secret beside it holds, where a new key waits until the gates accept it; nil likewise.
	Waiting *Held
	// WaitingExists says that there is a waiting Secret, whatever it holds.
	WaitingExists bool
	// Acknowledged are the ids of keys that every ready gate accepts.
	Acknowledged []string
	// Revoked are the ids of keys that must be refused at once.
	Revoked []string
	// Unused are the ids of keys that are known not to have been used lately. A key that is not among them counts as used.
	Unused []string
	// Sourced says that keys are made elsewhere: Source is the one that is offered now, nil when none is that can be used.
	Sourced bool
	Source  *Held
	// Push says that a key has to be in an external store before the client gets it. Pushing is the id of the key that was sent
	// there last, Pushed says that it has arrived.
	Push    bool
	Pushing string
	Pushed  bool
	Now     time.Time
}

// Action is what to do to the Secrets after the records were written. Each is one write.
type Action string

// The actions.
const (
	// Nothing is left to do.
	Nothing Action = ""
	// Issue makes the first key, or takes the offered one, and puts it into the client's Secret; it must fail where that holds a
	// key.
	Issue Action = "Issue"
	// Prepare makes a key, or takes the offered one, and creates the waiting Secret with it; it must fail where there is a waiting
	// Secret.
	Prepare Action = "Prepare"
	// Deliver copies the key of the waiting Secret into the client's Secret.
	Deliver Action = "Deliver"
	// Push sends the key that Step.Push names to the external store.
	Push Action = "Push"
	// Discard deletes the waiting Secret.
	Discard Action = "Discard"
)

// Why a key is made.
const (
	ReasonFirstKey    = "FirstKey"
	ReasonMaximumAge  = "MaximumAge"
	ReasonSchedule    = "Schedule"
	ReasonRotateAfter = "RotateAfter"
	ReasonSecretLost  = "SecretLost"
	ReasonKeyRevoked  = "KeyRevoked"
	ReasonKeyOutlived = "KeyOutlived"
	ReasonDisabled    = "Disabled"
	ReasonOffered     = "Offered"
)

// Step is what is needed now.
type Step struct {
	// Records replace those of the facts, and are written before the action is taken.
	Records []Record
	Action  Action
	// Reason says why Issue, Prepare or Deliver is needed.
	Reason string
	// Wake is when something is needed by the clock alone; zero when nothing is.
	Wake time.Time
	// Due is when the next rotation begins; zero while one is under way or waits.
	Due time.Time
	// Held says that a rotation is due and waits, because too many replaced keys are still in use.
	Held bool
	// Push is the id of the key to push.
	Push string
	// Storing says that the client waits for the external store to have its key.
	Storing bool
	// Starved says that a key is needed, and none is offered.
	Starved bool
	// Paced is until when the next key waits, because the client's Secret lost its key so often; zero when it does not.
	Paced time.Time
}

// Next says what is needed now: which records follow from the facts, and one action. Write the records, take the action,
// look again, until it says Nothing. A crash between any two writes loses no key and makes no second one: everything that
// follows is derived from what was written.
func Next(f Facts, s Schedule) Step {
	r := records{list: slices.Clone(f.Records), facts: f, schedule: s}
	if len(r.list) == 0 {
		r.adopt(f.Client, Current)
	}
	r.adopt(f.Waiting, Pending)
	r.end()
	current, waiting := r.held(f.Client), r.held(f.Waiting)
	if current != nil && current.State == Draining {
		current = nil // somebody put an old key back
	}
	if waiting != nil && waiting.State == Draining {
		waiting = nil
	}
	for i := range r.list {
		if k := &r.list[i]; k.State.waiting() && k != current && k != waiting {
			k.State = Retired // nobody has it
		}
	}
	step := Step{}
	if current != nil {
		step.Action, step.Reason = r.rotate(current, waiting)
	} else {
		step.Action, step.Reason = r.restore(waiting)
	}
	step.Wake, step.Held, step.Paced = r.wake(current, waiting), r.crowded, r.paced
	step.Push, step.Storing, step.Starved = r.push, r.storing, r.starved
	if current != nil && waiting == nil && step.Action == Nothing && !step.Held && !f.Sourced {
		step.Due, _ = r.due(current)
	}
	step.Records = r.result()
	return step
}

// End is the step for a client that has no keys any more: all are refused, and a waiting Secret goes.
func End(before []Record, waitingExists bool) Step {
	step := Step{Records: slices.Clone(before), Reason: ReasonDisabled}
	for i := range step.Records {
		if k := &step.Records[i]; k.State.Accepted() {
			k.State = Retired
		}
	}
	if waitingExists {
		step.Action = Discard
	}
	return step
}

// Sort orders records as Next does: the newest first.
func Sort(records []Record) {
	slices.SortFunc(records, func(a, b Record) int { return cmp.Or(b.IssuedAt.Compare(a.IssuedAt), cmp.Compare(a.ID, b.ID)) })
}

// records is the work of one Next.
type records struct {
	list     []Record
	facts    Facts
	schedule Schedule
	// crowded says that a rotation waits until fewer replaced keys are in use.
	crowded bool
	// paced is until when a lost key is not replaced; zero: it may be now.
	paced time.Time
	// push is the key to push; storing says that the store is waited for.
	push    string
	storing bool
	// starved says that a key is needed, and none is offered.
	starved bool
}

// rotate is what is needed while the client's Secret holds an accepted key.
func (r *records) rotate(current, waiting *Record) (Action, string) {
	for i := range r.list {
		if k := &r.list[i]; k.State == Current && k != current {
			k.State, k.ReplacedAt = Draining, r.now()
		}
	}
	current.State = Current
	if current.ActivatedAt.IsZero() {
		current.ActivatedAt = r.now()
	}
	due, reason := r.due(current)
	if r.facts.Sourced {
		due, reason = r.tooOld(current), ""
		if r.offered() {
			due, reason = r.facts.Now, ReasonOffered
		}
	}
	r.storing = r.facts.Push && waiting == nil && r.facts.Pushing == current.ID && !r.facts.Pushed
	switch {
	case r.facts.WaitingExists && (waiting == nil || !waiting.State.waiting()):
		return Discard, ""
	case waiting != nil && (waiting.State == Distributed || slices.Contains(r.facts.Acknowledged, waiting.ID)):
		waiting.State = Distributed
		if r.stored(waiting) {
			return Deliver, reason
		}
		return r.store(waiting), reason
	case waiting != nil:
		return Nothing, ""
	case r.facts.Push && r.facts.Pushing != current.ID:
		return r.store(current), reason
	case r.facts.Now.Before(due):
		return Nothing, ""
	case r.facts.Sourced && !r.offered():
		r.starved = true
		return Nothing, ""
	case r.draining() >= maxDraining && r.facts.Now.Before(r.tooOld(current)):
		r.crowded = true
		return Nothing, ""
	}
	return Prepare, reason
}

// restore is what is needed while the client's Secret holds no accepted key. That is no reason to refuse the key that it held:
// clients have it in memory, and who wants it refused revokes it. It drains as any replaced key does.
func (r *records) restore(waiting *Record) (Action, string) {
	reason := r.why()
	switch {
	case waiting != nil && r.awaitsGates(waiting):
		return Nothing, ""
	case waiting != nil:
		for i := range r.list {
			if k := &r.list[i]; k.State != Current || k == waiting {
				continue
			} else if r.draining() < maxDraining {
				k.State, k.ReplacedAt = Draining, r.now()
			} else {
				k.State = Retired // the youngest of too many is the least used
			}
		}
		return Deliver, reason
	case r.facts.WaitingExists:
		return Discard, ""
	case r.facts.Sourced && !r.offered() && !r.again():
		r.starved = true
		return Nothing, ""
	case len(r.list) == 0 && r.facts.Client == nil:
		return Issue, ReasonFirstKey
	case reason == ReasonSecretLost && r.lostTooOften():
		return Nothing, ""
	}
	return Prepare, reason
}

// offered says whether there is a new key from elsewhere. One that is known already, of whatever state, is not new.
func (r *records) offered() bool {
	s := r.facts.Source
	return s != nil && !slices.ContainsFunc(r.list, func(k Record) bool { return k.ID == s.ID })
}

// again says whether the key that is offered is the one that the client's Secret lost: it gets it back.
func (r *records) again() bool {
	k := r.find(r.facts.Source)
	return k != nil && k.State == Current
}

// stored says whether the external store has a key, where one is asked for.
func (r *records) stored(k *Record) bool {
	return !r.facts.Push || r.facts.Pushing == k.ID && r.facts.Pushed
}

// store sends a key to the external store, once.
func (r *records) store(k *Record) Action {
	if r.facts.Pushing == k.ID {
		r.storing = true
		return Nothing
	}
	r.push = k.ID
	return Push
}

// awaitsGates says whether a new key waits for the gates although the client's Secret is gone. Where there is one, without a key
// that works, nothing gets worse by a key that not every gate knows yet.
func (r *records) awaitsGates(waiting *Record) bool {
	return !r.facts.ClientExists && waiting.State.waiting() && !slices.Contains(r.facts.Acknowledged, waiting.ID) &&
		r.facts.Now.Before(waiting.IssuedAt.Add(patience)) &&
		slices.ContainsFunc(r.list, func(k Record) bool { return k.State == Current })
}

// lostTooOften says whether to wait before another key is made for a Secret that lost its key, and until when.
func (r *records) lostTooOften() bool {
	made, newest := 0, time.Time{}
	for i := range r.list {
		if k := &r.list[i]; k.IssuedAt.After(r.facts.Now.Add(-lostWindow)) {
			made++
			if k.IssuedAt.After(newest) {
				newest = k.IssuedAt
			}
		}
	}
	if next := newest.Add(lostPause); made > lostAtOnce && r.facts.Now.Before(next) {
		r.paced = next
	}
	return !r.paced.IsZero()
}

// why says why the client's Secret holds no accepted key.
func (r *records) why() string {
	if c := r.facts.Client; c != nil {
		if k := r.find(c); k != nil && k.State == Revoked {
			return ReasonKeyRevoked
		} else if k != nil && !r.facts.Now.Before(k.NotAfter) {
			return ReasonKeyOutlived
		}
	}
	if !slices.ContainsFunc(r.list, func(k Record) bool { return k.State == Current || k.State == Retired || k.State == Revoked }) {
		return ReasonFirstKey
	}
	return ReasonSecretLost
}

// adopt records a key that a Secret holds and that no record knows: it was made just before a crash.
func (r *records) adopt(h *Held, state State) {
	if h == nil || slices.ContainsFunc(r.list, func(k Record) bool { return k.ID == h.ID }) {
		return
	}
	issued := h.Since.UTC().Truncate(time.Second)
	r.list = append(r.list, Record{ID: h.ID, SHA256: h.SHA256, State: state, IssuedAt: issued, NotAfter: issued.Add(r.schedule.MaximumAge)})
}

// end ends what is revoked or too old.
func (r *records) end() {
	for i := range r.list {
		switch k := &r.list[i]; {
		case !k.State.Accepted():
		case slices.Contains(r.facts.Revoked, k.ID):
			k.State = Revoked
		case !r.facts.Now.Before(k.NotAfter):
			k.State = Retired
		case k.State != Draining:
		case k.ReplacedAt.IsZero():
			k.ReplacedAt = r.now()
		case !r.facts.Now.Before(k.ReplacedAt.Add(r.schedule.Overlap)) &&
			(slices.Contains(r.facts.Unused, k.ID) || !r.facts.Now.Before(r.oldest(k))):
			k.State = Retired
		}
	}
}

// held is the accepted key that a Secret holds; nil when it holds anything else.
func (r *records) held(h *Held) *Record {
	if k := r.find(h); k != nil && k.State.Accepted() {
		return k
	}
	return nil
}

func (r *records) find(h *Held) *Record {
	if h == nil {
		return nil
	}
	i := slices.IndexFunc(r.list, func(k Record) bool { return k.ID == h.ID && k.SHA256 == h.SHA256 })
	if i < 0 {
		return nil
	}
	return &r.list[i]
}

// now is the time as an API object holds it.
func (r *records) now() time.Time { return r.facts.Now.UTC().Truncate(time.Second) }

// oldest is when a key reaches its maximum age. A schedule that became stricter ends no key that is in use, but replaces it.
func (r *records) oldest(k *Record) time.Time {
	if end := k.IssuedAt.Add(r.schedule.MaximumAge); end.Before(k.NotAfter) {
		return end
	}
	return k.NotAfter
}

// tooOld is when a key is replaced because of its age alone.
func (r *records) tooOld(k *Record) time.Time { return r.oldest(k).Add(-r.schedule.RenewBefore) }

// due is when the current key is to be replaced, and why.
func (r *records) due(k *Record) (time.Time, string) {
	due, reason := r.tooOld(k), ReasonMaximumAge
	// Secrets are dated by another clock. What is due by this one is done when the client gets a new key by this one.
	since := k.ActivatedAt
	if since.IsZero() {
		since = k.IssuedAt
	}
	if r.schedule.Times != nil {
		if at := r.schedule.Times.Next(since); !at.IsZero() && at.Before(due) {
			due, reason = at, ReasonSchedule
		}
	}
	if at := r.schedule.RotateAfter; since.Before(at) && at.Before(due) {
		due, reason = at, ReasonRotateAfter
	}
	return due, reason
}

func (r *records) draining() int {
	n := 0
	for i := range r.list {
		if r.list[i].State == Draining {
			n++
		}
	}
	return n
}

func (r *records) wake(current, waiting *Record) time.Time {
	var wake time.Time
	at := func(t time.Time) {
		if t.After(r.facts.Now) && (wake.IsZero() || t.Before(wake)) {
			wake = t
		}
	}
	for i := range r.list {
		k := &r.list[i]
		if k.State.Accepted() {
			at(k.NotAfter)
		}
		if k.State == Draining {
			at(k.ReplacedAt.Add(r.schedule.Overlap))
			at(r.oldest(k))
		}
	}
	at(r.paced)
	if waiting != nil && waiting.State.waiting() {
		at(waiting.IssuedAt.Add(patience))
	}
	if current != nil && waiting == nil {
		due, _ := r.due(current)
		at(due)
		at(r.tooOld(current))
	}
	return wake
}

func (r *records) inSecret(id string) bool {
	return r.facts.Client != nil && r.facts.Client.ID == id || r.facts.Waiting != nil && r.facts.Waiting.ID == id
}

// result is the records by age, with the newest of those that ended.
func (r *records) result() []Record {
	Sort(r.list)
	ended := 0
	return slices.DeleteFunc(r.list, func(k Record) bool {
		if k.State.Accepted() || r.inSecret(k.ID) {
			return false // what a Secret still holds must never look new
		}
		ended++
		return ended > maxEnded
	})
}
