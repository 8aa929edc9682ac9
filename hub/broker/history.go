package broker

import (
	"context"
	"crypto/rand"
	"fmt"

	"aldaba/hub"
)

// Read implements hub.Broker. It asks the server that has the channel's log now, and
// returns hub.ErrNoHistory for a channel without one. What of the log could be handed
// to nobody is left out, and a page of nothing else is read past, as long as ctx allows:
// whoever pages could not tell from where to go on.
func (b *Broker) Read(ctx context.Context, q hub.Query) (hub.Page, error) {
	if _, ok := b.histories.Of(q.Channel); !ok || !validChannel(q.Channel) {
		return hub.Page{}, hub.ErrNoHistory
	}
	s, err := b.readProved(ctx, q)
	if err != nil {
		return hub.Page{}, fmt.Errorf("read history from %s: %w", b.server, err)
	}
	return b.readPast(ctx, q, s).Page, nil
}

// readPast goes on from s, which may have nothing, to what q asks for. If Redis answers no
// more, what it returns says how far it came.
func (b *Broker) readPast(ctx context.Context, q hub.Query, s stretch) stretch {
	for len(s.Entries) == 0 && s.More {
		next, err := b.readProved(ctx, s.onward(q))
		if err != nil {
			return s
		}
		if q.Following {
			next.Known, next.From = s.Known, s.From
		}
		s = next
		s.cut(q)
	}
	return s
}

// readProved is readLog that has no entries if the position asked about is not known.
func (b *Broker) readProved(ctx context.Context, q hub.Query) (stretch, error) {
	s, err := b.readLog(ctx, q)
	if err != nil {
		return s, err
	}
	asked := q.After
	if asked.IsZero() {
		asked = q.Before
	}
	s.Known = s.Known && s.Head.Epoch == asked.Epoch
	if !asked.IsZero() && !s.Known && !q.Following {
		s.Entries, s.End, s.More = nil, hub.Position{}, false
	}
	return s, nil
}

// stretch is what read.lua tells of a log.
type stretch struct {
	hub.Page // unless following, Known says only that the entry is there, whatever the epoch

	start hub.Position // of the first entry that was looked at
	seal  string       // with which stamped messages prove that they come from the script
}

// onward asks for what comes behind s in the direction of q, in steps that end soon: a
// log has some thousands of entries.
func (s stretch) onward(q hub.Query) hub.Query {
	q.Entries = max(q.Entries, readEntries)
	if q.After.IsZero() {
		q.Before = s.start
	} else {
		q.After = s.End
	}
	return q
}

// cut leaves of s as many entries as q asks for.
func (s *stretch) cut(q hub.Query) {
	surplus := len(s.Entries) - q.Entries
	switch {
	case surplus <= 0:
		return
	case q.After.IsZero():
		s.Entries = s.Entries[surplus:]
	default:
		s.Entries = s.Entries[:q.Entries]
		s.End = s.Entries[q.Entries-1].Position
	}
	s.More = true
}

// readLog asks the log of a channel that keeps one.
func (b *Broker) readLog(ctx context.Context, q hub.Query) (stretch, error) {
	answer, err := b.caller.do(ctx, b.queryCall(q))
	if err != nil {
		return stretch{}, err
	}
	return b.stretchOf(q, answer)
}

// askLog is readLog that does not wait. then is called from another goroutine.
func (b *Broker) askLog(q hub.Query, then func(stretch, error)) {
	b.caller.push(b.queryCall(q), func(answer []any, err error) {
		if err != nil {
			then(stretch{}, err)
			return
		}
		then(b.stretchOf(q, answer))
	})
}

// queryCall is q in the words of read.lua.
func (b *Broker) queryCall(q hub.Query) call {
	direction, from := "after", q.After
	if q.After.IsZero() && (!q.Before.IsZero() || q.Entries > 0) {
		direction, from = "before", q.Before
	}
	id := ""
	if !from.IsZero() {
		id = from.ID()
	}
	followed := ""
	if q.Following {
		followed = q.After.Epoch
	}
	kept, _ := b.histories.Of(q.Channel)
	return call{
		script: readScript, name: b.name(q.Channel), want: 8,
		args: []any{direction, id, q.Entries, q.Bytes, newSeal(), milliseconds(kept.TTL), q.User, followed},
	}
}

// newSeal is a secret between Redis and the replicas.
func newSeal() string { return rand.Text() }

// stretchOf reads the answer of read.lua.
func (b *Broker) stretchOf(q hub.Query, answer []any) (s stretch, err error) {
	text, number := values(answer)
	if s.Head, err = hub.ParsePosition(text(0) + ":" + text(1)); err != nil {
		return s, errGibber
	}
	s.seal, s.Known, s.More = text(2), number(3) == 1, number(4) == 1
	if q.User != "" {
		if s.Unread, s.Read, err = unread(s.Head, number(5), text(6)); err != nil {
			return s, err
		}
	}
	if q.Following {
		if s.From, err = hub.ParsePosition(s.Head.Epoch + ":" + text(7)); err != nil {
			return s, errGibber
		}
	}
	for i := 8; i+1 < len(answer); i += 2 {
		at, err := hub.ParseEntryID(text(i))
		if err != nil {
			return s, errGibber
		}
		at.Epoch = s.Head.Epoch
		if s.start.IsZero() {
			s.start = at
		}
		s.End = at
		data := []byte(text(i + 1))
		if reason := unfit(q.Channel, data, b.limit); reason != "" {
			b.drop(reason, q.Channel, len(data))
			continue
		}
		s.Entries = append(s.Entries, hub.Entry{Position: at, Data: data})
	}
	return s, nil
}

// values return what stands where in an answer; what is of another type is as good
// as missing.
func values(answer []any) (text func(int) string, number func(int) int64) {
	text = func(i int) string { v, _ := answer[i].(string); return v }
	number = func(i int) int64 { v, _ := answer[i].(int64); return v }
	return text, number
}

// unread counts the entries behind the one that has been read, of those kept.
func unread(head hub.Position, kept int64, read string) (int, hub.Position, error) {
	if read == "" {
		return int(kept), hub.Position{}, nil
	}
	at, err := hub.ParseEntryID(read)
	if err != nil {
		return 0, at, errGibber
	}
	at.Epoch = head.Epoch
	if at.Offset >= head.Offset {
		return 0, at, nil
	}
	return int(min(kept, int64(head.Offset-at.Offset))), at, nil //nolint:gosec // kept is small
}
