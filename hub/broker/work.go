package broker

import (
	"errors"
	"time"
)

// What a link does with the interest: begin, take and expire until it breaks,
// confirm and left and refuse as Redis answers, lost at the end.

// maxBatch is how many channels one SUBSCRIBE names.
const maxBatch = 512

var errUnasked = errors.New("redis confirmed a subscription that was not asked for")

// begin queues everything for a fresh link, the probe first.
func (i *interest) begin() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.live = true
	i.pending = make([]string, 0, len(i.entries))
	i.pending = append(i.pending, i.probe)
	for channel := range i.entries {
		if channel != i.probe {
			i.pending = append(i.pending, channel)
		}
	}
	i.signal()
}

// lost marks what was confirmed as possibly missing something, and drops what
// nobody wants.
func (i *interest) lost() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.live, i.confirmed = false, 0
	i.pending, i.split, i.leaving, i.denied = nil, nil, nil, nil
	for channel, e := range i.entries {
		if !e.wanted {
			delete(i.entries, channel)
			continue
		}
		e.gap = e.gap || e.state == stateConfirmed
		e.state, e.queued, e.ready = statePending, false, false
		i.entries[channel] = e
	}
	i.shrink()
}

// take returns the channels of the next SUBSCRIBE, none if there is nothing to do.
func (i *interest) take() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if n := len(i.split); n > 0 {
		batch := i.split[n-1]
		i.split = i.split[:n-1]
		return batch
	}
	var batch []string
	for len(i.pending) > 0 && len(batch) < maxBatch {
		channel := i.pending[0]
		i.pending = i.pending[1:]
		if e, known := i.entries[channel]; known && e.state == statePending {
			e.state = stateAsked
			i.entries[channel] = e
			batch = append(batch, channel)
		}
		if channel == i.probe {
			break // alone, so that a refusal of others does not delay it
		}
	}
	if len(i.pending) == 0 {
		i.pending = nil
	}
	return batch
}

// confirmation is who is to be told that a channel is subscribed.
type confirmation struct{ subscribed, resync bool }

// confirm notes that Redis has subscribed channel. One with history (kept) is only
// told to those who wait once it is established.
func (i *interest) confirm(channel string, kept bool) (confirmation, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	e, known := i.entries[channel]
	if !known || e.state != stateAsked {
		return confirmation{}, errUnasked
	}
	c := confirmation{subscribed: e.waiting && !kept, resync: e.gap && e.wanted && !kept}
	e.state, e.waiting, e.gap = stateConfirmed, e.waiting && kept, false
	e.kept, e.ready = kept, false
	i.entries[channel] = e
	i.confirmed++
	return c, nil
}

// establish notes that all that the log of channel has was delivered, if its
// subscription stands. It returns whether somebody waits to be told.
func (i *interest) establish(channel string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	e, known := i.entries[channel]
	if !known || e.state != stateConfirmed {
		return false
	}
	waiting := e.waiting
	e.ready, e.waiting = true, false
	i.entries[channel] = e
	return waiting
}

// wants reports whether channel is one that a link would subscribe to.
func (i *interest) wants(channel string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	_, known := i.entries[channel]
	return known
}

// expire returns the channels of the next UNSUBSCRIBE.
func (i *interest) expire(now time.Time) []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var batch []string
	for len(i.leaving) > 0 && len(batch) < maxBatch && !i.leaving[0].at.After(now) {
		channel := i.leaving[0].channel
		i.leaving = i.leaving[1:]
		e := i.entries[channel]
		e.queued = false
		if i.keep(channel, e, now) {
			continue
		}
		e.state = stateLeaving
		i.entries[channel] = e
		i.confirmed--
		batch = append(batch, channel)
	}
	if len(i.leaving) == 0 {
		i.leaving = nil
	}
	return batch
}

// keep settles a channel whose time to leave has come, unless it really leaves.
func (i *interest) keep(channel string, e entry, now time.Time) bool {
	until := time.Unix(0, e.until)
	switch {
	case e.wanted:
		i.entries[channel] = e
	case until.After(now): // came back meanwhile, and left again
		i.depart(channel, e, until)
	case e.state == stateAsked: // its confirmation must not be taken for a later one's
		i.depart(channel, e, now.Add(i.linger))
	case e.state != stateConfirmed:
		i.forget(channel)
	default:
		return false
	}
	return true
}

// left notes that Redis no longer sends channel, and reports whether nobody wants it
// any more. If somebody has come back meanwhile, the SUBSCRIBE for it follows on the
// same connection.
func (i *interest) left(channel string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	e, known := i.entries[channel]
	if known && e.state == stateLeaving {
		i.forget(channel)
	}
	return !known || e.state == stateLeaving
}

// refuse notes that Redis has refused a batch as a whole, without saying for
// which channel. It halves the batch until the culprits stand alone, and returns
// true for such a one: it is asked for again later.
func (i *interest) refuse(batch []string, now time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if n := len(batch); n > 1 {
		i.split = append(i.split, batch[n/2:], batch[:n/2])
		i.signal()
		return false
	}
	channel := batch[0]
	e, known := i.entries[channel]
	if !known || !e.wanted {
		i.forget(channel)
		return true
	}
	e.state = stateDenied
	i.entries[channel] = e
	if len(i.denied) == 0 {
		i.retryAt = now.Add(i.denial)
	}
	i.denied = append(i.denied, channel)
	return true
}

// retry queues the refused channels again when their time has come.
func (i *interest) retry(now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.denied) == 0 || now.Before(i.retryAt) {
		return
	}
	for _, channel := range i.denied {
		if e, known := i.entries[channel]; known && e.state == stateDenied {
			e.state = statePending
			i.entries[channel] = e
			i.enqueue(channel)
		}
	}
	i.denied = nil
}

// count returns how many channels are confirmed.
func (i *interest) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.confirmed
}
