package main

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestMemoryIsGivenBackAfterAStorm: FreeOSMemory runs a collection, which nothing else
// does in here within seconds.
func TestMemoryIsGivenBackAfterAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var sessions atomic.Int64
		done := make(chan struct{})
		go func() {
			defer close(done)
			tendMemory(ctx, func() int { return int(sessions.Load()) })
		}()
		forced := func() uint32 {
			time.Sleep(stormLook)
			synctest.Wait()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.NumForcedGC
		}
		before := forced()
		sessions.Add(stormBegins - 1)
		if forced(); forced() != before {
			t.Error("a few sessions are no storm")
		}
		for range 3 {
			sessions.Add(stormBegins)
			if forced() != before {
				t.Error("it was collected while they came")
			}
		}
		sessions.Add(stormEnds - 1)
		if forced() != before+1 {
			t.Error("nothing was given back")
		}
		if forced() != before+1 {
			t.Error("it was given back twice")
		}
		cancel()
		<-done
	})
}
