package broker

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// What a recorder and a standby hear, and on which link.

// listen opens a link to the plain messages, and to all that a standby needs.
func (r *recorder) listen(ctx context.Context) (*link, error) {
	l, err := dial(ctx, r.client, r.timing)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, l.close)()
	globs := r.patterns()
	names := r.names(globs)
	err = l.send(verbPSubscribe, globs)
	if err == nil && len(names) > 0 {
		err = l.send(verbSubscribe, names)
	}
	if err == nil {
		err = l.confirmed(len(globs) + len(names))
	}
	if err != nil {
		r.refused(err)
		l.close()
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.link, r.backlog, r.failed, r.ponged = l, newBacklog(heardBytes), nil, time.Time{}
	return l, nil
}

// refused has the next link ask for the other patterns, the whole prefix or the narrower
// ones: a rule may be mended meanwhile. It tells once that neither is allowed.
func (r *recorder) refused(err error) {
	if !redis.IsPermissionError(err) {
		return
	}
	if r.wide {
		r.barred(err)
	}
	r.wide = !r.wide
}

// barred tells of missing rights, which nothing else would: plain PUBLISHes to channels
// with history are heard by nobody then.
func (r *recorder) barred(err error) {
	if unlogged, ok := r.drops.allow("recorder", time.Now()); ok {
		r.log.Error("redis does not let this user record plain publishes to channels with history; see its ACL in docs/operations.md",
			"redis", r.server, "error", describe(err), "unlogged", unlogged)
	}
}

// plainGlobs returns the patterns of plain messages. An ACL rule `&app:*` lets a user
// subscribe to the pattern `app:*` and to no narrower one.
func (r *recorder) plainGlobs() []string {
	if r.wide {
		return []string{escapeGlob(r.prefix) + "*"}
	}
	return slices.Clone(r.globs)
}

// patterns returns those of plain messages and of their twins.
func (r *recorder) patterns() []string {
	all := r.plainGlobs()
	for _, g := range all {
		if head, wide := cutStar(g); wide {
			all = append(all, liveHead+head+"*")
		} else {
			all = append(all, liveHead+g+liveTail)
		}
	}
	return withoutCovered(all)
}

// names returns the channels of the recorder and its standby that globs do not cover.
func (r *recorder) names(globs []string) (names []string) {
	for _, kind := range []string{"marker", "marked", "handover"} {
		name := r.own(kind)
		if !slices.ContainsFunc(globs, func(g string) bool { return matchGlob(g, name) }) {
			names = append(names, name)
		}
	}
	return names
}

// hearLess leaves what a recorder has no use for, the twins: it has published them. It
// saves time and nothing else, so that no failure of it matters.
func (r *recorder) hearLess(l *link) {
	needed := r.plainGlobs()
	spare := slices.DeleteFunc(r.patterns(), func(g string) bool { return slices.Contains(needed, g) })
	if len(spare) > 0 {
		_ = l.send(verbPUnsubscribe, spare) // a broken link tells by itself
	}
}

// confirmed waits until n subscriptions stand.
func (l *link) confirmed(n int) error {
	for n > 0 {
		event, err := l.receive()
		if err != nil {
			return err
		}
		switch e := event.(type) {
		case refused:
			return e.err
		case changed:
			n--
		}
	}
	return nil
}

// receive takes what the link brings until it breaks.
func (r *recorder) receive(l *link) {
	for {
		event, err := l.receive()
		r.mu.Lock()
		wakes := true // a standby only keeps what it hears
		switch e := event.(type) {
		case *redis.Message:
			wakes = r.heard(e) || r.role == roleRecorder
		case pong:
			r.ponged = e.sent
		case refused:
			if e.request.verb != verbPUnsubscribe {
				err = e.err
			}
		}
		if err != nil {
			r.failed = err
		}
		r.mu.Unlock()
		if wakes {
			r.signal()
		}
		if err != nil {
			return
		}
	}
}

func (r *recorder) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// heard takes one message, and reports whether it is of those by which recorder and
// standby understand each other. r.mu is held.
func (r *recorder) heard(m *redis.Message) bool {
	switch m.Channel {
	case r.own("marker"):
		r.backlog.sawMarker(m.Payload)
		if r.role == roleRecorder {
			r.queue = append(r.queue, heard{marker: m.Payload})
		}
		return true
	case r.own("marked"):
		r.backlog.sawAnswer(m.Payload)
		r.lives = r.lives || m.Payload == r.sign
		return true
	case r.own("handover"):
		return true
	}
	channel, live, ok := r.unwire(m.Channel)
	if _, keeps := r.histories.Of(channel); !ok || !keeps {
		return false
	}
	switch {
	case live && r.role == roleRecorder:
	case live:
		if s, ok := parseStamp(m.Payload); ok && s.origin == recordedPlain && !r.backlog.sawTwin(channel, s.data) {
			r.log.Warn("standby has lost its place; joining again", "channel", channel)
		}
	default:
		r.plain(channel, m.Payload)
	}
	return false
}

// plain takes one plain message. r.mu is held.
func (r *recorder) plain(channel, data string) {
	if reason := unfit(channel, []byte(data), r.limit); reason != "" {
		if r.role == roleRecorder {
			r.drop(reason, channel, len(data))
		}
		return
	}
	switch {
	case r.role != roleRecorder:
		if !r.backlog.hear(channel, data) { // the recorder is far behind
			r.backlog = newBacklog(heardBytes)
		}
	case r.bytes+len(data)+heardCost > heardBytes:
		r.drop(reasonBacklog, channel, len(data))
		r.metrics.recorderGaps.Inc()
	default:
		r.queue = append(r.queue, heard{channel: channel, data: data})
		r.bytes += len(data) + heardCost
	}
}
