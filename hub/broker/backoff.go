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
	t := time.NewTimer(rand.N(b.next)) //nolint:gosec // jitter is no secret
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
