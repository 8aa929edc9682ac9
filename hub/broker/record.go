package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// What a recorder does on one link.

// work fills a role until it ends.
func (r *recorder) work(ctx context.Context, l *link, as role) error {
	if as == roleRecorder {
		r.become(roleRecorder)
		r.hearLess(l)
		if r.deaf {
			r.gap("no recorder listened for a while, and no standby")
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

// over says why a role has to end: ctx or the link.
func (r *recorder) over(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.failed != nil:
		return r.failed
	case ctx.Err() != nil:
		return errLeft
	}
	return nil
}

// enqueue has all recorded. r.mu is held.
func (r *recorder) enqueue(all []heard) {
	for _, h := range all {
		r.queue = append(r.queue, h)
		r.bytes += len(h.data) + heardCost
	}
}

// record records what is heard, until the role ends.
func (r *recorder) record(ctx context.Context, l *link) error {
	renewed := time.Now()
	var leaves farewell
	for {
		if err := r.over(ctx); err != nil {
			return r.end(ctx, l, err, "")
		}
		if due, heir := leaves.due(ctx, r); due {
			if err := r.end(ctx, l, errLeft, heir); !errors.Is(err, errNoHeir) {
				return err
			}
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
		case n == 0 && r.leaving():
			r.nap(r.timing.poll)
		case n == 0:
			r.idle(ctx, r.timing.poll)
		}
	}
}

// farewell is when a recorder that is to leave does.
type farewell struct{ begun, looked time.Time }

// due reports whether it is time: to an heir, or, without one, because nobody else is
// there or it has waited long enough.
func (f *farewell) due(ctx context.Context, r *recorder) (due bool, heir string) {
	now := time.Now()
	if !r.leaving() || now.Sub(f.looked) < r.timing.poll {
		return false, ""
	}
	if f.begun.IsZero() {
		f.begun = now
	}
	f.looked = now
	standby, err := r.client.Get(ctx, r.standing.key).Result()
	if err == nil && standby == r.follower {
		return true, standby
	}
	return now.Sub(f.begun) > r.timing.heir || errors.Is(err, redis.Nil) && r.isAlone(ctx), ""
}

// isAlone reports whether no other replica is there.
func (r *recorder) isAlone(ctx context.Context) bool {
	channel := r.name(r.receipts.channel) // which all replicas listen to
	replicas, err := r.client.PubSubNumSub(ctx, channel).Result()
	return err == nil && replicas[channel] <= 1
}

// end ends the role: what was heard by now is recorded. A recorder that has become deaf
// gives the lease to its standby; without one it keeps it, and comes back. With an heir
// the role ends only if that standby is still there; else end returns errNoHeir.
func (r *recorder) end(ctx context.Context, l *link, why error, heir string) error {
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
	if heir != "" {
		if ceded, err := r.recording.cede(bound, &r.standing, heir); !ceded || err != nil {
			return errors.Join(errNoHeir, err)
		}
	}
	stood, err := r.standing.held(bound)
	if r.deaf = !leaves && (err != nil || !stood); r.deaf {
		return why
	}
	r.letGo(ctx)
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
	alone, err := r.regain(ctx)
	if alone {
		r.log.Warn("the recorder's lease was lost, and is held again")
		return nil
	}
	r.recording.release(ctx)
	r.log.Warn("another replica records plain publishes now")
	return errors.Join(errFenced, err)
}

// regain takes the lease that was found lost, and reports whether nobody else can have
// recorded meanwhile.
func (r *recorder) regain(ctx context.Context, before ...*lease) (bool, error) {
	alone, err := r.recording.retake(ctx, before...)
	if alone && r.recording.first && r.open > 0 {
		// With the data went what the script knows of them. If they were recorded they
		// may have been delivered, and all who did not hear them are told of the loss.
		r.taken(r.open)
		r.gap("redis has lost its data, and whether these were recorded")
	}
	return alone, err
}

// forget drops the queue. r.mu is held.
func (r *recorder) forget() {
	r.queue, r.bytes, r.count, r.seq, r.open = nil, 0, rand.Text(), 0, 0
}
