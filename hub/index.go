package hub

import (
	"sync"

	"aldaba/auth"
)

// index finds the channels that somebody here has joined or waits for. A channel
// lives in it as long as it is held.
//
// Locks are taken in the order index.mu or channel.mu, then session.mu; index.mu
// and channel.mu are never held together.
type index struct {
	broker    Broker
	histories auth.Histories
	metrics   *metrics

	mu       sync.RWMutex
	channels table[string, *channel]
}

func newIndex(b Broker, h auth.Histories, m *metrics) *index {
	return &index{broker: b, histories: h, metrics: m, channels: newTable[string, *channel]()}
}

// lookup returns the channel called name, or nil if nobody here holds it.
func (x *index) lookup(name string) *channel {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.channels.get(name)
}

// hold returns the channel of a grant, for a membership that release ends.
func (x *index) hold(g auth.Grant) *channel {
	x.mu.Lock()
	defer x.mu.Unlock()
	ch := x.channels.get(g.Channel)
	if ch == nil {
		_, keeps := x.histories.Of(g.Channel)
		ch = &channel{name: g.Channel, keeps: keeps, metrics: x.metrics.ofPattern(g.Pattern)}
		x.channels.set(g.Channel, ch)
	}
	ch.holders++
	return ch
}

// release ends a hold. The broker hears of a channel that nobody holds any more
// under the lock, so that a new holder's Subscribe cannot be overtaken by it.
func (x *index) release(ch *channel) {
	x.mu.Lock()
	defer x.mu.Unlock()
	ch.holders--
	if ch.holders > 0 {
		return
	}
	x.channels.remove(ch.name)
	x.broker.Unsubscribe(ch.name)
}

// count returns how many channels are held.
func (x *index) count() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.channels.entries)
}
