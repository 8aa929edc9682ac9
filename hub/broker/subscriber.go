package broker

import (
	"context"
	"sync"
	"time"

	"aldaba/hub"

	"github.com/redis/go-redis/v9"
)

// subscriber is one Run: it receives, decodes, and hands on. All that it calls on
// the receiver it calls from the goroutine of run, holding no lock.
type subscriber struct {
	*Broker
	receiver  *guarded
	follower  *follower
	librarian *librarian

	up     bool      // the link has answered a SUBSCRIBE
	linked bool      // some link has
	down   time.Time // when the last link that was up broke
	barred bool      // that redis refuses this user was logged since then
	last   handed    // the plain message that came last
}

func newSubscriber(b *Broker, r Receiver) *subscriber {
	g := &guarded{b, r}
	return &subscriber{Broker: b, receiver: g, follower: newFollower(b, g), librarian: newLibrarian(b)}
}

// run serves one link after the other until ctx ends.
func (s *subscriber) run(ctx context.Context) {
	pause := backoff{timeRange: s.timing.backoff}
	s.down = time.Now()
	for first := true; ctx.Err() == nil; first = false {
		began := time.Now()
		err := s.serve(ctx)
		if ctx.Err() != nil {
			break
		}
		s.away(err, first)
		if time.Since(began) > s.timing.steady {
			pause.reset()
		}
		pause.wait(ctx)
	}
	s.follower.stop()
	s.probe.stopped()
}

// serve dials and receives until the link breaks, and says why.
func (s *subscriber) serve(ctx context.Context) error {
	l, err := dial(ctx, s.client, s.timing)
	if err != nil {
		return err
	}
	defer l.close()
	defer context.AfterFunc(ctx, l.close)()

	s.interest.begin()
	defer s.linkLost()
	ctx, cancel := context.WithCancel(ctx)
	var feeding sync.WaitGroup
	feeding.Go(func() { s.feed(ctx, l) })
	defer feeding.Wait()
	defer l.close() // before the wait: feed may be stuck in a write
	defer cancel()
	for {
		event, err := l.receive()
		if err != nil {
			return err
		}
		if err := s.handle(event); err != nil {
			return err
		}
	}
}

func (s *subscriber) handle(event any) error {
	switch e := event.(type) {
	case *redis.Message:
		s.message(e)
	case changed:
		return s.changed(e)
	case refused:
		return s.refused(e)
	case pong:
		return s.probe.ponged(e.sent)
	}
	return nil
}

func (s *subscriber) linkLost() {
	s.last = handed{}
	s.interest.lost()
	s.follower.lost(s.interest.wants)
}

// message decodes one message and delivers it.
func (s *subscriber) message(m *redis.Message) {
	channel, live, ok := s.unwire(m.Channel)
	switch {
	case !ok:
		return
	case channel == s.probe.channel:
		if !s.receipts.answered(m.Payload) {
			s.probe.returned(m.Payload, time.Now())
		}
		return
	case channel == s.receipts.channel:
		s.asked(m.Payload)
		return
	}
	s.metrics.received.Inc()
	if live {
		s.follower.rang(channel, m.Payload)
		return
	}
	s.last = handed{}
	if int64(len(m.Payload)) > s.limit { // before it is copied
		s.drop(reasonSize, channel, len(m.Payload))
		return
	}
	data := []byte(m.Payload)
	if reason := unfit(channel, data, s.limit); reason != "" {
		s.drop(reason, channel, len(data))
		return
	}
	s.last = handed{channel, s.receiver.Deliver(channel, hub.Position{}, data)}
}

// drop counts a message that is handed to nobody, and logs it now and then; never
// its data.
func (b *Broker) drop(reason, channel string, size int) {
	b.metrics.dropped.WithLabelValues(reason).Inc()
	if unlogged, ok := b.drops.allow(reason, time.Now()); ok {
		b.log.Warn("message dropped", "reason", reason, "channel", channel, "bytes", size, "unlogged", unlogged)
	}
}

func (s *subscriber) changed(e changed) error {
	channel, live, ok := s.unwire(e.channel)
	if !ok {
		return errUnasked
	}
	if e.verb == verbUnsubscribe {
		s.left(channel)
		return nil
	}
	c, err := s.interest.confirm(channel, live)
	if err != nil {
		return err
	}
	s.back()
	switch {
	case channel == s.probe.channel:
		s.probe.subscribed()
		return nil
	case channel == s.receipts.channel:
		return nil
	case live:
		s.follower.subscribed(channel)
		return nil
	}
	if c.resync {
		s.metrics.gaps.Inc()
		s.receiver.Resync(channel, hub.Position{})
	}
	if c.subscribed {
		s.receiver.Subscribed(channel)
	}
	return nil
}

func (s *subscriber) left(channel string) {
	s.last = handed{} // what comes after it was not handed to anybody here
	if s.interest.left(channel) {
		s.follower.unsubscribed(channel)
	}
}

// refused survives that Redis denies some channels to this user; every other
// error (LOADING, MASTERDOWN, NOAUTH…) ends the link, and the next one tries again.
func (s *subscriber) refused(e refused) error {
	if !redis.IsPermissionError(e.err) {
		return e.err
	}
	switch e.verb {
	case verbPing:
		return s.probe.ponged(e.at) // an answer, whatever it says
	case verbSubscribe:
		s.back()
		batch := make([]string, len(e.channels))
		for i, channel := range e.channels {
			batch[i], _, _ = s.unwire(channel)
		}
		if s.interest.refuse(batch, time.Now()) {
			s.denied(batch[0], e.err)
		}
	case verbUnsubscribe:
		for _, wire := range e.channels {
			channel, _, _ := s.unwire(wire)
			s.left(channel)
		}
	}
	return nil
}

func (s *subscriber) denied(channel string, err error) {
	if channel == s.probe.channel {
		s.probe.refused(err)
	}
	if unlogged, ok := s.drops.allow("denied", time.Now()); ok {
		s.log.Error("redis does not let this user subscribe; its ACL needs &PREFIX* and +subscribe",
			"redis", s.server, "channel", channel, "error", describe(err), "unlogged", unlogged)
	}
}

// away notes that there is no link, and logs it once; and once more if an outage
// turns out to be a refusal, which somebody has to mend.
func (s *subscriber) away(err error, first bool) {
	s.probe.lost(err)
	if redis.IsAuthError(err) && !s.up && !first && !s.barred {
		s.barred = true
		s.log.Error("redis does not let this user in; retrying", "redis", s.server, "error", describe(err))
		return
	}
	if !s.up && !first {
		s.log.Debug("redis is still away", "redis", s.server, "error", describe(err))
		return
	}
	if s.up {
		s.down = time.Now()
	}
	s.up, s.barred = false, redis.IsAuthError(err) // this line says it
	s.log.Warn("redis is away: "+describe(err)+"; retrying", "redis", s.server)
}

// back notes that the link works, and logs it once.
func (s *subscriber) back() {
	if s.up {
		return
	}
	s.up = true
	s.probe.linked()
	s.librarian.look()
	if s.linked {
		s.metrics.reconnects.Inc()
	}
	s.linked = true
	s.log.Info("redis is there", "redis", s.server, "after", time.Since(s.down).Round(time.Millisecond))
}
