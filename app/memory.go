package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"time"
)

// ballast is memory that is never touched, and so never resident, in bytes. The
// collector takes it for live and waits for as much more garbage, which halves the
// collections while the first thousands of sessions come (docs/performance.md).
const ballast = 16 << 20

const (
	stormLook   = 500 * time.Millisecond
	stormBegins = 500 // sessions more than at the last look
	stormEnds   = 50  // fewer than that
)

// tendMemory gives memory back when many sessions have come at once, as count says, until
// ctx ends. Each leaves 22 KiB of garbage behind, 8 of them buffers of net/http, and the
// heap that this took would stay resident for minutes: 3 KiB for each session
// (docs/performance.md).
func tendMemory(ctx context.Context, count func() int) {
	kept := make([]byte, ballast)
	defer runtime.KeepAlive(&kept)
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
