package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"aldaba/internal/redistest"

	"github.com/redis/go-redis/v9"
)

const (
	// goesOn is how soon after Redis' return a message has to come through.
	goesOn = 3 * time.Second
	// noticed is how soon after the loss of Redis a replica must no longer say
	// that it is ready: by then its last good probe is too old.
	noticed = 3500 * time.Millisecond
)

// traffic publishes numbers to some channels, all the time.
type traffic struct {
	sent  atomic.Int64 // the newest number that may have left
	redis *redis.Client
}

// publishAll starts a backend that says each number on every channel, whatever
// Redis answers. It ends with the test.
func publishAll(t *testing.T, server *redistest.Server, channels []string) *traffic {
	t.Helper()
	p := &traffic{redis: redis.NewClient(&redis.Options{
		Addr: server.Addr(), Protocol: 2, DisableIdentity: true, MaxRetries: -1,
		DialTimeout: 200 * time.Millisecond, ReadTimeout: 200 * time.Millisecond,
	})}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			n := p.sent.Add(1)
			pipe := p.redis.Pipeline()
			for _, channel := range channels {
				pipe.Publish(ctx, channel, n)
			}
			_, _ = pipe.Exec(ctx) // that Redis is away is what this is about
		}
	})
	t.Cleanup(func() {
		cancel()
		done.Wait()
		_ = p.redis.Close()
	})
	return p
}

// watcher is a session that holds each of its channels to the promise: numbers
// rise one by one, or `resync` comes before the next.
type watcher struct {
	*session
	channels []string

	// guarded by session.mu
	last    map[string]int
	resyncs map[string]int
	told    map[string]bool // resync since the last number
	faults  []string
}

func watch(r *replica, user string, claims object, channels ...string) *watcher {
	w := &watcher{
		session: r.dial(user, claims), channels: channels,
		last: map[string]int{}, resyncs: map[string]int{}, told: map[string]bool{},
	}
	w.hear = w.note
	w.begin()
	w.await("welcome", func(f object) bool { return f["type"] == "welcome" })
	return w
}

func (w *watcher) note(f object) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	channel, _ := f["channel"].(string)
	switch f["type"] {
	case "message":
		n, before := int(f["data"].(float64)), w.last[channel]
		if n <= before || n > before+1 && before > 0 && !w.told[channel] {
			w.faults = append(w.faults, fmt.Sprintf("%s: %d after %d, resync: %v", channel, n, before, w.told[channel]))
		}
		w.last[channel], w.told[channel] = n, false
		return false
	case "resync":
		w.resyncs[channel]++
		w.told[channel] = true
		return false
	}
	return true
}

// beyond reports whether every channel has brought a number above n.
func (w *watcher) beyond(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, channel := range w.channels {
		if w.last[channel] <= n {
			return false
		}
	}
	return true
}

// resynced reports whether every channel has been told at least once.
func (w *watcher) resynced() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, channel := range w.channels {
		if w.resyncs[channel] == 0 {
			return false
		}
	}
	return true
}

// polls are what a replica said of itself, all the time.
type polls struct {
	mu  sync.Mutex
	all []poll
}

type poll struct {
	asked, answered time.Time
	ready, alive    int // statuses
}

func pollHealth(t *testing.T, r *replica) *polls {
	t.Helper()
	p := &polls{}
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			one := poll{asked: time.Now()}
			one.ready, one.alive = r.status(r.public, "/readyz"), r.status(r.public, "/healthz")
			one.answered = time.Now()
			p.mu.Lock()
			p.all = append(p.all, one)
			p.mu.Unlock()
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	t.Cleanup(func() { close(stop); done.Wait() })
	return p
}

// judge holds the answers to what was the case: not ready from noticed after the
// loss until the return, and alive all along.
func (p *polls) judge(t *testing.T, lost, back time.Time) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	looked := 0
	for _, one := range p.all {
		if one.alive != http.StatusOK {
			t.Errorf("/healthz said %d", one.alive)
		}
		if one.asked.After(lost.Add(noticed)) && one.answered.Before(back) {
			looked++
			if one.ready != http.StatusServiceUnavailable {
				t.Errorf("/readyz said %d %v after redis was gone", one.ready, one.asked.Sub(lost))
			}
		}
	}
	if back.Sub(lost) > noticed+time.Second && looked == 0 {
		t.Error("nobody looked")
	}
}

// TestRedisOutages has Redis fail in every way while messages are published as
// fast as one connection of a backend does, to two replicas.
func TestRedisOutages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		outage func(*redistest.Server) (back time.Time)
	}{
		{"killed and restarted empty", func(s *redistest.Server) time.Time {
			s.Kill()
			time.Sleep(7 * time.Second) // how long it is away
			s.Start()
			return time.Now()
		}},
		{"restarted at once", func(s *redistest.Server) time.Time {
			s.Kill()
			s.Start()
			return time.Now()
		}},
		{"client kill type pubsub", func(s *redistest.Server) time.Time {
			s.Do("CLIENT", "KILL", "TYPE", "pubsub")
			return time.Now()
		}},
		{"frozen for ten seconds", func(s *redistest.Server) time.Time {
			s.Signal(syscall.SIGSTOP)
			time.Sleep(10 * time.Second) // how long it is frozen
			s.Signal(syscall.SIGCONT)
			return time.Now()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			outage(t, c.outage)
		})
	}
}

func outage(t *testing.T, fail func(*redistest.Server) time.Time) {
	t.Helper()
	server := redistest.Start(t)
	channels := []string{"user:anna", "user:ben", "room:1", "team:red", "broadcast"}
	var watchers []*watcher
	var health []*polls
	for range 2 {
		r := serve(t, plain, server, nil)
		health = append(health, pollHealth(t, r))
		anna := watch(r, "anna", object{"rooms": []int{1}, "teams": []string{"red"}}, "user:anna", "room:1", "team:red", "broadcast")
		anna.ask(object{"type": "subscribe", "channel": "team:red"})
		watchers = append(watchers, anna, watch(r, "ben", nil, "user:ben", "broadcast"))
	}
	traffic := publishAll(t, server, channels)
	everybody := func(ok func(*watcher) bool) func() bool {
		return func() bool {
			for _, w := range watchers {
				if !ok(w) {
					return false
				}
			}
			return true
		}
	}
	beyond := func(n int) func() bool { return everybody(func(w *watcher) bool { return w.beyond(n) }) }
	eventually(t, "traffic", beyond(50))

	lost := time.Now()
	back := fail(server)
	said := int(traffic.sent.Load())
	within(t, goesOn, "delivery goes on", beyond(said))
	took := time.Since(back)
	eventually(t, "resync", everybody((*watcher).resynced))
	eventually(t, "more traffic", beyond(said+100))
	for _, p := range health {
		eventually(t, "ready again", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.all[len(p.all)-1].ready == http.StatusOK
		})
		p.judge(t, lost, back)
	}
	for _, w := range watchers {
		w.mu.Lock()
		for _, fault := range w.faults {
			t.Errorf("%s heard %s", w.user, fault)
		}
		if w.ended {
			t.Errorf("%s was closed with %d", w.user, w.code)
		}
		w.mu.Unlock()
	}
	t.Logf("delivery went on %v after redis' return; %s numbers published", took.Round(time.Millisecond), strconv.FormatInt(traffic.sent.Load(), 10))
}
