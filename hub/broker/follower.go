package broker

import (
	"context"
	"sync"
	"time"

	"aldaba/hub"
)

// follower delivers the channels with history: each entry of a log once, in order,
// without a gap. What is published to a channel's live name is only a doorbell. If it
// brings the next entry, that is delivered; if it does not, or none rings for a while,
// or the link was renewed, the log itself is asked. Channels without history never
// come here.
//
// Calls on the receiver are made with mu held: those of one channel come one at a time.
type follower struct {
	*Broker
	receiver *guarded

	mu       sync.Mutex
	channels map[string]*followed // nil once stopped
	wheel    wheel
}

// followed is one channel that the link is subscribed to.
type followed struct {
	channel string
	at      hub.Position // what was delivered last; zero until the log was read
	seal    string       // what the script's stamps carry
	reading bool         // a read is under way
	again   bool         // and another one is to follow it
	joining bool         // a subscription waits to be told
	renewed bool         // how far users have read may have been missed: they are to be told again
	heard   bool         // since the last round
	retries int          // reads that failed in a row
	handed  int          // how many sessions were handed that
	turn    int          // which of its places in the wheel counts

	questions []question // about entries that were not delivered yet
}

// One read asks for so much; the rest is asked for by the next.
const (
	readEntries = 512
	readBytes   = 1 << 20
)

func newFollower(b *Broker, r *guarded) *follower {
	return &follower{Broker: b, receiver: r, channels: make(map[string]*followed)}
}

// run looks after the channels until ctx ends.
func (f *follower) run(ctx context.Context) {
	tick := time.NewTicker(wheelTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.turn()
		}
	}
}

// stop ends all calls on the receiver.
func (f *follower) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.channels = nil
}

// subscribed follows channel, whose subscription Redis has confirmed: whatever the log
// has by now, or will have, is delivered from here on.
func (f *follower) subscribed(channel string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.channels == nil {
		return
	}
	c := f.channels[channel]
	if c == nil {
		c = &followed{channel: channel}
		f.channels[channel] = c
		f.lookAgain(c, f.timing.quiet.pick())
	} else {
		c.renewed = true
	}
	c.joining = true
	f.read(c)
}

// unsubscribed follows channel no more.
func (f *follower) unsubscribed(channel string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.channels, channel)
}

// lost drops what wanted no longer says.
func (f *follower) lost(wanted func(channel string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for channel := range f.channels {
		if !wanted(channel) {
			delete(f.channels, channel)
		}
	}
}

// rang takes what was published to channel's live name.
func (f *follower) rang(channel, payload string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.channels[channel]
	if c == nil {
		return
	}
	if r, ok := parseReadStamp(payload); ok {
		f.tell(c, r)
		return
	}
	s, ok := parseStamp(payload)
	switch {
	case ok && s.seal == c.seal && s.at.Epoch == c.at.Epoch && s.at.Offset == c.at.Offset+1:
		c.heard = true
		f.deliver(c, s.at, []byte(s.data))
	case ok && s.seal == c.seal && s.at.Epoch == c.at.Epoch && (s.at.Offset < c.at.Offset || s.at == c.at):
		// delivered already: a read was ahead of the doorbell
	default:
		// A gap, another epoch, a later format, or a forgery: the log knows.
		f.read(c)
	}
}

// tell hands over how far a user has read, in order with the entries: what is ahead of
// these is asked for when they are here. f.mu is held.
func (f *follower) tell(c *followed, r readStamp) {
	switch {
	case r.seal != c.seal || r.at.Epoch != c.at.Epoch:
	case c.reading || r.at.Offset+uint64(r.unread) > c.at.Offset: //nolint:gosec // not negative
		c.renewed = true
		f.read(c)
	default:
		f.receiver.Read(c.channel, r.user, r.at, r.unread)
	}
}

// deliver hands over the entry behind c.at. f.mu is held.
func (f *follower) deliver(c *followed, at hub.Position, data []byte) {
	if reason := unfit(c.channel, data, f.limit); reason != "" {
		c.at, c.handed = at, 0
		f.drop(reason, c.channel, len(data))
		return
	}
	f.hand(c, at, data)
}

// hand delivers an entry that is fit for it. f.mu is held.
func (f *follower) hand(c *followed, at hub.Position, data []byte) {
	c.at, c.handed = at, f.receiver.Deliver(c.channel, at, data)
	if len(c.questions) > 0 {
		f.answerUpTo(c)
	}
}

// read asks the log for what follows c.at, one question at a time. f.mu is held.
func (f *follower) read(c *followed) {
	if c.reading {
		c.again = true
		return
	}
	c.reading, c.again = true, false
	f.metrics.reads.Inc()
	q := hub.Query{Channel: c.channel, After: c.at, Bytes: readBytes}
	if !c.at.IsZero() {
		q.Entries, q.Following = readEntries, true
	}
	f.askLog(q, func(s stretch, err error) { f.answered(c, q.After, s, err) })
}

// answered takes the answer to a read from after.
func (f *follower) answered(c *followed, after hub.Position, s stretch, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.channels[c.channel] != c {
		return
	}
	c.reading = false
	if err != nil {
		f.retry(c, err)
		return
	}
	c.retries, c.seal = 0, s.seal
	f.catchUp(c, after, s)
	f.answerUpTo(c)
	if c.again || s.More {
		f.read(c)
		return
	}
	if c.joining {
		c.joining = false
		f.established(c.channel)
	}
	if c.renewed {
		c.renewed = false
		f.askReaders(c)
	}
}

// askReaders asks how far those who listen here have read. f.mu is held.
func (f *follower) askReaders(c *followed) {
	for _, user := range f.receiver.Readers(c.channel) {
		f.askLog(hub.Query{Channel: c.channel, User: user}, func(s stretch, err error) { f.hasRead(c, user, s, err) })
	}
}

// hasRead tells user's sessions how far that has read, and how much is unread of what was
// delivered here.
func (f *follower) hasRead(c *followed, user string, s stretch, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.channels[c.channel] != c:
	case err != nil:
		c.renewed = true // asked again with the next look
	case s.Head.Epoch == c.at.Epoch:
		at := s.Read
		if at.IsZero() {
			at.Epoch = s.Head.Epoch // nothing of this log
		}
		behind := int(s.Head.Offset) - int(c.at.Offset) //nolint:gosec // both are below 2⁵³
		f.receiver.Read(c.channel, user, at, max(0, s.Unread-behind))
	}
}

// catchUp delivers what s has and c does not. f.mu is held.
func (f *follower) catchUp(c *followed, after hub.Position, s stretch) {
	switch {
	case after.IsZero():
		c.at = s.Head
		return
	case c.at != after && !s.Known:
		c.again = true // the question has been overtaken
		return
	case !s.Known:
		f.resync(c, s.From) // what follows is not all that there was
	}
	for _, e := range s.Entries {
		if e.Position.Offset > c.at.Offset {
			f.hand(c, e.Position, e.Data)
		}
	}
	// Entries that nobody can be handed were passed over, too.
	if s.End.Offset > c.at.Offset {
		c.at, c.handed = s.End, 0
	}
}

// resync goes on from at, and tells of what may be missing before. f.mu is held.
func (f *follower) resync(c *followed, at hub.Position) {
	f.metrics.gaps.Inc()
	c.at, c.handed, c.renewed = at, 0, true // what was unread has changed, too
	f.receiver.Resync(c.channel, at)
}

// established tells those who wait for channel that it is live. f.mu is held.
func (f *follower) established(channel string) {
	if f.interest.establish(channel) {
		f.receiver.Subscribed(channel)
	}
}

// retry reads again after a while. f.mu is held.
func (f *follower) retry(c *followed, err error) {
	if unlogged, ok := f.drops.allow("history", time.Now()); ok {
		f.log.Warn("cannot read a history; retrying", "redis", f.server, "channel", c.channel, "error", describe(err), "unlogged", unlogged)
	}
	f.metrics.readErrors.Inc()
	c.retries++
	f.lookAgain(c, f.timing.backoff.after(c.retries))
}

// lookAgain has turn look at c after d, and not before. f.mu is held.
func (f *follower) lookAgain(c *followed, d time.Duration) {
	c.turn++
	f.wheel.add(d, appointment{c, c.turn})
}

// appointment is a place in the wheel; it holds unless another was made since.
type appointment struct {
	*followed

	turn int
}

// turn does what is due: reads that failed before, and a look at quiet channels, whose
// doorbell may have been lost.
func (f *follower) turn() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.wheel.turn() {
		c := a.followed
		if f.channels[c.channel] != c || a.turn != c.turn {
			continue
		}
		if c.retries > 0 || !c.heard {
			f.read(c)
		}
		c.heard = false
		f.lookAgain(c, f.timing.quiet.pick())
	}
}
