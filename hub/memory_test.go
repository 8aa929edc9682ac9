package hub

import (
	"context"
	"slices"
	"strconv"
)

// The logs of the memoryBroker, which serializes what Redis would.

func (b *memoryBroker) Publish(_ context.Context, channel string, data []byte, _ PublishOptions) (Published, error) {
	b.order.Lock()
	defer b.order.Unlock()
	at, err := b.take(channel, data)
	if err != nil {
		return Published{}, err
	}
	b.hub.Deliver(channel, at, data)
	return Published{Position: at}, nil
}

// take accepts what is published, and records it where the channel has a log.
func (b *memoryBroker) take(channel string, data []byte) (at Position, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.published != nil {
		b.published(channel)
	}
	if b.err != nil {
		return Position{}, b.err
	}
	if _, keeps := b.histories.Of(channel); keeps {
		at = b.record(channel, data)
	}
	return at, nil
}

// record appends to a log. b.mu is held.
func (b *memoryBroker) record(channel string, data []byte) Position {
	at := b.head(channel)
	at.Offset++
	at.Tag = uint64(b.epoch)*1_000_000 + 1000 + at.Offset
	if b.logs == nil {
		b.logs = make(map[string][]Entry)
	}
	b.logs[channel] = append(b.logs[channel], Entry{at, data})
	return at
}

// head is where channel's log ends. b.mu is held.
func (b *memoryBroker) head(channel string) Position {
	if log := b.logs[channel]; len(log) > 0 {
		return log[len(log)-1].Position
	}
	return Position{Epoch: "e" + strconv.Itoa(b.epoch)}
}

// write records data for which no doorbell rings.
func (b *memoryBroker) write(channel string, data ...string) (at Position) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range data {
		at = b.record(channel, []byte(d))
	}
	return at
}

// lose forgets all, as a Redis does that comes back empty.
func (b *memoryBroker) lose(channel string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.epoch++
	delete(b.logs, channel)
}

// trim forgets all but the newest n entries.
func (b *memoryBroker) trim(channel string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	log := b.logs[channel]
	b.logs[channel] = log[len(log)-n:]
}

func (b *memoryBroker) Read(_ context.Context, q Query) (Page, error) {
	if b.reading != nil {
		b.reading(q)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, keeps := b.histories.Of(q.Channel); !keeps {
		return Page{}, ErrNoHistory
	}
	if b.err != nil {
		return Page{}, b.err
	}
	log := b.logs[q.Channel]
	p := Page{Head: b.head(q.Channel)}
	if q.User != "" {
		upto := b.upto[q.Channel+" "+q.User]
		p.Unread = len(log) - int(upto)
		if upto > 0 {
			p.Read = log[upto-1].Position
		}
	}
	asked := q.After
	if asked.IsZero() {
		asked = q.Before
	}
	p.Known = !asked.IsZero() && asked == p.Head
	for _, e := range log {
		p.Known = p.Known || !asked.IsZero() && e.Position == asked
	}
	p.Known = p.Known || asked.Offset == 0 && asked.Epoch == p.Head.Epoch && len(log) > 0 && log[0].Position.Offset == 1
	if p.From = q.After; q.Following && !p.Known {
		p.From = p.Head
		if i := slices.IndexFunc(log, func(e Entry) bool { return e.Position.Tag > q.After.Tag }); i >= 0 {
			p.From = Position{Epoch: p.Head.Epoch, Offset: log[i].Position.Offset - 1}
		}
	}
	var found []Entry
	for _, e := range log {
		if e.Position.Offset > p.From.Offset && (q.Before.IsZero() || e.Position.Offset < q.Before.Offset) {
			found = append(found, e)
		}
	}
	if q.Entries == 0 || !asked.IsZero() && !p.Known && !q.Following {
		return p, nil
	}
	if p.More = len(found) > q.Entries; p.More && q.After.IsZero() {
		found = found[len(found)-q.Entries:]
	} else if p.More {
		found = found[:q.Entries]
	}
	p.Entries = found
	if len(found) > 0 {
		p.End = found[len(found)-1].Position
	}
	return p, nil
}

func (b *memoryBroker) Ack(_ context.Context, channel, user string, at Position) (Acked, error) {
	b.order.Lock()
	defer b.order.Unlock()
	unread, err := b.note(channel, user, at)
	if err != nil {
		return Acked{}, err
	}
	b.hub.Read(channel, user, at, unread)
	return Acked{at, unread}, nil
}

// note remembers up to where user has read, and counts what is left.
func (b *memoryBroker) note(channel, user string, at Position) (unread int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, keeps := b.histories.Of(channel); !keeps {
		return 0, ErrNoHistory
	}
	head := b.head(channel)
	if at.Epoch != head.Epoch || at.Offset > head.Offset {
		return 0, ErrGone
	}
	if b.upto == nil {
		b.upto = make(map[string]uint64)
	}
	b.upto[channel+" "+user] = max(at.Offset, b.upto[channel+" "+user])
	return int(head.Offset - b.upto[channel+" "+user]), nil
}
