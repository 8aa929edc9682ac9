package hub

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"
)

// channel is the sessions of one channel on this replica.
type channel struct {
	name    string
	keeps   bool // history
	metrics *patternMetrics
	holders int // guarded by index.mu

	mu       sync.Mutex
	joined   []*membership // hear every message
	waiting  []*membership // will, once the broker has confirmed
	catching []*membership // will, once they have been sent what they missed
}

// membership is one session's place in one channel.
type membership struct {
	session *session
	channel *channel
	// atConnect says that the session's welcome waits for it.
	atConnect bool

	// guarded by channel.mu
	wait  *wait // nil once joined or left
	state membershipState
	place int // in the list of its state

	// at is where the session came in: live messages up to there it has, or will
	// never have. Only with history.
	at Position
}

// wait is what a membership waits for the broker with.
type wait struct {
	requests []json.RawMessage // ids of the subscribes to answer; nil for one without
	until    time.Time         // when it is given up; zero once answered
	standing standing          // to be answered with
	catchUp  catchUp
}

// newMembership returns a membership of s that answers requests, for a client that
// stands at from.
func newMembership(s *session, from Position, requests ...json.RawMessage) *membership {
	return &membership{session: s, wait: &wait{
		requests: requests, until: time.Now().Add(joinWait), catchUp: catchUp{from: from},
	}}
}

type membershipState uint8

const (
	memberNew membershipState = iota
	memberWaiting
	memberCatching
	memberJoined
	memberLeft
)

// deliver queues f on every session that has joined. The walk holds the lock, so
// that all sessions hear a channel's messages in one order. It returns how many these
// are, with those that will hear it when they have caught up.
func (c *channel) deliver(f *frame) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	n := 0
	for _, m := range c.joined {
		if c.keeps && !m.wants(f.at) {
			continue
		}
		m.session.sendAt(now, f)
		n++
	}
	for _, m := range c.catching {
		m.wait.catchUp.hold(f)
	}
	c.metrics.deliveries.Add(float64(n))
	return n + len(c.catching)
}

// wants reports whether a live message at p is news for a session that came in at
// m.at. One of another epoch is not: resync comes first.
func (m *membership) wants(p Position) bool {
	return p.Offset > m.at.Offset && p.Epoch == m.at.Epoch
}

// enter makes m a member: at once where the broker's subscription is alive,
// else when it is confirmed.
func (c *channel) enter(m *membership, b Broker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.state == memberLeft {
		return
	}
	// Asked with the lock held: a confirmation that comes meanwhile waits for
	// it, and then finds m among the waiting.
	if b.Subscribe(c.name) {
		c.confirmed(m)
		return
	}
	m.state = memberWaiting
	m.place = len(c.waiting)
	c.waiting = append(c.waiting, m)
}

// confirm lets in all who wait.
func (c *channel) confirm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.waiting {
		c.confirmed(m)
	}
	c.waiting = nil
}

// confirmed admits m, or has it catch up first. c.mu is held.
func (c *channel) confirmed(m *membership) {
	if !c.keeps {
		m.session.admitted(m)
		c.admit(m)
		return
	}
	m.state = memberCatching
	m.place = len(c.catching)
	c.catching = append(c.catching, m)
	m.session.run(func() { m.session.catchUp(m) })
}

// admit lets messages through to m, whose session was told under the same lock: none
// can come before `joined`, none after it is missed. c.mu is held.
func (c *channel) admit(m *membership) {
	m.wait = nil
	m.state = memberJoined
	m.place = len(c.joined)
	c.joined = append(c.joined, m)
	c.metrics.joins.Inc()
}

// resync says that messages may have been lost before at, to all that stand before it.
func (c *channel) resync(at Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := resyncFrame(c, at)
	for _, m := range c.joined {
		if c.keeps && m.at.Epoch == at.Epoch && m.at.Offset >= at.Offset {
			continue // it has read the log since
		}
		m.at = at
		m.session.send(f)
	}
	for _, m := range c.catching {
		m.wait.catchUp.overflow() // what was held is not all
	}
	if c.keeps {
		return // the broker says Subscribed when the log is caught up with
	}
	for _, m := range c.waiting {
		c.confirmed(m)
	}
	c.waiting = nil
}

// tell says how far user has read: to the sessions that have joined, and to others when
// they have caught up.
func (c *channel) tell(user string, r reading) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var f *frame
	for _, m := range c.joined {
		if m.session.user != user {
			continue
		}
		if f == nil {
			f = readFrame(c, r.at, r.unread)
		}
		m.session.send(f)
	}
	for _, m := range c.catching {
		if m.session.user == user {
			m.wait.catchUp.note(r)
		}
	}
}

// users returns whose sessions have joined.
func (c *channel) users() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	users := make(map[string]struct{})
	for _, m := range c.joined {
		users[m.session.user] = struct{}{}
	}
	return slices.Collect(maps.Keys(users))
}

// repeat answers a further subscribe: at once if m has joined, else when it does.
// It returns false if m has left meanwhile.
func (c *channel) repeat(m *membership, request json.RawMessage) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case m.state == memberLeft:
		return false
	case m.wait == nil || m.wait.catchUp.answered:
		m.session.answer(answer{Type: "joined", ID: request, Channel: c.name})
	default:
		m.wait.requests = append(m.wait.requests, request)
	}
	return true
}

// waitsUntil returns when m is given up, or zero if it does not wait.
func (c *channel) waitsUntil(m *membership) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.wait == nil {
		return time.Time{}
	}
	return m.wait.until
}

// departure is how a membership has ended.
type departure struct {
	ok         bool              // it ended now
	unanswered []json.RawMessage // subscribes that it has not answered
	awaited    bool              // the welcome waits for it
}

// leave takes m out.
func (c *channel) leave(m *membership) departure {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.takeOut(m)
}

// leaveLate is leave for one that has waited too long at now, and for no other.
func (c *channel) leaveLate(m *membership, now time.Time) departure {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.wait == nil || m.wait.until.IsZero() || now.Before(m.wait.until) {
		return departure{}
	}
	return c.takeOut(m)
}

// takeOut is leave with c.mu held.
func (c *channel) takeOut(m *membership) departure {
	d := departure{ok: m.state != memberLeft}
	if m.wait != nil {
		d.unanswered = m.wait.requests
		d.awaited = m.atConnect && !m.wait.catchUp.answered
	}
	switch m.state {
	case memberJoined:
		c.joined = remove(c.joined, m)
	case memberWaiting:
		c.waiting = remove(c.waiting, m)
	case memberCatching:
		c.catching = remove(c.catching, m)
	case memberNew, memberLeft:
	}
	m.wait = nil
	m.state = memberLeft
	return d
}

// remove takes m out of its list by moving the last one into its place. A list
// that has become much smaller gives its memory back.
func remove(list []*membership, m *membership) []*membership {
	last := len(list) - 1
	list[m.place] = list[last]
	list[m.place].place = m.place
	list[last] = nil
	list = list[:last]
	if cap(list) > 16 && len(list) < cap(list)/4 {
		list = append(make([]*membership, 0, 2*len(list)), list...)
	}
	return list
}
