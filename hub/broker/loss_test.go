package broker

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"aldaba/internal/redistest"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	stopSignal = syscall.SIGSTOP
	contSignal = syscall.SIGCONT
)

// delivers waits until a message published from now on arrives.
func (r *rig) delivers(t testing.TB, s *redistest.Server, channel string, within time.Duration) {
	t.Helper()
	backend := client(t, s.URL())
	n := 0
	eventually(t, within, "delivery on "+channel, func() bool {
		n++
		mark := fmt.Sprintf(`"mark %p %d"`, t, n)
		if backend.Publish(context.Background(), channel, mark).Err() != nil {
			return false
		}
		deadline := time.Now().Add(20 * time.Millisecond)
		for time.Now().Before(deadline) {
			if r.calls.count("Deliver "+channel+" "+mark) > 0 {
				return true
			}
			time.Sleep(time.Millisecond) // between two looks
		}
		return false
	})
}

func TestKilledAndRestartedUnderLoad(t *testing.T) {
	s := redistest.Start(t)
	registry := prometheus.NewRegistry()
	r := run(t, Options{URL: s.URL(), Metrics: registry})
	r.join(t, "a", "b")
	ctx, cancel := context.WithCancel(context.Background())
	load := make(chan struct{})
	go func() {
		defer close(load)
		for i := 0; ctx.Err() == nil; i++ {
			_ = r.publish(ctx, []string{"a", "b"}[i%2], fmt.Append(nil, i))
		}
	}()
	defer func() { cancel(); <-load }()
	for round := 1; round <= 2; round++ {
		s.Kill()
		eventually(t, time.Second, "not ready", func() bool { return r.Ready() != nil })
		eventually(t, 4*time.Second, "says why", func() bool {
			err := r.Ready().Error()
			return strings.Contains(err, s.Addr()) && strings.Contains(err, "refused")
		})
		fresh := "c" + strconv.Itoa(round) // never confirmed before: no gap
		if r.Subscribe(fresh) || r.Subscribe("a") {
			t.Error("subscribed to a dead redis")
		}
		s.Start()
		back := time.Now()
		r.delivers(t, s, "a", 3*time.Second)
		r.delivers(t, s, fresh, time.Second)
		r.ready(t, 3*time.Second-time.Since(back))
		for _, c := range []string{"a", "b"} {
			if n := r.calls.count("Resync " + c); n != round {
				t.Errorf("round %d: resync of %s came %d times", round, c, n)
			}
		}
		if r.calls.count("Resync "+fresh) != 0 || r.calls.count("Subscribed "+fresh) != 1 {
			t.Errorf("round %d: %s: %q", round, fresh, r.calls.with("Resync "))
		}
		// Somebody asked for a while redis was away: both are told, in this order.
		events := r.calls.all()
		at := slices.Index(events, "Resync a")
		if round == 1 && events[at+1] != "Subscribed a" {
			t.Errorf("after Resync a comes %q", events[at+1])
		}
		r.Unsubscribe(fresh)
	}
	if n := strings.Count(r.log.String(), "redis is away"); n != 2 {
		t.Errorf("the loss was logged %d times", n)
	}
	if n := strings.Count(r.log.String(), "redis is there"); n != 3 {
		t.Errorf("the return was logged %d times", n)
	}
	if n := metric(t, registry, "aldaba_redis_reconnects_total", ""); n != 2 {
		t.Errorf("%v reconnects", n)
	}
	if n := metric(t, registry, "aldaba_gaps_total", ""); n < 4 {
		t.Errorf("%v gaps", n)
	}
}

func TestClientKillResyncs(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, Options{URL: s.URL()})
	r.join(t, "a", "b")
	for round := 1; round <= 3; round++ {
		s.Do("CLIENT", "KILL", "TYPE", "pubsub")
		r.delivers(t, s, "b", 3*time.Second)
		eventually(t, time.Second, "resync of both", func() bool {
			return r.calls.count("Resync a") == round && r.calls.count("Resync b") == round
		})
	}
	if n := len(r.calls.with("Subscribed ")); n != 2 {
		t.Errorf("%d channels were newly subscribed", n)
	}
}

// Exactly the channels that were confirmed and are still wanted, once each.
func TestResyncOfThousands(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		const n = 3000
		wire := startFake(t, strings.TrimPrefix(url, "redis://"))
		r := run(t, Options{URL: wire.url})
		for i := range n {
			r.Subscribe("user:" + strconv.Itoa(i))
		}
		eventually(t, 20*time.Second, "subscribed", func() bool { return len(r.calls.with("Subscribed ")) == n })
		for i := range n / 2 {
			r.Unsubscribe("user:" + strconv.Itoa(2*i))
		}
		wire.cut()
		for i := range n {
			r.Subscribe("room:" + strconv.Itoa(i))
		}
		eventually(t, 20*time.Second, "subscribed", func() bool { return len(r.calls.with("Subscribed room:")) == n })
		eventually(t, 20*time.Second, "resynced", func() bool { return len(r.calls.with("Resync ")) >= n/2 })
		told := map[string]int{}
		for _, channel := range r.calls.with("Resync ") {
			told[channel]++
		}
		for i := range n / 2 {
			if left, stayed := "user:"+strconv.Itoa(2*i), "user:"+strconv.Itoa(2*i+1); told[left] != 0 || told[stayed] != 1 {
				t.Fatalf("%s was told %d times, %s %d times", left, told[left], stayed, told[stayed])
			}
		}
		if len(told) != n/2 {
			t.Errorf("%d channels were told", len(told))
		}
	})
}

func TestFrozenRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	r := run(t, Options{URL: s.URL()}) // with the real budgets
	r.join(t, "a")
	r.ready(t, 5*time.Second)
	s.Signal(stopSignal)
	frozen := time.Now()
	eventually(t, 4500*time.Millisecond, "not ready", func() bool { return r.Ready() != nil })
	t.Log(r.Ready())
	eventually(t, 10*time.Second, "dropped", func() bool { return strings.Contains(r.log.String(), "redis is away") })
	<-time.After(time.Until(frozen.Add(10 * time.Second))) // the time of the freeze itself
	s.Signal(contSignal)
	thawed := time.Now()
	r.delivers(t, s, "a", 3*time.Second)
	r.ready(t, 3*time.Second-time.Since(thawed))
	if n := r.calls.count("Resync a"); n != 1 {
		t.Errorf("resync came %d times", n)
	}
}

func TestFrozenBrieflyLosesNothing(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, Options{URL: s.URL()}, func(t *timing) { t.ping = 100 * time.Millisecond })
	r.join(t, "a")
	s.Signal(stopSignal)
	sent := make(chan error)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // without one the publish gives up after 3 s
	defer cancel()
	go func() { sent <- r.publish(ctx, "a", []byte("1")) }()
	<-time.After(time.Second) // the time of the freeze itself
	s.Signal(contSignal)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	r.calls.await(t, "Deliver a 1")
	if n := r.calls.count("Resync a"); n != 0 {
		t.Errorf("resync came %d times", n)
	}
}

func TestAbsentAtStart(t *testing.T) {
	s := redistest.New(t)
	r := run(t, Options{URL: s.URL()})
	if r.Subscribe("a") {
		t.Error("subscribed to nothing")
	}
	eventually(t, 2*time.Second, "logged", func() bool { return strings.Contains(r.log.String(), "redis is away: connection refused; retrying") })
	if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "redis at "+s.Addr()+" does not answer: connection refused") {
		t.Errorf("ready: %v", err)
	}
	s.Start()
	r.delivers(t, s, "a", 3*time.Second)
	r.ready(t, 3*time.Second)
	if n := strings.Count(r.log.String(), "redis is away"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if r.calls.count("Subscribed a") != 1 || len(r.calls.with("Resync ")) != 0 {
		t.Errorf("calls: %q", r.calls.all())
	}
}

// A receiver that does not keep up makes Redis cut the connection. What is lost
// then is said, and delivery goes on.
func TestOutputBufferOverflowResyncs(t *testing.T) {
	s := redistest.Start(t, "--client-output-buffer-limit", "pubsub", "256kb", "0", "0")
	r := run(t, Options{URL: s.URL()})
	r.join(t, "a")
	block := make(chan struct{})
	r.calls.mu.Lock()
	r.calls.hook = func(string) { <-block }
	r.calls.mu.Unlock()
	backend := client(t, s.URL())
	big := `"` + strings.Repeat("x", 60<<10) + `"`
	eventually(t, 10*time.Second, "redis cuts the subscriber", func() bool {
		n, err := backend.Publish(context.Background(), "a", big).Result()
		return err == nil && n == 0
	})
	close(block)
	r.delivers(t, s, "a", 3*time.Second)
	if n := r.calls.count("Resync a"); n != 1 {
		t.Errorf("resync came %d times", n)
	}
}

// While the receiver works, Redis' answers wait in the socket; that is no silence.
func TestSlowReceiverIsNotTakenForSilence(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, Options{URL: s.URL()}, func(t *timing) {
		t.silence, t.ping, t.tick = 300*time.Millisecond, 50*time.Millisecond, 10*time.Millisecond
		t.probe, t.deaf = 50*time.Millisecond, 100*time.Millisecond
	})
	r.join(t, "a")
	r.calls.mu.Lock()
	r.calls.hook = func(string) { <-time.After(600 * time.Millisecond) } // the work
	r.calls.mu.Unlock()
	for i := range 3 {
		say(t, client(t, s.URL()), "a", strconv.Itoa(i))
	}
	r.calls.await(t, "Deliver a 2")
	if gaps := r.calls.with("Resync "); len(gaps) > 0 {
		t.Error("resync")
	}
}

// After a failover PUBLISH may go to one server while the subscription stays with
// another that answers PINGs and never hears a message.
func TestSubscriptionOnTheWrongServer(t *testing.T) {
	right, wrong := redistest.Start(t), redistest.Start(t)
	timing := defaultTiming
	timing.probe, timing.ping, timing.tick = 50*time.Millisecond, 50*time.Millisecond, 10*time.Millisecond
	timing.deaf = 300 * time.Millisecond
	r := &rig{calls: &calls{}, log: &text{}}
	b, err := newBroker(Options{URL: right.URL(), Logger: r.log.logger()}, timing)
	if err != nil {
		t.Fatal(err)
	}
	r.Broker = b
	var astray atomic.Bool
	send, elsewhere := b.probe.send, client(t, wrong.URL())
	b.probe.send = func(ctx context.Context, channel string, data []byte) error {
		if astray.Load() {
			return elsewhere.Publish(ctx, channel, data).Err()
		}
		return send(ctx, channel, data)
	}
	r.start(t)
	r.join(t, "a")
	r.ready(t, 5*time.Second)
	astray.Store(true)
	r.calls.await(t, "Resync a")
	if !strings.Contains(r.log.String(), errDeaf.Error()) {
		t.Error("the log does not say why")
	}
	astray.Store(false)
	r.ready(t, 5*time.Second)
}

// go-redis reconnects by itself in Receive, Subscribe and Ping. It must not.
func TestTheLibraryCannotReconnect(t *testing.T) {
	s := redistest.Start(t)
	client, _, err := connect(s.URL(), defaultTiming)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	l, err := dial(context.Background(), client, defaultTiming)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if err := l.send(verbSubscribe, []string{"a"}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // pong, subscribed
		if event, err := l.receive(); err != nil {
			t.Fatal(event, err)
		}
	}
	s.Do("CLIENT", "KILL", "TYPE", "pubsub")
	for range 3 {
		if event, err := l.receive(); err == nil {
			t.Fatalf("received %v", event)
		}
		if l.send(verbPing, nil) == nil || l.send(verbSubscribe, []string{"b"}) == nil {
			t.Fatal("sent on a dead link")
		}
	}
	if n := s.Do("PUBSUB", "NUMSUB", "a").([]any)[1]; n != int64(0) {
		t.Errorf("%d subscribers", n)
	}
}
