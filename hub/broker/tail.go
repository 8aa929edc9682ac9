package broker

import (
	"context"
	"strings"
	"sync"
	"time"

	"aldaba/hub"

	"github.com/redis/go-redis/v9"
)

// Message is what Tail hands on.
type Message struct {
	Channel string
	Data    []byte
	At      time.Time
	// Position is that of the entry, if the message was recorded by whoever published it.
	Position hub.Position
}

// Tail hands every message of the channels that match patterns (Redis globs; none:
// every channel but the hub's own) to fn until ctx ends or fn returns an error,
// which is then its own. What is recorded from a plain PUBLISH is that message, and
// comes once. Tail reconnects as often as it takes, needs no Run, and
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

	refusals int
	wide     bool // this user may only subscribe to the whole prefix: filter here
	plain    bool // this user may not hear what is recorded
	asked    bool // the outage was logged
	copies   copies
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
			t.narrow() // for the next link
		}
		return e.err
	}
	return nil
}

// narrow asks for less after a refusal: for the whole prefix, which a rule may have to
// the letter; then without what is recorded, first as it was asked for.
func (t *tail) narrow() {
	t.refusals = min(t.refusals+1, 3)
	t.wide, t.plain = t.refusals&1 != 0, t.refusals > 1
}

func (t *tail) message(m *redis.Message) error {
	channel, live, ours := t.unwire(m.Channel)
	if !ours || strings.HasPrefix(channel, "aldaba:") || !t.wanted(channel) || t.copies.again(m) {
		return nil
	}
	one := Message{Channel: channel, Data: []byte(m.Payload), At: time.Now()}
	if live {
		s, ok := parseStamp(m.Payload)
		if !ok || s.origin != recordedDirect { // the plain message has come already
			return nil
		}
		one.Data, one.Position = []byte(s.data), s.at
	}
	t.failed = t.fn(one)
	return t.failed
}

// globs returns the patterns as Redis is to see them: of plain names, and of what is
// recorded. An ACL rule `&app:*` lets a user subscribe to the pattern `app:*` and to no
// narrower one.
func (t *tail) globs() []string {
	prefix := escapeGlob(t.prefix)
	switch {
	case t.wide && (t.plain || prefix == ""): // the latter is everything
		return []string{prefix + "*"}
	case t.wide:
		return []string{prefix + "*", liveHead + prefix + "*"}
	}
	globs := make([]string, 0, 2*len(t.patterns))
	for _, p := range t.patterns {
		globs = append(globs, prefix+p)
		if !t.plain {
			globs = append(globs, liveName(prefix+p))
		}
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
