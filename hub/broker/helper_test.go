package broker

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aldaba/hub"
	"aldaba/internal/redistest"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

// TestMain proves that everything ends. go-redis tries to dial once more in the
// second after its pool was closed.
func TestMain(m *testing.M) {
	code := m.Run()
	for deadline := time.Now().Add(10 * time.Second); code == 0; {
		err := goleak.Find()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// eventually waits until condition holds.
func eventually(t testing.TB, within time.Duration, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(2 * time.Millisecond) // between two looks
	}
}

// calls is a Receiver that remembers.
type calls struct {
	mu     sync.Mutex
	events []string // "Deliver user:1 {}", "Subscribed user:1", …
	hook   func(event string)

	sessions atomic.Int64 // that are handed each message
	readers  []string     // of each channel
}

func (c *calls) note(event string) {
	c.mu.Lock()
	c.events = append(c.events, event)
	hook := c.hook
	c.mu.Unlock()
	if hook != nil {
		hook(event)
	}
}

func (c *calls) Deliver(channel string, _ hub.Position, data []byte) int {
	c.note("Deliver " + channel + " " + string(data))
	return int(c.sessions.Load())
}

func (c *calls) Subscribed(channel string) { c.note("Subscribed " + channel) }

func (c *calls) Resync(channel string, _ hub.Position) { c.note("Resync " + channel) }

func (c *calls) Readers(string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readers
}

func (c *calls) Read(channel, user string, at hub.Position, unread int) {
	c.note(fmt.Sprint("Read ", channel, " ", user, " ", at.Offset, " ", unread))
}

func (c *calls) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.events)
}

func (c *calls) count(event string) (n int) {
	for _, e := range c.all() {
		if e == event {
			n++
		}
	}
	return n
}

// with returns the events that begin with prefix, without it.
func (c *calls) with(prefix string) (found []string) {
	for _, e := range c.all() {
		if rest, ok := strings.CutPrefix(e, prefix); ok {
			found = append(found, rest)
		}
	}
	return found
}

func (c *calls) await(t testing.TB, event string) {
	t.Helper()
	eventually(t, 10*time.Second, event, func() bool { return c.count(event) > 0 })
}

// text is a log that can be looked at while it is written.
type text struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *text) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *text) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *text) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// rig is a running broker, what it received and what it logged.
type rig struct {
	*Broker
	calls *calls
	log   *text

	publishes *Broker // instead, for one that may not
}

// meddler comes between a broker and Redis.
type meddler struct {
	answered func(redis.Cmder) error                        // is shown each answer to one command, and may make an error of it
	transact func(all []redis.Cmder, do func() error) error // makes what is sent together, or not
}

func (m *meddler) DialHook(next redis.DialHook) redis.DialHook { return next }

func (m *meddler) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if m.answered != nil && err == nil {
			err = m.answered(cmd)
		}
		return err
	}
}

func (m *meddler) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, all []redis.Cmder) error {
		do := func() error { return next(ctx, all) }
		if m.transact != nil {
			return m.transact(all, do)
		}
		return do()
	}
}

// run opens a broker and runs it until the test ends.
func run(t testing.TB, o Options, change ...func(*timing)) *rig {
	t.Helper()
	return runMeddled(t, o, nil, change...)
}

func runMeddled(t testing.TB, o Options, m *meddler, change ...func(*timing)) *rig {
	t.Helper()
	timing := defaultTiming
	for _, c := range change {
		c(&timing)
	}
	r := &rig{calls: &calls{}, log: &text{}}
	o.Logger = r.log.logger()
	b, err := newBroker(o, timing)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.metrics.register(o.Metrics); err != nil {
		t.Fatal(err)
	}
	if m != nil {
		b.client.AddHook(m)
	}
	r.Broker = b
	r.start(t)
	return r
}

func (r *rig) publish(ctx context.Context, channel string, data []byte) error {
	return publish(r.Broker, ctx, channel, data)
}

func publish(b *Broker, ctx context.Context, channel string, data []byte) error { //nolint:revive // as the method has it
	_, err := b.Publish(ctx, channel, data, hub.PublishOptions{})
	return err
}

func (r *rig) start(t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, r.calls) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(r.log)
		}
	})
}

// join subscribes and waits for the confirmation.
func (r *rig) join(t testing.TB, channels ...string) {
	t.Helper()
	for _, c := range channels {
		if !r.Subscribe(c) {
			r.calls.await(t, "Subscribed "+c)
		}
	}
}

func (r *rig) ready(t testing.TB, within time.Duration) {
	t.Helper()
	eventually(t, within, "ready", func() bool { return r.Ready() == nil })
}

// client is somebody else's connection to the same Redis.
func client(t testing.TB, url string) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	o.Protocol, o.DisableIdentity, o.MaxRetries = 2, true, -1
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// say publishes as a backend does.
func say(t testing.TB, c *redis.Client, channel, data string) {
	t.Helper()
	if err := c.Publish(context.Background(), channel, data).Err(); err != nil {
		t.Fatal(err)
	}
}

// onBoth runs a test against the embedded Redis and against a real one.
func onBoth(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("embedded", func(t *testing.T) {
		e, err := StartEmbedded("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close() })
		test(t, e.URL())
	})
	t.Run("redis", func(t *testing.T) { test(t, redistest.Start(t).URL()) })
}
