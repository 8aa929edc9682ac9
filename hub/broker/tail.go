package broker

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Message is what Tail hands on.
type Message struct {
	Channel string
	Data    []byte
	At      time.Time
}

// Tail hands every message of the channels that match patterns (Redis globs; none:
// every channel but the hub's own) to fn until ctx ends or fn returns an error,
// which is then its own. It reconnects as often as it takes, needs no Run, and
// hands on what the hub would drop, too.
func (b *Broker) Tail(ctx context.Context, patterns []string, fn func(Message) error) error {
	if len(patterns) == 0 {
		patterns = []string{"*"}
	}
	t := &tail{Broker: b, patterns: patterns, fn: fn}
	pause := backoff{timeRange: b.timing.backoff}
	for ctx.Err() == nil {
		began := time.Now()
		lost := t.serve(ctx)
		if t.failed != nil {
			return t.failed
		}
		if ctx.Err() == nil {
			t.away(lost)
		}
		if time.Since(began) > b.timing.steady {
			pause.reset()
		}
		pause.wait(ctx)
	}
	return nil
}

type tail struct {
	*Broker
	patterns []string
	fn       func(Message) error
	failed   error // what fn returned

	wide   bool // this user may only subscribe to the whole prefix: filter here
	asked  bool // the outage was logged
	copies copies
}

func (t *tail) away(err error) {
	if !t.asked {
		t.log.Warn("redis is away: "+describe(err)+"; retrying", "redis", t.server)
	}
	t.asked = true
}

// serve hands messages on until the link breaks.
func (t *tail) serve(ctx context.Context) error {
	l, err := dial(ctx, t.client, t.timing)
	if err != nil {
		return err
	}
	defer l.close()
	defer context.AfterFunc(ctx, l.close)()
	t.copies = copies{}
	if err := l.send(verbPSubscribe, t.globs()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var pinging sync.WaitGroup
	pinging.Go(func() { l.keepAlive(ctx, t.timing.ping) })
	defer pinging.Wait()
	defer l.close()
	defer cancel()
	for {
		event, err := l.receive()
		if err != nil {
			return err
		}
		if err := t.handle(event); err != nil {
			return err
		}
	}
}

// keepAlive sends PINGs until ctx ends.
func (l *link) keepAlive(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := l.send(verbPing, nil); err != nil {
			l.fail(err)
			return
		}
	}
}

func (t *tail) handle(event any) error {
	switch e := event.(type) {
	case *redis.Message:
		return t.message(e)
	case changed:
		if t.asked {
			t.log.Info("redis is there", "redis", t.server)
		}
		t.asked = false
	case refused:
		if e.verb == verbPing && redis.IsPermissionError(e.err) {
			return nil
		}
		if redis.IsPermissionError(e.err) {
			t.wide = true // for the next link
		}
		return e.err
	}
	return nil
}

func (t *tail) message(m *redis.Message) error {
	channel, ours := strings.CutPrefix(m.Channel, t.prefix)
	if !ours || strings.HasPrefix(channel, "aldaba:") || !t.wanted(channel) || t.copies.again(m) {
		return nil
	}
	t.failed = t.fn(Message{Channel: channel, Data: []byte(m.Payload), At: time.Now()})
	return t.failed
}

// globs returns the patterns as Redis is to see them. An ACL rule `&app:*` lets a
// user subscribe to the pattern `app:*` and to no narrower one.
func (t *tail) globs() []string {
	prefix := escapeGlob(t.prefix)
	if t.wide {
		return []string{prefix + "*"}
	}
	globs := make([]string, len(t.patterns))
	for i, p := range t.patterns {
		globs[i] = prefix + p
	}
	return globs
}

func (t *tail) wanted(channel string) bool {
	if !t.wide {
		return true
	}
	for _, p := range t.patterns {
		if matchGlob(p, channel) {
			return true
		}
	}
	return false
}

// copies recognizes the copies of one message that Redis sends, one directly after
// the other, when several patterns match its channel. (The embedded Redis sends one,
// for any of them, so there two equal messages in a row may pass for one.)
type copies struct {
	channel, payload string
	patterns         map[string]bool
}

func (c *copies) again(m *redis.Message) bool {
	if c.channel == m.Channel && c.payload == m.Payload && !c.patterns[m.Pattern] {
		c.patterns[m.Pattern] = true
		return true
	}
	*c = copies{m.Channel, m.Payload, map[string]bool{m.Pattern: true}}
	return false
}
