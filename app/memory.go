package main

import (
	"context"
	"runtime/debug"
	"time"
)

const (
	stormLook   = 500 * time.Millisecond
	stormBegins = 500 // sessions more than at the last look
	stormEnds   = 50  // fewer than that
)

// tendMemory gives memory back when many sessions have come at once, as count says, until
// ctx ends. Each leaves 23 KiB of garbage behind, 8 of them buffers of net/http, and the
// heap that this took would stay resident for minutes: 3 KiB for each session
// (docs/performance.md).
func tendMemory(ctx context.Context, count func() int) {
	tick := time.NewTicker(stormLook)
	defer tick.Stop()
	before, storm := count(), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := count()
		more := now - before
		before = now
		if storm && more < stormEnds {
			storm = false
			debug.FreeOSMemory()
		}
		storm = storm || more >= stormBegins
	}
}
