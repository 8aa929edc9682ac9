package broker

import (
	"maps"
	"sync"
	"time"
)

// interest is the set of channels that this replica wants, and how far Redis has
// got with each. The hub changes it from any goroutine; one link at a time works
// it off. Nothing here waits for the network.
type interest struct {
	probe  string // wanted always, and first
	linger time.Duration
	denial time.Duration
	wake   chan struct{} // something is to be subscribed; holds one

	mu        sync.Mutex
	entries   map[string]entry
	peak      int        // of len(entries) since the map was made
	live      bool       // there is a link; without one no queue grows
	pending   []string   // to be subscribed; may hold names that no longer are
	split     [][]string // parts of a batch that was refused as a whole
	leaving   []departure
	denied    []string // refused one by one
	retryAt   time.Time
	confirmed int
}

type state uint8

const (
	statePending   state = iota // to be subscribed
	stateAsked                  // SUBSCRIBE is under way
	stateConfirmed              // Redis has confirmed
	stateLeaving                // UNSUBSCRIBE is under way
	stateDenied                 // Redis has refused
)

type entry struct {
	until   int64 // unix nanoseconds: when an unwanted channel may go
	state   state
	wanted  bool
	waiting bool // a Subscribe has returned false and was not answered yet
	gap     bool // was confirmed on a link that broke
	queued  bool // is in leaving
	kept    bool // has history: confirmed is not enough to be told
	ready   bool // has history, and all that its log has was delivered
}

type departure struct {
	channel string
	at      time.Time
}

func newInterest(probe string, t timing) *interest {
	return &interest{
		probe: probe, linger: t.linger, denial: t.denied,
		wake:    make(chan struct{}, 1),
		entries: map[string]entry{probe: {wanted: true}},
	}
}

// subscribe wants channel. It returns whether channel is confirmed on a live
// link; else confirm will answer for it.
func (i *interest) subscribe(channel string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	e, known := i.entries[channel]
	e.wanted = true
	if known && e.state == stateConfirmed && (e.ready || !e.kept) {
		i.entries[channel] = e
		return true
	}
	e.waiting = true
	if !known || e.state == stateLeaving {
		e.state = statePending
		i.enqueue(channel)
	}
	i.entries[channel] = e
	i.peak = max(i.peak, len(i.entries))
	return false
}

func (i *interest) enqueue(channel string) {
	if !i.live {
		return
	}
	i.pending = append(i.pending, channel)
	i.signal()
}

func (i *interest) signal() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// unsubscribe no longer wants channel. What Redis may be sending is kept for a
// while: a page that reloads comes back within seconds.
func (i *interest) unsubscribe(channel string, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	e, known := i.entries[channel]
	if !known || !e.wanted || channel == i.probe {
		return
	}
	if e.state == statePending || e.state == stateDenied {
		i.forget(channel)
		return
	}
	e.wanted, e.waiting = false, false
	i.depart(channel, e, now.Add(i.linger))
}

// depart queues channel, once, to be looked at again.
func (i *interest) depart(channel string, e entry, at time.Time) {
	e.until = at.UnixNano()
	if !e.queued {
		e.queued = true
		i.leaving = append(i.leaving, departure{channel, at})
	}
	i.entries[channel] = e
}

func (i *interest) forget(channel string) {
	delete(i.entries, channel)
	i.shrink()
}

// shrink gives the map's memory back once most of it is unused; maps only grow.
func (i *interest) shrink() {
	if i.peak < 1024 || len(i.entries) > i.peak/4 {
		return
	}
	kept := make(map[string]entry, len(i.entries))
	maps.Copy(kept, i.entries)
	i.entries, i.peak = kept, len(kept)
}
