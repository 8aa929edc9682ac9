package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"aldaba/internal/redistest"
)

// TestDrainedSessionsComeBackSpreadOverTime stops a replica with SIGTERM while
// 2,000 sessions are connected, each of which goes to the other replica as soon
// as it is told to come back. The spread is the hub's doing alone: the JavaScript
// client adds its own.
func TestDrainedSessionsComeBackSpreadOverTime(t *testing.T) {
	t.Parallel()
	const sessions, spread, slices = 2000, 8 * time.Second, 8
	redis := redistest.Start(t)
	old := serve(t, plain, redis, object{"drain": object{"delay": "1s", "spread": spread.String()}})
	other := serve(t, plain, redis, nil)

	all := make([]*session, sessions)
	for i := range all {
		all[i] = old.login(fmt.Sprint("u", i), nil)
	}
	back := make([]time.Duration, sessions)
	begin := time.Now()
	var moved sync.WaitGroup
	for i, s := range all {
		moved.Go(func() {
			if code := s.awaitClose(); code != 4001 {
				t.Errorf("%s was closed with %d", s.user, code)
			}
			other.login(s.user, nil)
			back[i] = time.Since(begin)
		})
	}
	old.terminate()
	eventually(t, "not ready", func() bool { return !old.ready() })
	if n := old.metric("aldaba_sessions"); n != sessions {
		t.Errorf("%v sessions are left while the load balancer learns of it", n)
	}
	moved.Wait()
	old.stop()

	count := make([]int, slices)
	first := back[0]
	for _, at := range back {
		first = min(first, at)
	}
	for _, at := range back {
		count[min(slices-1, int((at-first)*slices/spread))]++
	}
	t.Logf("sessions came back after %v, by eighths of the spread: %v", first.Round(time.Millisecond), count)
	// An even spread has 250 in each. A machine under load may be late with some, but
	// sessions that all come at once fill an eighth or two.
	filled := 0
	for _, n := range count {
		if n > sessions/slices/4 {
			filled++
		}
		if n > sessions*2/5 {
			t.Errorf("%d came back within an eighth", n)
		}
	}
	if filled < slices*5/8 {
		t.Errorf("they came back in %d eighths of the spread", filled)
	}
	if first < 900*time.Millisecond {
		t.Errorf("the first was closed after %v, before the delay was over", first)
	}
	if n := other.metric("aldaba_sessions"); n != sessions {
		t.Errorf("the other replica has %v sessions", n)
	}
}

// TestAReplicaAloneRecordsUntilItEnds publishes plainly on a channel with history while
// the only replica is about to stop, and still has its sessions.
func TestAReplicaAloneRecordsUntilItEnds(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	r := serve(t, plain, redis, object{
		"channels": []object{{"name": "user:{sub}", "history": object{"size": 100, "ttl": "1h"}}},
		"drain":    object{"delay": "3s", "spread": "0s"},
	})
	s := r.login("anna", nil)
	hears := func(n int) {
		redis.Do("PUBLISH", "user:anna", n)
		f := s.await("the message", func(f object) bool { return f["type"] == "message" && f["data"] == float64(n) })
		if f["position"] == nil {
			t.Errorf("%d was not recorded: %v", n, f)
		}
	}
	eventually(t, "it records", func() bool { return r.metric("aldaba_recorder") == 1 })
	hears(1)
	r.terminate()
	eventually(t, "not ready", func() bool { return !r.ready() })
	hears(2)
	if code := s.awaitClose(); code != 4001 {
		t.Errorf("closed with %d", code)
	}
	r.stop()
	if n := redis.Do("XLEN", "aldaba:log:{user:anna}"); n != int64(2) {
		t.Errorf("%v messages were recorded", n)
	}
}

// TestSecondSignalEndsAtOnce does not wait for a drain of minutes.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	r := serve(t, plain, redistest.Start(t), object{"drain": object{"delay": "5m", "spread": "5m"}})
	s := r.login("anna", nil)
	r.terminate()
	eventually(t, "not ready", func() bool { return !r.ready() })
	r.terminate()
	r.hurried = true
	s.awaitClose()
	select {
	case <-r.exited:
	case <-time.After(patience):
		t.Fatal("it waits")
	}
}
