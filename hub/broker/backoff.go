package broker

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff is an exponential pause with full jitter.
type backoff struct {
	timeRange
	next time.Duration
}

func (b *backoff) reset() { b.next = 0 }

// wait pauses, each time for longer, until ctx ends.
func (b *backoff) wait(ctx context.Context) {
	b.next = min(max(2*b.next, b.min), b.max)
	t := time.NewTimer(jitter(b.next))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func jitter(d time.Duration) time.Duration {
	return rand.N(d) //nolint:gosec // jitter is no secret
}

// after is the pause after the nth failure in a row.
func (r timeRange) after(n int) time.Duration {
	return jitter(min(r.min<<min(n, 10), r.max)) + time.Millisecond
}

// pick is any time of the range.
func (r timeRange) pick() time.Duration { return r.min + jitter(r.max-r.min) }
