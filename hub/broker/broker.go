// Package broker carries messages between replicas through Redis, or through
// the embedded one.
//
// # What Redis must allow
//
// Redis 6 or newer: alone, behind sentinels, or a cluster. This user suffices
// (PREFIX is Options.Prefix, which may be empty; go-redis authenticates with HELLO
// or AUTH, which Redis allows to everyone); Tail of patterns needs `+psubscribe
// +punsubscribe` besides:
//
//	user aldaba on >PASSWORD resetkeys resetchannels &PREFIX* -@all +auth +ping +subscribe +unsubscribe +publish
//
// Channels with history take keys and scripts. Then it is
//
//	user aldaba on >PASSWORD resetkeys ~PREFIX* ~aldaba:*:{PREFIX*
//	 resetchannels &PREFIX* &aldaba:live:{PREFIX* &aldaba:*:{PREFIX*
//	 -@all +auth +ping +subscribe +unsubscribe +psubscribe +punsubscribe +publish +multi +exec +eval +evalsha +script|load
//	 +function|list +function|load +get +set +del +exists +incr +pexpire +hmget +hset +xadd +xrange +xrevrange
//	 +xlen +time +info +pubsub|numsub
//
// where PREFIX is empty without the patterns that `*` covers; and `~user:* ~aldaba:*:{user:* &user:* &aldaba:live:{user:*` with `+fcall`, and what the
// scripts do, for a publisher of user:* that calls aldaba_publish.
//
// A cluster needs `+cluster|slots +command` besides, a database other than 0
// `+select`, and `?client_name=` in the URL `+client|setname`.
//
// # How much Redis may send
//
// Redis cuts a subscriber whose output buffer passes 32 MiB
// (`client-output-buffer-limit pubsub`). A broker reads without waiting for
// sessions, so this happens only when one message is that large, and then it
// costs a reconnect and a Resync of every channel.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"aldaba/auth"
	"aldaba/hub"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// Receiver takes what a broker receives. The calls for one channel come one at a
// time, in the order in which Redis sent things; they must not block. *hub.Hub is one.
type Receiver interface {
	// Deliver hands over one valid JSON document of a valid channel, and the position
	// of its entry if the channel keeps history. Then no entry is left out between two
	// calls, and none comes twice, unless Resync comes between them. It returns how many
	// sessions are handed it.
	Deliver(channel string, at hub.Position, data []byte) int
	// Subscribed answers every Subscribe that returned false: from here on the
	// messages of channel arrive.
	Subscribed(channel string)
	// Resync says that messages of channel may have been lost, and that the
	// subscription is alive again; with history, what follows at is delivered next. If
	// somebody also waits for a Subscribed of the same channel, that call follows.
	Resync(channel string, at hub.Position)
	// Read says that user has read channel up to at, which unread entries follow.
	Read(channel, user string, at hub.Position, unread int)
	// Readers returns the users who listen to channel. They are told by Read what may have
	// been missed while the subscription was not alive.
	Readers(channel string) []string
}

// Options is what a broker needs to know.
type Options struct {
	// URL is where Redis is:
	//
	//	redis://[user:password@]host:port[/db], rediss://… (TLS), unix://…
	//	redis+sentinel://host:port?master_name=mymaster[&addr=host:port…]
	//	redis+cluster://[user:password@]host:port[?addr=host:port…]
	//
	// With sentinels, the user and password before the host are the sentinels';
	// Redis' own go into the parameters username and password.
	URL string
	// Prefix is put before every channel and key. Two applications share one
	// Redis without hearing each other when neither prefix begins with the
	// other: end it with a colon. It is made of the characters of a channel.
	Prefix string
	// Message is the largest message in bytes; larger ones are dropped. Zero: 64 KiB.
	Message int64
	// Histories says which channels keep history.
	Histories auth.Histories
	// NoRecorder leaves it to other replicas to record plain PUBLISHes to channels with
	// history. If all do, such messages are not heard.
	NoRecorder bool
	Logger     *slog.Logger          // nil: slog.Default()
	Metrics    prometheus.Registerer // nil: not registered anywhere
}

// Broker is one replica's connection to Redis. It implements hub.Broker and is
// safe for concurrent use.
type Broker struct {
	client redis.UniversalClient
	server string // where Redis is, for people; without secrets
	dials  int    // how many a PUBLISH may try
	prefix string
	limit  int64 // of one message, in bytes
	caller caller

	histories  auth.Histories
	noRecorder bool

	timing  timing
	log     *slog.Logger
	metrics *metrics

	interest *interest
	probe    *probe
	receipts *receipts
	drops    drops

	mu       sync.Mutex
	closed   bool
	recorder *recorder          // of the last Run; nil: none
	stop     context.CancelFunc // of the Run that goes on, or nil
	idle     chan struct{}      // closed when that Run has returned
}

// Errors of Run.
var (
	ErrClosed  = errors.New("broker is closed")
	ErrRunning = errors.New("broker runs already")
)

// Open parses o and returns a broker; it does not connect yet: Run does. Publish
// and Tail work without Run.
func Open(o Options) (*Broker, error) {
	b, err := newBroker(o, defaultTiming)
	if err != nil {
		return nil, err
	}
	if err := b.metrics.register(o.Metrics); err != nil {
		return nil, errors.Join(fmt.Errorf("metrics of the broker: %w", err), b.client.Close())
	}
	return b, nil
}

func newBroker(o Options, t timing) (*Broker, error) {
	if !validPrefix(o.Prefix) {
		return nil, errors.New("redis prefix must be at most 64 of the characters A-Z a-z 0-9 _ . : @ # / | + = ~ - %")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Message <= 0 {
		o.Message = 64 << 10
	}
	client, server, err := connect(o.URL, t)
	if err != nil {
		return nil, err
	}
	adoptLibraryLog(o.Logger)
	b := &Broker{
		client: client, server: server, prefix: o.Prefix, limit: o.Message,
		caller: caller{client: client, timing: t}, histories: o.Histories, noRecorder: o.NoRecorder, timing: t, log: o.Logger, dials: 1,
	}
	if _, many := client.(*redis.ClusterClient); many {
		b.dials = 3
	}
	b.probe = newProbe(server, t, b.send)
	b.interest = newInterest(b.probe.channel, t)
	b.receipts = newReceipts(b.name(b.probe.channel), t)
	b.interest.subscribe(b.receipts.channel) // as long as the broker lives
	b.metrics = newMetrics(b)
	b.probe.observe, b.probe.denied = b.metrics.lag.Observe, b.publishing
	return b, nil
}

// Run receives until ctx ends, reconnecting as often as it takes; then it
// returns nil. It may be called again after it has returned.
func (b *Broker) Run(ctx context.Context, r Receiver) error {
	ctx, done, err := b.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	var beside sync.WaitGroup
	beside.Go(func() { b.probe.run(ctx) })
	beside.Go(func() { b.receipts.run(ctx, b.client, b.timing.command) })
	defer beside.Wait()
	s := newSubscriber(b, r)
	beside.Go(func() { s.follower.run(ctx) })
	beside.Go(func() { s.librarian.run(ctx) })
	if r := b.recorderFor(); r != nil {
		beside.Go(func() { r.run(ctx) })
	}
	s.run(ctx)
	return nil
}

func (b *Broker) begin(ctx context.Context) (context.Context, func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, nil, ErrClosed
	}
	if b.stop != nil {
		return nil, nil, ErrRunning
	}
	ctx, cancel := context.WithCancel(ctx)
	idle := make(chan struct{})
	b.stop, b.idle = cancel, idle
	return ctx, func() {
		cancel()
		b.mu.Lock()
		b.stop = nil
		b.mu.Unlock()
		close(idle)
	}, nil
}

// Subscribe implements hub.Broker.
func (b *Broker) Subscribe(channel string) bool {
	if !validChannel(channel) {
		return false
	}
	return b.interest.subscribe(channel)
}

// Unsubscribe implements hub.Broker.
func (b *Broker) Unsubscribe(channel string) { b.interest.unsubscribe(channel, time.Now()) }

// Ready returns nil while a message that this replica publishes to itself comes
// back in time, else what is wrong in words for an operator, without secrets.
func (b *Broker) Ready() error { return b.probe.verdict(time.Now()) }

// publishing logs that Redis forbids this user to publish, or allows it again.
func (b *Broker) publishing(err error) {
	if err == nil {
		b.log.Info("redis lets this user publish again", "redis", b.server)
		return
	}
	b.log.Error("redis does not let this user publish; its ACL needs &PREFIX* and +publish", "redis", b.server, "error", describe(err))
}

// Close ends the connections, and Run if it still goes on. It is safe to call twice.
func (b *Broker) Close() error {
	b.mu.Lock()
	stop, idle, closed := b.stop, b.idle, b.closed
	b.closed = true
	b.mu.Unlock()
	if stop != nil {
		stop()
		<-idle
	}
	if closed {
		return nil
	}
	b.metrics.unregister()
	defer b.caller.wait()
	if err := b.client.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
		return fmt.Errorf("close redis: %w", err)
	}
	return nil
}
