package hub

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Refuse makes every further upgrade fail with 503.
func (h *Hub) Refuse() { h.roster.refuse() }

// Drain refuses upgrades and closes all sessions with 4001, each at a random
// moment within spread, so that they do not come back to the other replicas all
// at once. It returns when they are gone; when ctx ends before, it cuts the rest
// at once, waits cutWait at most until these are gone, and returns ctx's error.
func (h *Hub) Drain(ctx context.Context, spread time.Duration) error {
	sessions := h.roster.refuse()
	begin := time.Now()
	for i, at := range moments(len(sessions), spread) {
		if !sleep(ctx, time.Until(begin.Add(at))) {
			break
		}
		sessions[i].cut(CloseRestarting)
	}
	return h.await(ctx)
}

// moments returns n random moments within spread, in order.
func moments(n int, spread time.Duration) []time.Duration {
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = rand.N(max(spread, 1)) //nolint:gosec // spreads load, hides nothing
	}
	slices.Sort(all)
	return all
}

// sleep waits for d and reports whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// await waits for the sessions to be gone, and hangs up on the rest when ctx
// ends. Whoever is left then has a connection that only its server can end: see
// ServeEvents.
func (h *Hub) await(ctx context.Context) error {
	gone := make(chan struct{})
	go func() {
		h.roster.running.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	go h.hangUp() // apart, since a connection that is full may keep it waiting
	select {
	case <-gone:
	case <-time.After(cutWait):
	}
	return ctx.Err()
}

// hangUp cuts every session and does not wait for its peer.
func (h *Hub) hangUp() {
	for _, s := range h.roster.refuse() {
		s.cut(CloseRestarting)
		s.hangUp()
	}
}

// Close closes every session with 4001, waits for them and for the hub's
// goroutines. It takes closeWait at most and is safe to call twice.
func (h *Hub) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait-cutWait)
	defer cancel()
	err := h.Drain(ctx, 0)
	h.closing.Do(h.flushers.close)
	return err
}

// flushers are the goroutines that write, one for each processor.
type flushers struct {
	all  []*flusher
	stop chan struct{}
	done *sync.WaitGroup
}

func startFlushers() flushers {
	f := flushers{stop: make(chan struct{}), done: new(sync.WaitGroup)}
	for range runtime.GOMAXPROCS(0) {
		one := newFlusher()
		f.all = append(f.all, one)
		f.done.Go(func() { one.run(f.stop) })
	}
	return f
}

// pick returns the flusher of the nth session.
func (f flushers) pick(n int32) *flusher { return f.all[int(n)%len(f.all)] }

func (f flushers) close() {
	close(f.stop)
	f.done.Wait()
}
