package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// probe publishes to its own channel and looks whether that comes back: the only
// proof that messages arrive is one that did.
type probe struct {
	server  string
	channel string
	timing  timing
	send    func(ctx context.Context, channel string, data []byte) error
	observe func(seconds float64)
	denied  func(err error) // told when Redis begins to forbid publishing, and with nil when it allows it again
	kick    chan struct{}   // probe now; holds one
	epoch   time.Time       // probes carry the time since then

	forbidden bool // by Redis, to publish; belongs to the goroutine of run

	mu        sync.Mutex
	heard     time.Time // when a probe last came back
	answered  time.Time // when the link last answered a PING
	accepted  time.Time // when Redis took the oldest probe that nothing came back after
	listening time.Time // when the link's subscription to channel was confirmed
	linkErr   error     // why there is no link
	sendErr   error     // why the last probe could not be published
	deniedErr error     // why the channel could not be subscribed
}

// probeChannel begins the name of every replica's own channel.
const probeChannel = "aldaba:probe:"

var (
	errUnconnected = errors.New("not connected yet")
	errDeaf        = errors.New("redis takes messages that the subscription does not bring back")
)

func newProbe(server string, t timing, send func(context.Context, string, []byte) error) *probe {
	return &probe{
		server: server, channel: probeChannel + rand.Text(), timing: t, send: send,
		kick: make(chan struct{}, 1), epoch: time.Now(), linkErr: errUnconnected,
	}
}

// run probes until ctx ends.
func (p *probe) run(ctx context.Context) {
	tick := time.NewTicker(p.timing.probe)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-p.kick:
		}
		p.once(ctx)
	}
}

func (p *probe) once(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*p.timing.probe)
	defer cancel()
	sent := time.Now()
	err := p.send(ctx, p.channel, strconv.AppendInt(nil, int64(sent.Sub(p.epoch)), 10))
	p.judge(err)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sendErr = err
	if err == nil && p.accepted.IsZero() && !p.listening.IsZero() && sent.After(p.listening) && p.heard.Before(sent) {
		p.accepted = time.Now()
	}
}

// judge tells when the right to publish is lost, and when it is back. An error
// of the connection says nothing about rights.
func (p *probe) judge(err error) {
	forbidden := redis.IsPermissionError(err)
	if forbidden == p.forbidden || !forbidden && err != nil {
		return
	}
	p.forbidden = forbidden
	p.denied(err)
}

// returned notes that a probe has come back.
func (p *probe) returned(payload string, now time.Time) {
	sent, err := strconv.ParseInt(payload, 10, 64)
	lag := now.Sub(p.epoch) - time.Duration(sent)
	if err != nil || lag < 0 || sent < 0 {
		return // somebody else's
	}
	p.mu.Lock()
	p.heard, p.accepted = now, time.Time{}
	p.mu.Unlock()
	p.observe(lag.Seconds())
}

// ponged notes the answer to a PING. The answer stands behind all that Redis had
// to send before; so when a probe was taken long before that PING and has not come,
// it never will: the subscription is on the wrong server, as after a failover.
func (p *probe) ponged(sent time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answered = time.Now()
	if !p.accepted.IsZero() && sent.Sub(p.accepted) > p.timing.deaf {
		return errDeaf
	}
	return nil
}

func (p *probe) linked() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.linkErr, p.answered = nil, time.Now()
}

// subscribed notes that probes can come back from now on, and asks for one.
func (p *probe) subscribed() {
	p.mu.Lock()
	p.listening, p.accepted, p.deniedErr = time.Now(), time.Time{}, nil
	p.mu.Unlock()
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

func (p *probe) refused(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deniedErr = err
}

func (p *probe) lost(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.linkErr, p.deniedErr = err, nil
	p.listening, p.accepted = time.Time{}, time.Time{}
}

func (p *probe) stopped() {
	p.lost(errUnconnected)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = time.Time{}
}

// verdict is what Ready answers.
func (p *probe) verdict(now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := func(t time.Time) time.Duration { return now.Sub(t).Round(time.Second) }
	switch {
	case now.Sub(p.heard) <= p.timing.fresh && p.linkErr == nil && !p.listening.IsZero() && p.heard.After(p.listening):
		return nil // a probe has come back over the link that stands
	case errors.Is(p.linkErr, errUnconnected):
		return fmt.Errorf("%s: %w", p.server, p.linkErr)
	case p.linkErr != nil:
		return fmt.Errorf("%s does not answer: %s", p.server, describe(p.linkErr))
	case p.deniedErr != nil:
		return fmt.Errorf("%s refuses the subscription: %s", p.server, describe(p.deniedErr))
	case now.Sub(p.answered) > p.timing.fresh:
		return fmt.Errorf("%s: subscription connection is silent since %s", p.server, since(p.answered))
	case p.sendErr != nil:
		return fmt.Errorf("%s does not take messages: %s", p.server, describe(p.sendErr))
	case p.heard.IsZero():
		return fmt.Errorf("%s: no message has come back yet", p.server)
	}
	return fmt.Errorf("%s: no message has come back since %s", p.server, since(p.heard))
}
