package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"aldaba/internal/redistest"

	"github.com/gorilla/websocket"
	"github.com/redis/go-redis/v9"
)

// stallWait is how long a hub lets a socket take nothing before it gives up its
// session.
const stallWait = 10 * time.Second

// beat is a private message that is timed: when it was due, in nanoseconds.
type beat struct {
	Due int64 `json:"due"`
}

// pulse sends a private message to one of the users every two milliseconds, and
// returns how long each took since it was due, once stop is closed.
func pulse(t *testing.T, client *redis.Client, users []*session, stop <-chan struct{}) []time.Duration {
	t.Helper()
	const rate = 2 * time.Millisecond
	next := time.Now()
	for n := 0; ; n++ {
		next = next.Add(rate)
		select {
		case <-stop:
			return latencies(users)
		case <-time.After(time.Until(next)):
		}
		due, _ := json.Marshal(beat{next.UnixNano()}) // a number always can
		if err := client.Publish(context.Background(), "user:"+users[n%len(users)].user, due).Err(); err != nil {
			t.Error(err)
			return nil
		}
	}
}

// timed makes a session note how long its private messages took.
func timed(s *session) {
	s.hear = func(f object) bool {
		data, _ := f["data"].(object)
		due, ok := data["due"].(float64)
		if !ok {
			return f["type"] != "message"
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.took = append(s.took, time.Since(time.Unix(0, int64(due))))
		return false
	}
}

func timedMessages(users []*session) (n int) {
	for _, s := range users {
		s.mu.Lock()
		n += len(s.took)
		s.mu.Unlock()
	}
	return n
}

// latencies takes what was noted, shortest first.
func latencies(users []*session) (all []time.Duration) {
	for _, s := range users {
		s.mu.Lock()
		all = append(all, s.took...)
		s.took = nil
		s.mu.Unlock()
	}
	slices.Sort(all)
	return all
}

func p99(sorted []time.Duration) time.Duration { return sorted[len(sorted)*99/100] }

// TestReadersThatNeverReadAreCut has 500 sessions that read nothing while their
// room is hot: each is cut with 4002, others notice nothing, and afterwards the
// memory is what it was.
func TestReadersThatNeverReadAreCut(t *testing.T) {
	const readers = 500
	server := redistest.Start(t)
	r := serve(t, plain, server, object{"limits": object{"queue": "256KiB", "sessions_per_address": 2000}})
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = client.Close() })

	var users []*session
	for i := range 50 {
		s := r.dial(fmt.Sprint("u", i), object{"rooms": []int{2}})
		timed(s)
		s.begin()
		s.await("welcome", func(f object) bool { return f["type"] == "welcome" })
		users = append(users, s)
	}
	calm := measure(t, client, users, func() {
		eventually(t, "enough to compare with", func() bool { return timedMessages(users) >= 500 })
	})
	heap, rss := r.metric("go_memstats_heap_inuse_bytes"), r.rss()

	stuck := make([]*session, readers)
	for i := range stuck {
		stuck[i] = r.dial(fmt.Sprint("stuck", i), object{"rooms": []int{1}})
	}
	eventually(t, "all are there", func() bool { return r.metric("aldaba_sessions") == readers+50 })
	peak := 0
	hot := measure(t, client, users, func() {
		data := `"` + strings.Repeat("x", 8<<10) + `"`
		eventually(t, "all are cut", func() bool {
			for range 10 {
				if err := client.Publish(context.Background(), "room:1", data).Err(); err != nil {
					t.Error(err)
				}
			}
			peak = max(peak, r.rss())
			return r.metric(`aldaba_cuts_total`) >= readers
		})
	})
	if n := r.metric("aldaba_cuts_total"); n != readers {
		t.Errorf("%v sessions were cut", n)
	}
	var late sync.WaitGroup
	for _, s := range stuck {
		late.Go(func() { // what the code was, they learn when they read at last
			if code := closeCode(s.conn); code != 4002 {
				t.Errorf("%s was closed with %d", s.user, code)
			}
		})
	}
	late.Wait()
	eventually(t, "only the others are left", func() bool { return r.metric("aldaba_sessions") == 50 })
	t.Logf("p99 of the others: %v calm, %v meanwhile; resident memory: %d MiB calm, %d MiB at most", p99(calm), p99(hot), rss>>20, peak>>20)
	// A hub that waits for one of them stalls for as long as a socket may take
	// nothing; a machine that runs other tests at the same time does not.
	if worst := stallWait / 2; p99(hot) > worst {
		t.Errorf("p99 of the others was %v, and %v before", p99(hot), p99(calm))
	}
	if peak > 500<<20 {
		t.Errorf("it took %d MiB", peak>>20)
	}
	// The garbage of the last cycle is in the figure, so it is left to collect some.
	eventually(t, "memory is back", func() bool {
		for range 100 {
			if err := client.Publish(context.Background(), "room:2", `"`+strings.Repeat("x", 8<<10)+`"`).Err(); err != nil {
				t.Error(err)
			}
		}
		return r.metric("go_memstats_heap_inuse_bytes") < 2*heap+8<<20
	})
}

// measure runs what is to happen while private messages are timed.
func measure(t *testing.T, client *redis.Client, users []*session, happens func()) []time.Duration {
	t.Helper()
	stop := make(chan struct{})
	var took []time.Duration
	var done sync.WaitGroup
	done.Go(func() { took = pulse(t, client, users, stop) })
	happens()
	close(stop)
	done.Wait()
	if len(took) == 0 {
		t.Fatal("no message was timed")
	}
	return took
}

// closeCode reads on, and drops what it reads, until it has the close frame.
func closeCode(conn *websocket.Conn) int {
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	for {
		_, _, err := conn.NextReader()
		if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
			return closed.Code
		}
		if err != nil {
			return 0
		}
	}
}
