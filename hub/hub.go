// Package hub holds the sessions and routes each message to exactly those whose
// claims authorize its channel.
//
// A message comes in through Deliver, is looked up in the index, encoded once
// and queued on each session of its channel; a few flushers write the queues
// out. The hub owns the sessions, melody serves as the session layer only: the
// upgrade, the read pump and the pongs are its, the write path, the pings and the
// index are the hub's own.
package hub

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"

	"aldaba/auth"

	"github.com/olahol/melody"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// Broker carries messages between replicas. Implementations are safe for
// concurrent use and never call back into the hub from within these methods.
type Broker interface {
	// Subscribe asks for channel's messages; asking again is harmless. It
	// returns true when the subscription is confirmed and alive at this moment;
	// otherwise the hub's Subscribed or Resync is called once it is. It does not
	// block on the network.
	Subscribe(channel string) bool
	// Unsubscribe says that nobody here listens to channel any more. The broker
	// may go on delivering for some seconds.
	Unsubscribe(channel string)
	// Publish sends data, one JSON document, to channel, unchanged. It returns
	// an error if the broker did not take it before ctx ended, ErrInvalidMessage
	// if it never would.
	Publish(ctx context.Context, channel string, data []byte, o PublishOptions) (Published, error)
	// Read returns a page of a channel's history as it is at this moment, at least
	// as new as all that was delivered before. It returns ErrNoHistory for a channel
	// that keeps none.
	Read(ctx context.Context, q Query) (Page, error)
	// Ack notes that user has read channel up to at, unless that was noted of a later
	// entry. All hubs are told by Read. It returns ErrNoHistory, or ErrGone for a
	// position that is not of the channel's present epoch.
	Ack(ctx context.Context, channel, user string, at Position) (Acked, error)
}

// ErrInvalidMessage is what a broker answers when a message could never be
// delivered; the text of an error that wraps it says why.
var ErrInvalidMessage = errors.New("message cannot be published")

// Verifier says who a token belongs to. *auth.Verifier is one.
type Verifier interface {
	Verify(ctx context.Context, token string) (*auth.Claims, error)
}

// Options is what a hub is made of.
type Options struct {
	Verifier Verifier     // required
	Policy   *auth.Policy // required
	Broker   Broker       // required
	Limits   Limits

	// AllowedOrigins are the exact origins ("https://app.example.com") whose
	// pages may connect; empty: same origin only.
	AllowedOrigins []string
	// Cookie names a cookie that may carry the token; it needs AllowedOrigins,
	// since a browser sends a cookie along from any page.
	Cookie string
	// Tickets keeps what `?ticket=` stands for, the same for all replicas; nil: there
	// are no tickets.
	Tickets TicketStore

	Logger  *slog.Logger          // nil: slog.Default()
	Metrics prometheus.Registerer // nil: not registered anywhere
}

// Hub is the http.Handler of the WebSocket endpoint, and the receiver of a
// broker's messages. It is safe for concurrent use.
type Hub struct {
	verifier  Verifier
	policy    *auth.Policy
	broker    Broker
	limits    Limits
	histories auth.Histories
	origins   origins
	cookie    string
	tickets   TicketStore // nil: none
	log       *slog.Logger
	metrics   *metrics

	index    *index
	roster   *roster
	connects *rate.Limiter
	melody   *melody.Melody
	flushers flushers

	closing sync.Once
}

// New returns a hub whose flushers run until Close. It returns an error that
// joins everything that is wrong with o.
func New(o Options) (*Hub, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	log := o.Logger
	if log == nil {
		log = slog.Default()
	}
	limits := o.Limits.orDefaults()
	h := &Hub{
		verifier:  o.Verifier,
		policy:    o.Policy,
		broker:    o.Broker,
		limits:    limits,
		histories: o.Policy.Histories(),
		origins:   newOrigins(o.AllowedOrigins),
		cookie:    o.Cookie,
		tickets:   o.Tickets,
		log:       log,
		metrics:   newMetrics(),
		roster:    newRoster(limits),
		connects:  rate.NewLimiter(rate.Limit(limits.ConnectsPerSecond), limits.ConnectsPerSecond),
	}
	h.index = newIndex(o.Broker, h.histories, h.metrics)
	h.melody = h.newMelody()
	if o.Metrics != nil {
		if err := h.metrics.register(o.Metrics, h); err != nil {
			return nil, err
		}
	}
	h.flushers = startFlushers()
	return h, nil
}

func (o *Options) check() error {
	var errs []error
	if o.Verifier == nil {
		errs = append(errs, errors.New("hub: Options.Verifier is missing"))
	}
	if o.Policy == nil {
		errs = append(errs, errors.New("hub: Options.Policy is missing"))
	}
	if o.Broker == nil {
		errs = append(errs, errors.New("hub: Options.Broker is missing"))
	}
	if o.Cookie != "" && len(o.AllowedOrigins) == 0 {
		errs = append(errs, errors.New("hub: Options.Cookie needs Options.AllowedOrigins"))
	}
	return errors.Join(errs...)
}

// ServeHTTP upgrades r, taking the client's address from r.RemoteAddr.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.Serve(w, r, r.RemoteAddr)
}

// Deliver hands data, one valid JSON document of a valid channel, to the
// sessions that have joined channel; at is its entry's position where the channel
// keeps history. It returns how many these are, never waits for one and does not keep
// data.
func (h *Hub) Deliver(channel string, at Position, data []byte) int {
	ch := h.index.lookup(channel)
	if ch == nil {
		return 0
	}
	return ch.deliver(messageFrame(ch, at, data))
}

// Subscribed says that the broker's subscription to channel is confirmed:
// everything published from now on will be delivered.
func (h *Hub) Subscribed(channel string) {
	if ch := h.index.lookup(channel); ch != nil {
		ch.confirm()
	}
}

// Resync says that messages of channel may have been lost, and that the
// subscription is alive again; with history, what follows at is delivered next.
func (h *Hub) Resync(channel string, at Position) {
	if ch := h.index.lookup(channel); ch != nil {
		ch.resync(at)
		h.metrics.resyncs.Inc()
	}
}

// Read says that user has read channel up to at, which unread entries follow: the
// user's sessions are told.
func (h *Hub) Read(channel, user string, at Position, unread int) {
	if ch := h.index.lookup(channel); ch != nil {
		head := Position{Epoch: at.Epoch, Offset: at.Offset + uint64(max(0, unread))}
		ch.tell(user, reading{at, head, unread})
	}
}

// Readers returns the users whose sessions have joined channel.
func (h *Hub) Readers(channel string) []string {
	if ch := h.index.lookup(channel); ch != nil {
		return ch.users()
	}
	return nil
}

// Sessions returns how many sessions are connected.
func (h *Hub) Sessions() int { return h.roster.count() }
