package hub

import (
	"context"
	"time"
)

// A session joins a channel with history in these steps: the broker confirms; live
// messages are held from then on; the log is read from where the client stands, and
// what it has is sent; held messages that the log did not have follow; the session
// goes live. No message falls between, none is sent twice.

// catchUp is how far a membership has got with that. Its channel's mutex guards it.
type catchUp struct {
	from     Position // the client's, then what it was sent up to; zero: none
	answered bool     // the client was told where it stands
	held     []*frame // live messages since the log is being read
	cost     int64    // of held
	lost     bool     // not all were held: the log is to be read again
	read     reading  // of some of what is sent, or more; zero: not that
}

// reading is how far a user has read a log, and what was unread when head was its newest.
type reading struct {
	at, head Position
	unread   int
}

// standing is what a client is told of its place in a history; empty without one.
type standing struct {
	position  string
	recovered *bool
	unread    *int
}

// catchUpEntries and a share of the queue bound one page of a log. What is held
// meanwhile is bounded the same way.
const catchUpEntries = 256

// hold keeps a live message.
func (c *catchUp) hold(f *frame) {
	if c.lost || len(c.held) >= catchUpEntries || c.cost > heldBytes {
		c.overflow()
		return
	}
	c.held = append(c.held, f)
	c.cost += f.cost()
}

// overflow gives up holding: what was held is in the log, too.
func (c *catchUp) overflow() { c.held, c.cost, c.lost = nil, 0, true }

// catchUp sends m's client what it missed, on a goroutine of its own.
func (s *session) catchUp(m *membership) {
	var failing time.Time
	lapped := false // the log went past it
	for {
		from, first, ok := m.channel.listen(m)
		if !ok {
			return
		}
		page, err := s.missed(m.channel.name, from, first)
		switch {
		case err == nil:
			failing = time.Time{}
			if !first && !page.Known && page.Head.Epoch == from.Epoch {
				if lapped {
					s.cut(CloseSlow)
					return
				}
				lapped = true
			}
			if !m.channel.replay(m, page) || !s.awaitRoom() {
				return
			}
			continue
		case failing.IsZero():
			failing = time.Now()
			s.hub.log.Debug("history not read", "session", s.id, "error", err)
		case !first && time.Since(failing) > joinWait:
			s.cut(CloseBrokerLost)
			return
		}
		time.Sleep(readAgain) //nolint:forbidigo // nothing announces that the broker answers again
	}
}

// missed reads the log behind from, and what is unread. After the first time the client
// has been told where it stands: if that is lost, it goes on with what is newer.
func (s *session) missed(channel string, from Position, first bool) (Page, error) {
	ctx, cancel := context.WithTimeout(context.Background(), publishWait)
	defer cancel()
	q := Query{Channel: channel, After: from, Bytes: int(s.hub.limits.Queue / 4), User: s.user}
	if !from.IsZero() {
		q.Entries, q.Following = catchUpEntries, !first
	}
	return s.hub.broker.Read(ctx, q)
}

// listen holds live messages for m from here on. It returns where the client stands,
// and whether it has still to be told; ok is false if m does not catch up any more.
func (c *channel) listen(m *membership) (from Position, first, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.state != memberCatching {
		return Position{}, false, false
	}
	k := &m.wait.catchUp
	k.held, k.cost, k.lost = nil, 0, false
	return k.from, !k.answered, true
}

// replay sends what page has, and lets m go live if that is all. It returns true if
// there is more to be read. The session has the grant still, as m has not left.
func (c *channel) replay(m *membership, page Page) (more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.state != memberCatching {
		return false
	}
	k := &m.wait.catchUp
	c.place(m, page)
	if !c.offerAll(m, page.Entries) {
		return true // the queue has no room
	}
	if !page.End.IsZero() {
		k.from = page.End // some entries cannot be handed to anybody
	}
	if page.More || k.lost {
		return true
	}
	m.at = k.from
	end := k.from
	for _, f := range k.held {
		if m.wants(f.at) {
			m.session.send(f)
			c.metrics.deliveries.Inc()
			end = f.at
		}
	}
	c.correct(m, end)
	c.catching = remove(c.catching, m)
	c.admit(m)
	return false
}

// place tells m's client where it stands, or that it stands elsewhere now. c.mu is held.
func (c *channel) place(m *membership, page Page) {
	k := &m.wait.catchUp
	recovered := page.Known && !k.from.IsZero()
	switch {
	case recovered:
	case k.answered && !page.From.IsZero():
		k.from = page.From
	default:
		k.from = page.Head
	}
	switch {
	case !k.answered:
		k.answered = true
		m.wait.until = time.Time{}
		unread := k.unreadAt(page)
		m.wait.standing = standing{k.from.String(), &recovered, &unread}
		m.session.admitted(m)
		m.wait.requests = nil
	case !recovered:
		m.session.send(resyncFrame(c, k.from))
		upto := page.Read
		upto.Epoch = page.Head.Epoch // also if nothing of it was read
		k.note(reading{upto, page.Head, page.Unread})
	}
}

// unreadAt returns how many of the unread messages are not behind k.from: whoever
// counts on as messages come has the right number in the end. That cannot be if the
// user has read some of them meanwhile, elsewhere: then read remembers it.
func (c *catchUp) unreadAt(page Page) int {
	behind := int(page.Head.Offset - c.from.Offset) //nolint:gosec // both are below 2⁵³
	if page.Unread < behind {
		c.note(reading{page.Read, page.Head, page.Unread})
	}
	return max(0, page.Unread-behind)
}

// note keeps r, which the client is told in the end, unless more was read already.
func (c *catchUp) note(r reading) {
	if r.at.Epoch != c.read.at.Epoch || r.at.Offset >= c.read.at.Offset {
		c.read = r
	}
}

// correct tells how many messages are unread if what was sent, up to end, was read in
// part. c.mu is held.
func (c *channel) correct(m *membership, end Position) {
	r := m.wait.catchUp.read
	if r.at.IsZero() || end.Epoch != r.head.Epoch || end.Offset < r.head.Offset {
		return
	}
	unread := r.unread + int(end.Offset-r.head.Offset) //nolint:gosec // both are below 2⁵³
	m.session.send(readFrame(c, r.at, unread))
}

// offerAll queues entries as far as the session's queue has room, and reports whether
// that was all of them. c.mu is held.
func (c *channel) offerAll(m *membership, entries []Entry) bool {
	k := &m.wait.catchUp
	for _, e := range entries {
		if e.Position.Epoch != k.from.Epoch || e.Position.Offset <= k.from.Offset {
			continue
		}
		if !m.session.offer(messageFrame(c, e.Position, e.Data)) {
			return false
		}
		k.from = e.Position
		c.metrics.deliveries.Inc()
	}
	return true
}

// offer queues f if it leaves half of the queue to live messages.
func (s *session) offer(f *frame) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over(time.Now()) || (!s.out.empty() && !s.out.fits(f, s.hub.limits.Queue/2)) {
		return false
	}
	s.out.push(f)
	s.wake()
	return true
}

// awaitRoom waits until most of what was queued is written. It returns false if the
// session has ended.
func (s *session) awaitRoom() bool {
	s.mu.Lock()
	if s.ended || s.roomy() {
		defer s.mu.Unlock()
		return !s.ended
	}
	if s.room == nil {
		s.room = make(chan struct{})
	}
	room := s.room
	s.mu.Unlock()
	<-room
	return !s.isOver()
}

func (s *session) roomy() bool { return s.welcomed && s.out.cost <= s.hub.limits.Queue/4 }

// makeRoomKnown wakes who waits for room. s.mu is held.
func (s *session) makeRoomKnown() {
	if s.room != nil && (s.ended || s.roomy()) {
		close(s.room)
		s.room = nil
	}
}
