package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// What a recorder and a standby do on one link.

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

// patterns returns those of plain messages and of their twins. An ACL rule `&app:*` lets a
// user subscribe to the pattern `app:*` and to no narrower one.
func (r *recorder) patterns() []string {
	globs := r.globs
	if r.wide {
		globs = []string{escapeGlob(r.prefix) + "*"}
	}
	all := slices.Clone(globs)
	for _, g := range globs {
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
		switch e := event.(type) {
		case *redis.Message:
			r.heard(e)
		case pong:
			r.ponged = e.sent
		case refused:
			err = e.err
		}
		if err != nil {
			r.failed = err
		}
		r.mu.Unlock()
		r.signal()
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

// heard takes one message. r.mu is held.
func (r *recorder) heard(m *redis.Message) {
	switch m.Channel {
	case r.own("marker"):
		r.backlog.sawMarker(m.Payload)
		if r.role == roleRecorder {
			r.queue = append(r.queue, heard{marker: m.Payload})
		}
		return
	case r.own("marked"):
		r.backlog.sawAnswer(m.Payload)
		return
	case r.own("handover"):
		return
	}
	channel, live, ok := r.unwire(m.Channel)
	if _, keeps := r.histories.Of(channel); !ok || !keeps {
		return
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

// work fills a role until it ends.
func (r *recorder) work(ctx context.Context, l *link, as role) error {
	if as == roleRecorder {
		r.become(roleRecorder)
		if r.deaf {
			r.gap("the link broke, and there was no standby")
		}
		r.deaf = false
	} else {
		r.become(roleStandby)
		if err := r.standBy(ctx, l); err != nil {
			return err
		}
	}
	return r.record(ctx, l)
}

// enqueue has all recorded. r.mu is held.
func (r *recorder) enqueue(all []heard) {
	for _, h := range all {
		r.queue = append(r.queue, h)
		r.bytes += len(h.data) + heardCost
	}
}

// standBy waits until the recorder's lease is free, takes it, and makes sure that all
// that was recorded before was seen.
func (r *recorder) standBy(ctx context.Context, l *link) error {
	var asked, renewed time.Time
	for {
		if err := r.over(ctx); err != nil {
			return err
		}
		taken, err := r.recording.take(ctx)
		if err != nil {
			return err
		}
		if taken {
			return r.takeOver(ctx, l)
		}
		now := time.Now()
		if now.Sub(renewed) > r.timing.renew {
			if held, err := r.standing.renew(ctx); !held || err != nil {
				return errors.Join(err, errFenced)
			}
			renewed = now
		}
		if !r.isExact() && now.Sub(asked) > r.timing.renew {
			asked = now
			if err := r.askMarker(ctx); err != nil {
				return err
			}
		}
		r.idle(ctx, r.timing.poll)
	}
}

// over says why a role has to end: ctx, the link, or that this replica leaves.
func (r *recorder) over(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.failed != nil:
		return r.failed
	case ctx.Err() != nil || r.leaving():
		return errLeft
	}
	return nil
}

func (r *recorder) isExact() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.metrics.standby.Set(oneIf(r.backlog.exact))
	return r.backlog.exact
}

func (r *recorder) askMarker(ctx context.Context) error {
	marker := rand.Text()
	r.mu.Lock()
	r.backlog.ask(marker)
	r.mu.Unlock()
	return r.client.Publish(ctx, r.own("marker"), marker).Err()
}

// takeOver goes on where the former recorder ended. It holds the lease: that one can
// record nothing any more, and what it recorded is on the link before the answer to a
// PING that is sent now.
func (r *recorder) takeOver(ctx context.Context, l *link) error {
	r.mu.Lock()
	from := r.backlog.next
	r.mu.Unlock()
	if err := r.barrier(ctx, l); err != nil {
		return err
	}
	r.mu.Lock()
	exact := r.backlog.exact
	if exact {
		from = 0
	}
	rest := r.backlog.drain(from)
	r.enqueue(rest)
	r.role = roleRecorder
	r.mu.Unlock()
	r.standing.release(ctx)
	r.standing.value = ""
	r.metrics.recorder.Set(1)
	r.metrics.standby.Set(0)
	r.metrics.takeovers.Inc()
	r.log.Info("took over recording plain publishes", "exact", exact, "unrecorded", len(rest))
	if !exact {
		r.gap("the standby had not caught up when the recorder was gone")
	}
	return nil
}

// barrier waits until everything that Redis has sent on l by now was received.
func (r *recorder) barrier(ctx context.Context, l *link) error {
	asked := time.Now()
	if err := l.send(verbPing, nil); err != nil {
		return err
	}
	for {
		r.mu.Lock()
		failed, done := r.failed, !r.ponged.Before(asked)
		r.mu.Unlock()
		switch {
		case failed != nil:
			return failed
		case done:
			return nil
		case ctx.Err() != nil && time.Since(asked) > r.timing.command:
			return errLeft
		}
		r.nap(r.timing.poll)
	}
}

// nap waits for d or until something was heard.
func (r *recorder) nap(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-r.wake:
	case <-t.C:
	}
}

// record records what is heard, until the role ends.
func (r *recorder) record(ctx context.Context, l *link) error {
	renewed := time.Now()
	for {
		if err := r.over(ctx); err != nil {
			return r.end(ctx, l, err)
		}
		if time.Since(renewed) > r.timing.renew {
			renewed = time.Now()
			if err := r.keepLease(ctx); err != nil {
				return err
			}
		}
		n, err := r.recordSome(ctx, maxRecords)
		switch {
		case errors.Is(err, errFenced):
			if err := r.fenced(ctx); err != nil {
				return err
			}
		case err != nil: // made again: the script knows what it has
			r.log.Debug("not recorded yet", "error", describe(err))
			r.nap(r.timing.poll)
		case n == 0:
			r.idle(ctx, r.timing.poll)
		}
	}
}

// end ends the role: what was heard by now is recorded. A recorder that has become deaf
// gives the lease to its standby; without one it keeps it, and comes back.
func (r *recorder) end(ctx context.Context, l *link, why error) error {
	leaves := errors.Is(why, errLeft)
	if leaves {
		if err := r.barrier(ctx, l); err != nil {
			r.log.Debug("not sure that all was heard", "error", describe(err))
		}
	}
	r.mu.Lock()
	left := len(r.queue) // what comes now is heard by the standby, too
	r.mu.Unlock()
	for left > 0 {
		n, err := r.recordSome(ctx, min(left, maxRecords))
		if errors.Is(err, errFenced) {
			err = r.fenced(ctx)
		}
		if err != nil {
			r.deaf = true
			return errors.Join(why, err)
		}
		left -= n
	}
	bound, cancel := r.toTheEnd(ctx)
	defer cancel()
	stood, err := r.standing.held(bound)
	if r.deaf = !leaves && (err != nil || !stood); r.deaf {
		return why
	}
	r.letGo(ctx)
	r.forget()
	if !leaves {
		r.idle(ctx, r.timing.lease) // the standby is to be first
	}
	return why
}

// keepLease renews the lease, as far as Redis answers.
func (r *recorder) keepLease(ctx context.Context) error {
	ctx, cancel := r.toTheEnd(ctx)
	defer cancel()
	held, err := r.recording.renew(ctx)
	if err == nil && !held {
		return r.fenced(ctx)
	}
	return nil
}

// fenced goes on if the lease is free again and nobody else can have recorded
// meanwhile. Else what is queued is another's to record.
func (r *recorder) fenced(ctx context.Context) error {
	ctx, cancel := r.toTheEnd(ctx)
	defer cancel()
	alone, err := r.recording.retake(ctx)
	if alone {
		r.seq = 0
		r.log.Warn("the recorder's lease was lost, and is held again")
		return nil
	}
	r.recording.release(ctx)
	r.recording.value = ""
	r.forget()
	r.log.Warn("another replica records plain publishes now")
	return errors.Join(errFenced, err)
}

func (r *recorder) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue, r.bytes, r.seq = nil, 0, 0
}

// recordSome records the front of the queue, most messages at most, and returns how
// many it took.
func (r *recorder) recordSome(ctx context.Context, most int) (int, error) {
	r.mu.Lock()
	batch := r.queue[:min(len(r.queue), most)]
	r.mu.Unlock()
	if len(batch) == 0 {
		return 0, nil
	}
	if batch[0].marker != "" {
		return 1, r.answerMarker(ctx, batch[0].marker)
	}
	if i := slices.IndexFunc(batch, func(h heard) bool { return h.marker != "" }); i > 0 {
		batch = batch[:i]
	}
	ctx, cancel := r.toTheEnd(ctx)
	defer cancel()
	if err := r.recordBatch(ctx, batch); err != nil {
		return 0, err
	}
	r.taken(len(batch))
	r.metrics.recorded.Add(float64(len(batch)))
	return len(batch), nil
}

// answerMarker tells a standby that all before its marker is recorded.
func (r *recorder) answerMarker(ctx context.Context, marker string) error {
	ctx, cancel := r.toTheEnd(ctx)
	defer cancel()
	if err := r.client.Publish(ctx, r.own("marked"), marker).Err(); err != nil {
		return err
	}
	r.taken(1)
	return nil
}

// taken takes n off the front of the queue.
func (r *recorder) taken(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.queue[:n] {
		if h.marker == "" {
			r.bytes -= len(h.data) + heardCost
			r.seq++
		}
	}
	clear(r.queue[:n])
	r.queue = r.queue[n:]
	if len(r.queue) == 0 {
		r.queue = nil
	}
}

// recordBatch runs the publish script for batch in one transaction, so that none of it
// is recorded before another that it follows. One whose answer was lost may be made
// again: the script knows the numbers.
func (r *recorder) recordBatch(ctx context.Context, batch []heard) error {
	err := r.transact(ctx, batch)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		if err := r.client.ScriptLoad(ctx, publishScript.text).Err(); err != nil {
			return err
		}
		err = r.transact(ctx, batch)
	}
	return err
}

func (r *recorder) transact(ctx context.Context, batch []heard) error {
	pipe := r.client.TxPipeline()
	answers := make([]*redis.Cmd, len(batch))
	for i, h := range batch {
		kept, _ := r.histories.Of(h.channel)
		args := append([]any{h.data}, keptArgs(kept)...)
		args = append(args, "lease", r.recording.key, "gen", r.recording.value, "seq", r.seq+uint64(i)+1, "origin", string(recordedPlain))
		answers[i] = pipe.EvalSha(ctx, publishScript.hash, []string{r.name(h.channel)}, args...)
	}
	_, err := pipe.Exec(ctx)
	if err != nil && answers[0].Err() == nil {
		err = nil // one of the commands, see below
	}
	if err != nil && !isAnswer(err) {
		return err
	}
	for i, answer := range answers {
		if err := r.judge(batch[i], answer.Err()); err != nil {
			return err
		}
	}
	return nil
}

func isAnswer(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer)
}

// judge says whether err, of one message, stands in the way of the others.
func (r *recorder) judge(h heard, err error) error {
	switch {
	case err == nil:
		return nil
	case redis.HasErrorPrefix(err, "FENCED"):
		return errFenced
	case strings.Contains(err.Error(), "WRONGTYPE"): // somebody else uses the channel's keys
		r.drop(reasonKeys, h.channel, len(h.data))
		return nil
	}
	return fmt.Errorf("record: %w", err)
}
