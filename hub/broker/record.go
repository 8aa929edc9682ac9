package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"time"
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
	r.queue, r.bytes, r.count, r.seq = nil, 0, rand.Text(), 0
}
