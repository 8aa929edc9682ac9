package hub

import (
	"context"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"aldaba/auth"
)

// panicking is a verifier whose handlers panic when told to.
type panicking struct {
	Verifier
	now bool
}

func (p *panicking) Verify(ctx context.Context, token string) (*auth.Claims, error) {
	if p.now {
		panic("the verifier's")
	}
	return p.Verifier.Verify(ctx, token)
}

func TestPanicCostsOneSession(t *testing.T) {
	p := &panicking{}
	w := newWorld(t, func(o *Options) { p.Verifier, o.Verifier = o.Verifier, p })
	victim, other := w.login("ann", nil), w.login("ben", nil)
	before := runtime.NumGoroutine()
	p.now = true
	victim.say(`{"type":"refresh","token":"x"}`)
	victim.expectClose(CloseInternalError)
	p.now = false
	w.hub.Deliver("user:ben", Position{}, []byte(`1`))
	other.expect("message")
	w.eventually("only the other is left", func() bool { return w.hub.Sessions() == 1 && w.hub.melody.Len() == 1 })
	w.eventually("its goroutines are gone", func() bool { return runtime.NumGoroutine() < before })
	if !strings.Contains(w.logs.String(), "handler panicked") {
		t.Error("the panic is not in the log")
	}
}

// panickingBroker panics in one of its methods when told to.
type panickingBroker struct {
	*memoryBroker
	in atomic.Pointer[string]
}

func (b *panickingBroker) panicIn(method string) {
	if in := b.in.Load(); in != nil && *in == method {
		panic("secret data")
	}
}

func (b *panickingBroker) Subscribe(channel string) bool {
	b.panicIn("subscribe")
	return b.memoryBroker.Subscribe(channel)
}

func (b *panickingBroker) Unsubscribe(channel string) {
	b.panicIn("unsubscribe")
	b.memoryBroker.Unsubscribe(channel)
}

func (b *panickingBroker) Publish(ctx context.Context, channel string, data []byte, o PublishOptions) (Published, error) {
	b.panicIn("publish")
	return b.memoryBroker.Publish(ctx, channel, data, o)
}

// TestPanicOfTheBroker has each of its methods panic on each of the goroutines
// that may call it: the victim is closed, everybody else goes on, and nothing
// is left locked.
func TestPanicOfTheBroker(t *testing.T) {
	red := claims{"teams": []string{"red"}, "rooms": []string{"1"}}
	command := func(frame string) func(*world, func()) {
		return func(w *world, arm func()) {
			victim := w.login("victim", red)
			arm()
			victim.say(frame)
		}
	}
	for name, c := range map[string]struct {
		method string
		does   func(w *world, arm func())
	}{
		"a subscribe":       {"subscribe", command(`{"type":"subscribe","channel":"team:red"}`)},
		"an unsubscribe":    {"unsubscribe", command(`{"type":"unsubscribe","channel":"user:victim"}`)},
		"a publish":         {"publish", command(`{"type":"publish","channel":"room:1","data":1}`)},
		"a token's end":     {"unsubscribe", func(w *world, arm func()) { w.login("victim", in(1500*time.Millisecond)); arm() }},
		"a session's end":   {"unsubscribe", func(w *world, arm func()) { c := w.login("victim", red); arm(); c.Close() }},
		"a session's begin": {"subscribe", func(w *world, arm func()) { arm(); w.connect(w.token("victim", red)) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &panickingBroker{}
			w := newWorld(t, func(o *Options) { b.memoryBroker = o.Broker.(*memoryBroker); o.Broker = b })
			other := w.login("other", nil)
			c.does(w, func() { b.in.Store(&c.method) })
			w.eventually("the panic is logged", func() bool { return strings.Contains(w.logs.String(), "handler panicked") })
			b.in.Store(nil)
			w.eventually("the victim is gone", func() bool { return w.hub.Sessions() == 1 })
			w.hub.Deliver("broadcast", Position{}, []byte("1"))
			other.expect("message")
			w.login("another", red).Close()
			if strings.Contains(w.logs.String(), "secret data") {
				t.Error("the panic's value is in the log")
			}
		})
	}
}
