package hub

import (
	"encoding/json"
	"sync"
	"time"
)

// channel is the sessions of one channel on this replica.
type channel struct {
	name    string
	metrics *patternMetrics
	holders int // guarded by index.mu

	mu      sync.Mutex
	joined  []*membership // hear every message
	waiting []*membership // will, once the broker has confirmed
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
}

// wait is what a membership waits for the broker with.
type wait struct {
	requests []json.RawMessage // ids of the subscribes to answer; nil for one without
	until    time.Time         // when it is given up
}

// newMembership returns a membership of s that answers requests.
func newMembership(s *session, requests ...json.RawMessage) *membership {
	return &membership{session: s, wait: &wait{requests: requests, until: time.Now().Add(joinWait)}}
}

type membershipState uint8

const (
	memberNew membershipState = iota
	memberWaiting
	memberJoined
	memberLeft
)

// deliver queues f on every session that has joined. The walk holds the lock, so
// that all sessions hear a channel's messages in one order.
func (c *channel) deliver(f *frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.joined {
		m.session.send(f)
	}
	c.metrics.deliveries.Add(float64(len(c.joined)))
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
		c.admit(m)
		return
	}
	m.state = memberWaiting
	m.place = len(c.waiting)
	c.waiting = append(c.waiting, m)
}

// confirm admits all who wait.
func (c *channel) confirm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.waiting {
		c.admit(m)
	}
	c.waiting = nil
}

// admit tells the session and then lets messages through, under the lock: none
// can come before `joined`, none after it is missed. c.mu is held.
func (c *channel) admit(m *membership) {
	m.session.admitted(m)
	m.wait = nil
	m.state = memberJoined
	m.place = len(c.joined)
	c.joined = append(c.joined, m)
	c.metrics.joins.Inc()
}

// repeat answers a further subscribe: at once if m has joined, else when it does.
// It returns false if m has left meanwhile.
func (c *channel) repeat(m *membership, request json.RawMessage) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case m.state == memberLeft:
		return false
	case m.wait == nil:
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

// leave takes m out, and returns the state that it had and the subscribes that
// it has not answered.
func (c *channel) leave(m *membership) (was membershipState, unanswered []json.RawMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.takeOut(m)
}

// leaveLate is leave for one that has waited too long at now; ok is false for any
// other.
func (c *channel) leaveLate(m *membership, now time.Time) (was membershipState, unanswered []json.RawMessage, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.wait == nil || now.Before(m.wait.until) {
		return m.state, nil, false
	}
	was, unanswered = c.takeOut(m)
	return was, unanswered, true
}

// takeOut is leave with c.mu held.
func (c *channel) takeOut(m *membership) (was membershipState, unanswered []json.RawMessage) {
	was = m.state
	if m.wait != nil {
		unanswered = m.wait.requests
	}
	m.wait = nil
	m.state = memberLeft
	switch was {
	case memberJoined:
		c.joined = remove(c.joined, m)
	case memberWaiting:
		c.waiting = remove(c.waiting, m)
	case memberNew, memberLeft:
	}
	return was, unanswered
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
