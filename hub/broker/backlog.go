package broker

import (
	"cmp"
	"slices"
)

// backlog is what a recorder or its standby has heard and not yet seen recorded. It is
// not safe for concurrent use.
//
// A standby keeps one queue for each channel. Redis shows it the plain messages and
// their stamped twins in the order in which they happened, so a twin takes the front
// off its channel's queue; what is left is what nobody has recorded. That holds once
// the backlog is exact: the standby publishes a marker, which the recorder answers when
// it has recorded all that it had heard before; then so much can be forgotten.
type backlog struct {
	channels map[string][]heard
	next     uint64 // number of what is heard next
	bytes    int
	limit    int // of bytes

	marker string // whose answer is waited for; empty: none
	mark   uint64 // what was heard before has a lower number
	marked bool   // the marker itself was heard
	exact  bool
}

// heard is a plain message, or in a recorder's queue a marker.
type heard struct {
	number  uint64
	channel string
	data    string
	marker  string
}

// heardCost is what a message costs besides its bytes.
const heardCost = 64

func newBacklog(limit int) *backlog {
	return &backlog{channels: make(map[string][]heard), limit: limit}
}

// hear adds a plain message. It returns false if there is no room.
func (b *backlog) hear(channel, data string) bool {
	if b.bytes+len(data)+heardCost > b.limit {
		return false
	}
	b.channels[channel] = append(b.channels[channel], heard{number: b.next, channel: channel, data: data})
	b.next++
	b.bytes += len(data) + heardCost
	return true
}

// ask begins to wait for the answer to a marker.
func (b *backlog) ask(marker string) { b.marker, b.marked, b.exact = marker, false, false }

// sawMarker notes the marker on its way to the recorder.
func (b *backlog) sawMarker(marker string) {
	if marker == b.marker {
		b.mark, b.marked = b.next, true
	}
}

// sawAnswer makes the backlog exact: what was heard before the marker is recorded.
func (b *backlog) sawAnswer(marker string) {
	if marker != b.marker || !b.marked {
		return
	}
	for channel, queue := range b.channels {
		for len(queue) > 0 && queue[0].number < b.mark {
			b.bytes -= len(queue[0].data) + heardCost
			queue = queue[1:]
		}
		b.set(channel, queue)
	}
	b.marker, b.exact = "", true
}

// sawTwin takes off what was recorded. It returns false if that was not at the front:
// the backlog is not exact any more.
func (b *backlog) sawTwin(channel, data string) bool {
	if !b.exact {
		return true
	}
	queue := b.channels[channel]
	if len(queue) == 0 || queue[0].data != data {
		b.exact = false
		return false
	}
	b.bytes -= len(data) + heardCost
	b.set(channel, queue[1:])
	return true
}

func (b *backlog) set(channel string, queue []heard) {
	if len(queue) == 0 {
		delete(b.channels, channel)
		return
	}
	b.channels[channel] = queue
}

// drain returns what is left from number on, in the order in which it was heard, and
// forgets it.
func (b *backlog) drain(from uint64) []heard {
	var all []heard
	for _, queue := range b.channels {
		for _, h := range queue {
			if h.number >= from {
				all = append(all, h)
			}
		}
	}
	slices.SortFunc(all, func(x, y heard) int { return cmp.Compare(x.number, y.number) })
	b.channels, b.bytes = make(map[string][]heard), 0
	return all
}
