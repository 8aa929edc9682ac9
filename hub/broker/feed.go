package broker

import (
	"context"
	"time"
)

// feed sends what the interest and the link's health ask for, until ctx ends or
// sending fails; then it breaks the link.
func (s *subscriber) feed(ctx context.Context, l *link) {
	tick := time.NewTicker(s.timing.tick)
	defer tick.Stop()
	pinged := time.Now()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.interest.retry(now)
			if now.Sub(pinged) >= s.timing.ping {
				pinged = now
				err = l.send(verbPing, nil)
			}
		case <-l.answered:
		case <-s.interest.wake:
			s.company(ctx)
		}
		if err == nil {
			err = s.flush(l)
		}
		if err != nil {
			l.fail(err)
			return
		}
	}
}

// company waits a moment for more channels to share a SUBSCRIBE with.
func (s *subscriber) company(ctx context.Context) {
	t := time.NewTimer(s.timing.batch)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// flush sends as many requests as may be under way.
func (s *subscriber) flush(l *link) error {
	for l.room() {
		verb, batch := verbSubscribe, s.interest.take()
		if len(batch) == 0 {
			verb, batch = verbUnsubscribe, s.interest.expire(time.Now())
		}
		if len(batch) == 0 {
			return nil
		}
		for i := range batch {
			batch[i] = s.wire(batch[i])
		}
		if err := l.send(verb, batch); err != nil {
			return err
		}
	}
	return nil
}
