package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// link is one subscription connection, from dial to loss. It never reconnects
// (see noDial), so while receive returns no error nothing was missed. One
// goroutine may receive while others send.
type link struct {
	pubsub   *redis.PubSub
	silence  time.Duration
	answered chan struct{} // a SUBSCRIBE was; holds one

	sending sync.Mutex // requests go out in the order of sent

	mu      sync.Mutex
	sent    []*request // oldest first; Redis answers in this order
	inquiry int        // of sent, those that are not PINGs
	cause   error      // what broke the link first
}

// request is a command that Redis has not fully answered.
type request struct {
	verb     string
	channels []string // with prefix
	done     int      // of channels
	at       time.Time
}

// The verbs of a request.
const (
	verbPing         = "ping"
	verbSubscribe    = "subscribe"
	verbUnsubscribe  = "unsubscribe"
	verbPSubscribe   = "psubscribe"
	verbPUnsubscribe = "punsubscribe"
	maxRequests      = 16 // unanswered: the answers must fit Redis' output buffer
)

// What receive returns, besides *redis.Message.
type (
	changed struct{ verb, channel string } // a subscription stands, or has ended
	pong    struct{ sent time.Time }
	refused struct {
		*request
		err error
	}
)

var (
	errSilent = errors.New("connection is silent")
	errGibber = errors.New("redis sent something that is no answer")
)

// dial opens a link.
func dial(ctx context.Context, client redis.UniversalClient, t timing) (*link, error) {
	l := &link{
		pubsub:   client.Subscribe(ctx),
		silence:  t.silence,
		answered: make(chan struct{}, 1),
	}
	ctx, cancel := context.WithTimeout(ctx, t.dial+t.command)
	defer cancel()
	// The first command dials. In a cluster one without a channel goes to any
	// node, so a dead one does not hold us up.
	l.push(&request{verb: verbPing, at: time.Now()})
	if err := l.pubsub.Ping(ctx); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// fail breaks the link; the first cause is the one that receive returns.
func (l *link) fail(err error) {
	l.mu.Lock()
	if l.cause == nil {
		l.cause = err
	}
	l.mu.Unlock()
	l.close()
}

func (l *link) close() { _ = l.pubsub.Close() }

// send sends a request. It does not wait for the answer, and the caller does not
// touch channels again.
func (l *link) send(verb string, channels []string) error {
	l.sending.Lock()
	defer l.sending.Unlock()
	l.push(&request{verb: verb, channels: channels, at: time.Now()})
	switch verb {
	case verbPing:
		return l.pubsub.Ping(noDial)
	case verbSubscribe:
		return l.pubsub.Subscribe(noDial, channels...)
	case verbUnsubscribe:
		return l.pubsub.Unsubscribe(noDial, channels...)
	case verbPUnsubscribe:
		return l.pubsub.PUnsubscribe(noDial, channels...)
	default:
		return l.pubsub.PSubscribe(noDial, channels...)
	}
}

func (l *link) push(r *request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, r)
	if r.verb != verbPing {
		l.inquiry++
	}
}

// room reports whether one more SUBSCRIBE may go out.
func (l *link) room() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inquiry < maxRequests
}

// receive waits for what Redis sends next. After an error the link is dead.
func (l *link) receive() (event any, err error) {
	defer func() {
		// go-redis asserts the types of what it is sent.
		if recover() != nil {
			err = errGibber
		}
	}()
	event, err = l.pubsub.ReceiveTimeout(noDial, l.silence)
	var answer redis.Error
	var network net.Error
	switch {
	case errors.As(err, &answer):
		return l.refuse(err)
	case errors.As(err, &network) && network.Timeout():
		return nil, l.first(fmt.Errorf("%w since %s", errSilent, l.silence))
	case err != nil:
		return nil, l.first(err)
	}
	switch e := event.(type) {
	case *redis.Message:
		return e, nil
	case *redis.Subscription:
		return changed{e.Kind, e.Channel}, l.answer(e.Kind, e.Channel)
	case *redis.Pong:
		r := l.pop()
		if r == nil || r.verb != verbPing {
			return nil, errGibber
		}
		return pong{r.at}, nil
	}
	return nil, errGibber
}

func (l *link) first(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return l.cause
	}
	return err
}

// answer ticks a channel off the oldest request; it must be the one that Redis
// would name next, since a confirmation out of turn was not asked for.
func (l *link) answer(verb, channel string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sent) == 0 {
		return errUnasked
	}
	r := l.sent[0]
	if r.verb != verb || r.channels[r.done] != channel {
		return errUnasked
	}
	if r.done++; r.done == len(r.channels) {
		l.drop()
	}
	return nil
}

// refuse takes err for the answer to the oldest request.
func (l *link) refuse(err error) (any, error) {
	r := l.pop()
	if r == nil || r.done > 0 {
		return nil, err
	}
	return refused{r, err}, nil
}

func (l *link) pop() *request {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sent) == 0 {
		return nil
	}
	r := l.sent[0]
	l.drop()
	return r
}

// drop removes the oldest request. l.mu is held.
func (l *link) drop() {
	r := l.sent[0]
	l.sent[0] = nil
	l.sent = l.sent[1:]
	if r.verb == verbPing {
		return
	}
	l.inquiry--
	select {
	case l.answered <- struct{}{}:
	default:
	}
}
