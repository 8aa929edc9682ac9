package broker

import (
	"runtime"
	"runtime/debug"

	"aldaba/hub"
)

// guarded is a receiver whose panics cost one call each, and nothing else.
type guarded struct {
	*Broker
	receiver Receiver
}

func (g *guarded) Deliver(channel string, at hub.Position, data []byte) (sessions int) {
	if !g.call("Deliver", channel, func() { sessions = g.receiver.Deliver(channel, at, data) }) {
		g.metrics.dropped.WithLabelValues(reasonPanic).Inc()
	}
	return sessions
}

func (g *guarded) Subscribed(channel string) {
	g.call("Subscribed", channel, func() { g.receiver.Subscribed(channel) })
}

func (g *guarded) Resync(channel string, at hub.Position) {
	g.call("Resync", channel, func() { g.receiver.Resync(channel, at) })
}

func (g *guarded) Read(channel, user string, at hub.Position, unread int) {
	g.call("Read", channel, func() { g.receiver.Read(channel, user, at, unread) })
}

func (g *guarded) Readers(channel string) (users []string) {
	g.call("Readers", channel, func() { users = g.receiver.Readers(channel) })
	return users
}

func (g *guarded) call(method, channel string, f func()) (ok bool) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		g.metrics.panics.Inc()
		attrs := []any{"method", method, "channel", channel, "stack", string(debug.Stack())}
		if err, is := p.(runtime.Error); is { // any other value may hold data
			attrs = append(attrs, "panic", err.Error())
		}
		g.log.Error("receiver panicked", attrs...)
	}()
	f()
	return true
}
