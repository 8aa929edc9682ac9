package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"time"
)

// What a standby does on one link.

// standBy waits until the recorder's lease is free, takes it, and makes sure that all
// that was recorded before was seen. As long as its link lives it bears a Redis that does
// not answer: it has heard what nobody else may have.
func (r *recorder) standBy(ctx context.Context, l *link) error {
	var done rounds
	for {
		if err := r.over(ctx); err != nil {
			return err
		}
		taken, err := r.standOnce(ctx, &done)
		switch {
		case taken:
			return r.takeOver(ctx, l)
		case err != nil && (isAnswer(err) || errors.Is(err, errFenced) || errors.Is(err, errLeft)):
			return err
		case err != nil || r.leaving():
			r.nap(r.timing.poll)
		default:
			r.idle(ctx, r.timing.poll)
		}
	}
}

// standOnce looks once whether the recorder's lease is to be had.
func (r *recorder) standOnce(ctx context.Context, done *rounds) (taken bool, err error) {
	left, err := r.cedesStanding(ctx, done)
	if left {
		return false, errLeft
	}
	if err == nil {
		taken, err = r.recording.take(ctx)
	}
	if taken || err != nil {
		return taken, err
	}
	return false, r.goRound(ctx, done)
}

// cedesStanding gives up standing by if this replica leaves, unless the recorder is dead,
// or has just left, counting on this standby.
func (r *recorder) cedesStanding(ctx context.Context, last *rounds) (bool, error) {
	if !r.leaving() {
		return false, nil
	}
	if lives, err := r.seesLife(ctx, last); !lives || err != nil {
		return false, err
	}
	return r.standing.cede(ctx, &r.recording, "")
}

// seesLife asks the recorder for a sign of life, and reports whether it has given one.
// (Its lease is none: that outlives its holder.)
func (r *recorder) seesLife(ctx context.Context, last *rounds) (bool, error) {
	r.mu.Lock()
	lives := r.lives
	r.mu.Unlock()
	if now := time.Now(); !lives && now.Sub(last.looked) > r.timing.renew {
		last.looked = now
		return false, r.client.Publish(ctx, r.own("marker"), r.sign).Err()
	}
	return lives, nil
}

// rounds is when a standby last did what it does once in a while.
type rounds struct{ asked, renewed, looked time.Time }

// goRound renews the lease, and asks the recorder how far it is until that is known.
func (r *recorder) goRound(ctx context.Context, last *rounds) error {
	now := time.Now()
	if now.Sub(last.renewed) > r.timing.renew {
		held, err := r.standing.renew(ctx)
		if err != nil {
			return err
		}
		if !held {
			return errFenced
		}
		last.renewed = now
	}
	if r.isExact() || now.Sub(last.asked) <= r.timing.renew {
		return nil
	}
	last.asked = now
	return r.askMarker(ctx)
}

func (r *recorder) isExact() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.metrics.standby.Set(oneIf(r.backlog.exact))
	return r.backlog.exact
}

// markerCut ends the part of a marker that is the lease of the standby that asks: nothing
// if it leaves, and nobody is to count on it.
const markerCut = " "

func (r *recorder) askMarker(ctx context.Context) error {
	marker := r.standing.value + markerCut + rand.Text()
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
		r.letGo(ctx) // what it has not heard it cannot record
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
	r.hearLess(l)
	r.deaf = false // it has listened, or a gap is counted below
	r.standing.release(ctx)
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
