package broker

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aldaba/internal/redistest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// twoOfThree returns a recorder, its exact standby, and a third replica that looks all
// the time whether a place is free.
func twoOfThree(t *testing.T, url string) (one, two, three *rig) {
	t.Helper()
	one = run(t, kept(t, url))
	one.awaitRole(t, roleRecorder)
	two = run(t, kept(t, url))
	two.awaitRole(t, roleStandby)
	three = run(t, kept(t, url), func(t *timing) { t.vacancy = timeRange{time.Millisecond, 2 * time.Millisecond} })
	three.awaitRole(t, roleNone)
	return one, two, three
}

func TestThirdReplicaLeavesTheRecordersPlaceToTheStandby(t *testing.T) {
	url := redistest.Start(t).URL()
	one, two, three := twoOfThree(t, url)
	f := publishPlainly(t, url, flooded...)
	eventually(t, 10*time.Second, "load", func() bool { return client(t, url).Exists(context.Background(), "aldaba:log:{log:c}").Val() == 1 })
	one.dies(t)
	eventually(t, 20*time.Second, "somebody takes over", func() bool { return two.roleIs(roleRecorder) || three.roleIs(roleRecorder) })
	if !two.roleIs(roleRecorder) {
		t.Error("the third replica records what only the standby has heard")
	}
	holdsAll(t, url, f.end(t))
}

func gaps(t testing.TB, r *rig) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	if err := registry.Register(r.metrics.recorderGaps); err != nil {
		t.Fatal(err)
	}
	return metric(t, registry, "aldaba_recorder_gaps_total", "")
}

func TestTimesWithoutAnyListenerAreCounted(t *testing.T) {
	url := redistest.Start(t).URL()
	one := run(t, kept(t, url))
	one.awaitRole(t, roleRecorder)
	two := run(t, kept(t, url))
	two.awaitRole(t, roleStandby)
	if gaps(t, one)+gaps(t, two) != 0 {
		t.Error("a gap is counted before there was one")
	}
	if err := client(t, url).ClientKillByFilter(context.Background(), "TYPE", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the gap is counted", func() bool { return gaps(t, one)+gaps(t, two) > 0 })
}

// TestStandbyCutWhileTakingOver: it cannot know any more what of its backlog is
// recorded, and says so.
func TestStandbyCutWhileTakingOver(t *testing.T) {
	url := redistest.Start(t).URL()
	one := run(t, kept(t, url))
	one.awaitRole(t, roleRecorder)
	var two *rig
	var once sync.Once
	two = runMeddled(t, kept(t, url), &meddler{answered: func(cmd redis.Cmder) error {
		if taking, ok := cmd.(*redis.Cmd); ok && slices.Contains(cmd.Args(), any("aldaba:recorder:{}:term")) && isLater(taking.Val()) {
			once.Do(func() { two.breakLink(errSilent) })
		}
		return nil
	}})
	two.awaitRole(t, roleStandby)
	one.dies(t)
	eventually(t, 20*time.Second, "it records in the end", func() bool { return two.roleIs(roleRecorder) })
	eventually(t, 5*time.Second, "the gap is counted", func() bool { return gaps(t, two) > 0 })
}

// isLater reports whether an answer is that of a taking, and not the first.
func isLater(answer any) bool {
	values, ok := answer.([]any)
	return ok && len(values) == 2 && values[1] == int64(0)
}

// recording reports whether all are what a recorder sends to record.
func recording(all []redis.Cmder) bool {
	return slices.ContainsFunc(all, func(cmd redis.Cmder) bool {
		return len(cmd.Args()) > 1 && cmd.Args()[1] == publishScript.hash
	})
}

// answerless has the recorder lose its lease, and the answers of a transaction.
func answerless(t testing.TB, backend *redis.Client, all []redis.Cmder) error {
	t.Helper()
	if err := backend.Del(context.Background(), "aldaba:recorder:{}").Err(); err != nil {
		t.Error(err)
	}
	for _, cmd := range all {
		cmd.SetErr(io.ErrUnexpectedEOF)
	}
	return io.ErrUnexpectedEOF
}

// TestLeaseAndAnswerLostRecordsOnce: as when a lone replica is frozen while Redis
// records for it.
func TestLeaseAndAnswerLostRecordsOnce(t *testing.T) {
	url := redistest.Start(t).URL()
	backend := client(t, url)
	var lost atomic.Int64
	one := runMeddled(t, kept(t, url), &meddler{transact: func(all []redis.Cmder, do func() error) error {
		err := do()
		if err == nil && recording(all) && lost.Add(1) == 1 {
			return answerless(t, backend, all)
		}
		return err
	}})
	one.awaitRole(t, roleRecorder)
	for n := range 3 {
		say(t, backend, "log:a", fmt.Sprint(n))
	}
	holdsAll(t, url, map[string][]string{"log:a": {"0", "1", "2"}})
	if lost.Load() < 2 {
		t.Error("no answer was lost")
	}
}

// TestHeardBeforeRedisWentIsRecordedAfter: what a lone recorder has heard is not
// forgotten when it cannot record it before its lease runs out.
func TestHeardBeforeRedisWentIsRecordedAfter(t *testing.T) {
	url := redistest.Start(t).URL()
	backend := client(t, url)
	var away atomic.Bool
	one := runMeddled(t, kept(t, url), &meddler{transact: func(all []redis.Cmder, do func() error) error {
		if recording(all) && away.Load() {
			return answerless(t, backend, all)
		}
		return do()
	}})
	one.awaitRole(t, roleRecorder)
	say(t, backend, "log:a", "0") // has the script loaded
	holdsAll(t, url, map[string][]string{"log:a": {"0"}})
	away.Store(true)
	say(t, backend, "log:a", "1")
	one.recorder.mu.Lock()
	former := one.recorder.link
	one.recorder.mu.Unlock()
	eventually(t, 5*time.Second, "it has heard", func() bool {
		one.recorder.mu.Lock()
		defer one.recorder.mu.Unlock()
		return len(one.recorder.queue) == 1
	})
	former.fail(errSilent)
	eventually(t, 10*time.Second, "it listens again", func() bool {
		one.recorder.mu.Lock()
		defer one.recorder.mu.Unlock()
		return one.recorder.link != former && one.recorder.role == roleRecorder
	})
	away.Store(false)
	say(t, backend, "log:a", "2")
	holdsAll(t, url, map[string][]string{"log:a": {"0", "1", "2"}})
}

// TestAnswerLostWithAllDataRecordsOnce: as when Redis goes down and comes back empty. What
// may have been recorded is not recorded again; what was not sent is.
func TestAnswerLostWithAllDataRecordsOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		sent bool
		want []string
		gaps float64
	}{
		{"sent", true, []string{"2"}, 1},
		{"not sent", false, []string{"1", "2"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := redistest.Start(t).URL()
			backend := client(t, url)
			var away atomic.Bool
			one := runMeddled(t, kept(t, url), &meddler{transact: func(all []redis.Cmder, do func() error) error {
				if !recording(all) || !away.CompareAndSwap(true, false) {
					return do()
				}
				lost := error(&net.OpError{Op: "dial", Err: io.ErrUnexpectedEOF})
				if c.sent {
					if err := do(); err != nil {
						t.Error(err)
					}
					lost = io.ErrUnexpectedEOF
				}
				if err := backend.FlushAll(context.Background()).Err(); err != nil {
					t.Error(err)
				}
				for _, cmd := range all {
					cmd.SetErr(lost)
				}
				return lost
			}})
			one.awaitRole(t, roleRecorder)
			say(t, backend, "log:a", "0") // has the script loaded
			holdsAll(t, url, map[string][]string{"log:a": {"0"}})
			away.Store(true)
			say(t, backend, "log:a", "1")
			eventually(t, 10*time.Second, "Redis has lost all", func() bool { return !away.Load() })
			say(t, backend, "log:a", "2")
			holdsAll(t, url, map[string][]string{"log:a": c.want})
			if got := gaps(t, one); got != c.gaps {
				t.Errorf("%v gaps, not %v", got, c.gaps)
			}
		})
	}
}

// TestCountsOfTwoServersDoNotMeet: the lease was first taken of each, and of the second by
// another replica.
func TestCountsOfTwoServersDoNotMeet(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		c, ctx := client(t, url), context.Background()
		one, two := &lease{client: c, key: "k", owner: "one", ttl: time.Hour}, &lease{client: c, key: "k", owner: "two", ttl: time.Hour}
		if taken, err := one.take(ctx); !taken || !one.first || err != nil {
			t.Fatal(taken, err)
		}
		if err := c.FlushAll(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		if taken, err := two.take(ctx); !taken || err != nil {
			t.Fatal(taken, err)
		}
		two.release(ctx)
		if alone, err := one.retake(ctx); alone || err != nil {
			t.Errorf("alone: %v, %v", alone, err)
		}
	})
}

// TestLeaseWhoseAnswerWasLost is found by the next taking, and given up with the rest.
func TestLeaseWhoseAnswerWasLost(t *testing.T) {
	url := redistest.Start(t).URL()
	backend, ctx := client(t, url), context.Background()
	var lost atomic.Bool
	c := client(t, url)
	c.AddHook(&meddler{answered: func(redis.Cmder) error {
		if lost.Load() {
			return io.ErrUnexpectedEOF
		}
		return nil
	}})
	l := &lease{client: c, key: "k", owner: "one", ttl: time.Hour}
	for _, again := range []bool{true, false} {
		lost.Store(true)
		if taken, err := l.take(ctx); taken || err == nil {
			t.Fatal(taken, err)
		}
		lost.Store(false)
		if again {
			if taken, err := l.take(ctx); !taken || err != nil {
				t.Errorf("taken: %v, %v", taken, err)
			}
		}
		l.release(ctx)
		if n := backend.Exists(ctx, "k").Val(); n != 0 {
			t.Error("it is held by nobody")
		}
	}
}

// TestDataLostUnderALease: whoever was sure to hold it takes it again. Whoever was not, as
// after a freeze, leaves it to others.
func TestDataLostUnderALease(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		c, ctx := client(t, url), context.Background()
		l := &lease{client: c, key: "k", owner: "one", ttl: time.Hour}
		if taken, err := l.take(ctx); !taken || err != nil {
			t.Fatal(taken, err)
		}
		for _, sure := range []bool{true, false} {
			if err := c.FlushAll(ctx).Err(); err != nil {
				t.Fatal(err)
			}
			if !sure {
				l.sure = time.Now().Add(-2 * l.ttl)
			}
			alone, err := l.retake(ctx)
			if held := c.Exists(ctx, "k").Val() == 1; alone != sure || held != sure || err != nil {
				t.Errorf("sure %v: alone %v, held %v, %v", sure, alone, held, err)
			}
		}
	})
}

// TestWhoHasNotListenedLooksTwice: after the first look of all it lets those come first who
// have, and nothing that a former link has left makes that shorter.
func TestWhoHasNotListenedLooksTwice(t *testing.T) {
	url := redistest.Start(t).URL()
	b := run(t, Options{URL: url}).Broker
	r := newRecorder(b)
	for _, again := range []bool{false, true} {
		r.signal()
		began := time.Now()
		vacant, err := r.isVacant(t.Context())
		if waited := time.Since(began) >= 2*b.timing.poll; !vacant || err != nil || again && !waited {
			t.Errorf("again %v: vacant %v, waited %v, %v", again, vacant, waited, err)
		}
	}
	if err := client(t, url).Set(t.Context(), r.recording.key, "somebody", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	if vacant, err := r.isVacant(t.Context()); vacant || err != nil {
		t.Errorf("vacant %v, %v", vacant, err)
	}
}
