package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"aldaba/auth"
	"aldaba/hub"
	"aldaba/internal/redistest"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// kept are the options of a broker whose channels log:* keep everything.
func kept(t testing.TB, url string) Options {
	t.Helper()
	policy, err := auth.NewPolicy([]auth.Pattern{
		{Name: "log:*", Join: auth.JoinOnRequest, History: &auth.History{Size: 10_000, TTL: time.Hour}},
		{Name: "log:*:x", Join: auth.JoinOnRequest, History: &auth.History{Size: 10, TTL: time.Hour}},
		{Name: "plain:*", Join: auth.JoinOnRequest},
	})
	if err != nil {
		t.Fatal(err)
	}
	return Options{URL: url, Histories: policy.Histories()}
}

func (r *rig) roleIs(as role) bool {
	r.mu.Lock()
	one := r.recorder
	r.mu.Unlock()
	if one == nil {
		return false
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	return one.role == as && (as != roleStandby || one.backlog.exact)
}

func (r *rig) awaitRole(t testing.TB, as role) {
	t.Helper()
	eventually(t, 20*time.Second, "role "+string(as), func() bool { return r.roleIs(as) })
}

func TestAloneItRecordsPlainPublishes(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, kept(t, url))
		r.awaitRole(t, roleRecorder)
		r.join(t, "log:a", "log:a:x", "plain:a")
		backend := client(t, url)
		var want []string
		for i := range 300 {
			channel := []string{"log:a", "log:a:x", "plain:a"}[i%3]
			say(t, backend, channel, fmt.Sprint(i))
			if i%3 == 0 {
				want = append(want, fmt.Sprint(i))
			}
		}
		say(t, backend, "log:a", "not json")
		say(t, backend, "log:unheard", "1")
		say(t, backend, "log:a", `"last"`)
		r.calls.await(t, `Deliver log:a "last"`)
		if diff := cmp.Diff(append(want, `"last"`), r.calls.with("Deliver log:a ")); diff != "" {
			t.Error(diff)
		}
		for _, channel := range []string{"log:a:x", "plain:a"} {
			eventually(t, 5*time.Second, channel, func() bool { return len(r.calls.with("Deliver "+channel+" ")) == 100 })
		}
		eventually(t, 5*time.Second, "a channel that nobody hears", func() bool {
			p, _ := page(t, r.Broker, hub.Query{Channel: "log:unheard"})
			return p.Head.Offset == 1
		})
	})
}

// flood publishes plainly from its beginning to stop, and returns what it published.
type flood struct {
	stop chan struct{}
	done sync.WaitGroup
	sent map[string][]string // by channel
	err  error
}

func publishPlainly(t testing.TB, url string, channels ...string) *flood {
	f := &flood{stop: make(chan struct{}), sent: map[string][]string{}}
	backend := client(t, url)
	f.done.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-f.stop:
				return
			default:
			}
			_, f.err = backend.Pipelined(context.Background(), func(p redis.Pipeliner) error {
				for _, c := range channels {
					p.Publish(context.Background(), c, fmt.Sprint(n))
					f.sent[c] = append(f.sent[c], fmt.Sprint(n))
				}
				return nil
			})
			if f.err != nil {
				return
			}
			time.Sleep(time.Millisecond) // a rate that the race detector bears
		}
	})
	return f
}

func (f *flood) end(t testing.TB) map[string][]string {
	t.Helper()
	close(f.stop)
	f.done.Wait()
	if f.err != nil {
		t.Fatal(f.err)
	}
	return f.sent
}

// logged returns the data of channel's log.
func logged(t testing.TB, url, channel string) (all []string) {
	t.Helper()
	entries, err := client(t, url).XRange(context.Background(), "aldaba:log:{"+channel+"}", "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Values["d"].(string))
	}
	return all
}

// holdsAll waits until the logs have what was sent, once and in order.
func holdsAll(t testing.TB, url string, sent map[string][]string) {
	t.Helper()
	for channel, want := range sent {
		eventually(t, 20*time.Second, "all of "+channel, func() bool {
			got := logged(t, url, channel)
			return len(got) >= len(want) && got[len(got)-1] == want[len(want)-1]
		})
		if diff := cmp.Diff(want, logged(t, url, channel)); diff != "" {
			t.Errorf("%s differs (-sent +logged):\n%s", channel, diff)
		}
	}
}

var flooded = []string{"log:a", "log:b", "log:c"}

func TestHandOverUnderLoad(t *testing.T) {
	url := redistest.Start(t).URL()
	one := run(t, kept(t, url))
	one.awaitRole(t, roleRecorder)
	f := publishPlainly(t, url, flooded...)
	two := run(t, kept(t, url))
	two.awaitRole(t, roleStandby) // it joins under load
	two.join(t, "log:a")
	three := run(t, kept(t, url))
	one.HandOver(t.Context())
	two.awaitRole(t, roleRecorder)
	three.awaitRole(t, roleStandby)
	two.HandOver(t.Context())
	three.awaitRole(t, roleRecorder)
	time.Sleep(100 * time.Millisecond) // of load on the last one
	sent := f.end(t)
	holdsAll(t, url, sent)
	last := sent["log:a"][len(sent["log:a"])-1]
	two.calls.await(t, "Deliver log:a "+last)
	got := two.calls.with("Deliver log:a ")
	all := sent["log:a"]
	if !slices.Equal(got, all[len(all)-len(got):]) {
		t.Error("what was delivered has a gap or a double")
	}
}

func TestRecorderAndStandbyThatLeaveTogetherWaitForTheThird(t *testing.T) {
	url := redistest.Start(t).URL()
	one := run(t, kept(t, url))
	one.awaitRole(t, roleRecorder)
	two := run(t, kept(t, url))
	two.awaitRole(t, roleStandby)
	three := run(t, kept(t, url))
	f := publishPlainly(t, url, flooded...)
	var both sync.WaitGroup
	for _, r := range []*rig{one, two} {
		both.Go(func() { r.HandOver(t.Context()) })
	}
	both.Wait()
	three.awaitRole(t, roleRecorder)
	time.Sleep(100 * time.Millisecond) // of load on the last one
	holdsAll(t, url, f.end(t))
	if gaps(t, three) != 0 {
		t.Error("it counts a gap")
	}
}

// TestStandbyThatLeavesOutlivesItsRecorder: as long as nobody knows yet that the recorder
// is dead, the standby alone hears what is published.
func TestStandbyThatLeavesOutlivesItsRecorder(t *testing.T) {
	url := redistest.Start(t).URL()
	one := run(t, kept(t, url))
	one.awaitRole(t, roleRecorder)
	two := run(t, kept(t, url))
	two.awaitRole(t, roleStandby)
	three := run(t, kept(t, url))
	f := publishPlainly(t, url, flooded...)
	eventually(t, 10*time.Second, "load", func() bool { return client(t, url).Exists(context.Background(), "aldaba:log:{log:c}").Val() == 1 })
	one.dies(t)
	two.HandOver(t.Context())
	three.awaitRole(t, roleRecorder)
	time.Sleep(100 * time.Millisecond) // of load on the last one
	holdsAll(t, url, f.end(t))
	if gaps(t, three) != 0 {
		t.Error("it counts a gap")
	}
}

// dies has a recorder vanish as a killed process does: its connections break, and it
// releases nothing.
func (r *rig) dies(t testing.TB) {
	t.Helper()
	if err := r.client.Close(); err != nil {
		t.Fatal(err)
	}
	r.breakLink(errSilent)
}

func (r *rig) breakLink(err error) {
	r.recorder.mu.Lock()
	l := r.recorder.link
	r.recorder.mu.Unlock()
	l.fail(err)
}

func TestTakeOverFromTheDead(t *testing.T) {
	url := redistest.Start(t).URL()
	one, two := run(t, kept(t, url)), run(t, kept(t, url))
	eventually(t, 20*time.Second, "roles", func() bool {
		return one.roleIs(roleRecorder) && two.roleIs(roleStandby) || two.roleIs(roleRecorder) && one.roleIs(roleStandby)
	})
	if two.roleIs(roleRecorder) {
		one, two = two, one
	}
	f := publishPlainly(t, url, flooded...)
	eventually(t, 10*time.Second, "load", func() bool { return client(t, url).Exists(context.Background(), "aldaba:log:{log:c}").Val() == 1 })
	one.dies(t)
	two.awaitRole(t, roleRecorder)
	holdsAll(t, url, f.end(t))
}

func TestDeafRecorderGivesWay(t *testing.T) {
	url := redistest.Start(t).URL()
	one := run(t, kept(t, url))
	one.awaitRole(t, roleRecorder)
	two := run(t, kept(t, url))
	two.awaitRole(t, roleStandby)
	f := publishPlainly(t, url, flooded...)
	one.breakLink(errSilent)
	two.awaitRole(t, roleRecorder)
	one.awaitRole(t, roleStandby)
	holdsAll(t, url, f.end(t))
}

func TestFencedRecorderRecordsNothing(t *testing.T) {
	url := redistest.Start(t).URL()
	one := run(t, kept(t, url))
	one.awaitRole(t, roleRecorder)
	backend := client(t, url)
	if err := backend.Set(context.Background(), "aldaba:recorder:{}", "somebody else", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	say(t, backend, "log:a", "1")
	eventually(t, 10*time.Second, "it steps down", func() bool { return !one.roleIs(roleRecorder) })
	if got := logged(t, url, "log:a"); len(got) != 0 {
		t.Errorf("it recorded %q", got)
	}
	if err := backend.Del(context.Background(), "aldaba:recorder:{}").Err(); err != nil {
		t.Fatal(err)
	}
	one.awaitRole(t, roleRecorder)
	say(t, backend, "log:a", "2")
	holdsAll(t, url, map[string][]string{"log:a": {"2"}})
}

// TestRecorderThatIsFencedForgets: what it hears until its link ends is another's to
// record, and must not wait until it records again.
func TestRecorderThatIsFencedForgets(t *testing.T) {
	url := redistest.Start(t).URL()
	backend := client(t, url)
	both := []*rig{run(t, kept(t, url))}
	both[0].awaitRole(t, roleRecorder)
	both = append(both, run(t, kept(t, url)))
	both[1].awaitRole(t, roleStandby)
	f := publishPlainly(t, url, flooded...)
	var lease string
	for range 20 {
		eventually(t, 20*time.Second, "the lease is taken anew, and the other one stands by", func() bool {
			held := backend.Get(context.Background(), "aldaba:recorder:{}").Val()
			i := slices.IndexFunc(both, func(r *rig) bool { return strings.HasPrefix(held, r.recorder.recording.owner) })
			return held != lease && i >= 0 && both[i].roleIs(roleRecorder) && both[1-i].roleIs(roleStandby)
		})
		lease = backend.GetDel(context.Background(), "aldaba:recorder:{}").Val()
	}
	holdsAll(t, url, f.end(t))
}

func TestGlobsDoNotOverlap(t *testing.T) {
	for _, c := range []struct{ in, want []string }{
		{[]string{"user:*", "room:*", "room:*"}, []string{"user:*", "room:*"}},
		{[]string{"a*", "ab*", "abc", "b"}, []string{"a*", "b"}},
		{[]string{"*", "a*", "b"}, []string{"*"}},
		{[]string{"b", "b"}, []string{"b"}},
	} {
		if diff := cmp.Diff(c.want, withoutCovered(c.in)); diff != "" {
			t.Errorf("%q: %s", c.in, diff)
		}
	}
}

func TestPatternsThatBeginWithAPlaceholderAreRecorded(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		policy, err := auth.NewPolicy([]auth.Pattern{{Name: "{sub}", History: &auth.History{Size: 10, TTL: time.Hour}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, prefix := range []string{"", "app:"} {
			o := Options{URL: url, Prefix: prefix, Histories: policy.Histories()}
			one := run(t, o)
			one.awaitRole(t, roleRecorder)
			two := run(t, o)
			two.awaitRole(t, roleStandby)
			two.join(t, "anna")
			backend := client(t, url)
			for n := range 5 {
				say(t, backend, prefix+"anna", fmt.Sprint(n))
			}
			one.HandOver(t.Context())
			two.awaitRole(t, roleRecorder)
			say(t, backend, prefix+"anna", "5")
			two.calls.await(t, "Deliver anna 5")
			if diff := cmp.Diff([]string{"0", "1", "2", "3", "4", "5"}, two.calls.with("Deliver anna ")); diff != "" {
				t.Error(diff)
			}
		}
	})
}

func TestWithoutARecorder(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		o := kept(t, url)
		o.NoRecorder = true
		off := run(t, o)
		off.join(t, "log:a")
		backend := client(t, url)
		say(t, backend, "log:a", `"unheard"`)
		put(t, off.Broker, "log:a", "1", "")
		off.calls.await(t, "Deliver log:a 1")
		on := run(t, kept(t, url))
		on.awaitRole(t, roleRecorder)
		say(t, backend, "log:a", "2")
		off.calls.await(t, "Deliver log:a 2")
		on.HandOver(t.Context())
		if got := backend.Exists(context.Background(), "aldaba:recorder:{}", "aldaba:standby:{}").Val(); got != 0 || off.recorder != nil {
			t.Error("it takes part")
		}
		if diff := cmp.Diff([]string{"1", "2"}, off.calls.with("Deliver log:a ")); diff != "" {
			t.Error(diff)
		}
	})
}

// TestEachChangeOfHandsShows: in metrics and in the log.
func TestEachChangeOfHandsShows(t *testing.T) {
	url := redistest.Start(t).URL()
	registry := prometheus.NewRegistry()
	o := kept(t, url)
	o.Metrics = registry
	one := run(t, kept(t, url))
	one.awaitRole(t, roleRecorder)
	two := run(t, o)
	two.awaitRole(t, roleStandby)
	shows := func(name string, want float64) {
		t.Helper()
		eventually(t, 5*time.Second, fmt.Sprint(name, " is ", want), func() bool { return metric(t, registry, name, "") == want })
	}
	shows("aldaba_recorder", 0)
	shows("aldaba_recorder_standby", 1)
	one.HandOver(t.Context())
	two.awaitRole(t, roleRecorder)
	shows("aldaba_recorder", 1)
	shows("aldaba_recorder_standby", 0)
	shows("aldaba_recorder_takeovers_total", 1)
	shows("aldaba_recorder_gaps_total", 0)
	say(t, client(t, url), "log:a", "1")
	shows("aldaba_recorded_total", 1)
	two.HandOver(t.Context())
	shows("aldaba_recorder", 0)
	for r, lines := range map[*rig][]string{
		one: {"role=recorder before=none", "role=none before=recorder"},
		two: {"role=standby before=none", `"took over recording plain publishes" exact=true`, "role=none before=recorder"},
	} {
		for _, line := range lines {
			eventually(t, 5*time.Second, line, func() bool { return strings.Contains(r.log.String(), line) })
		}
	}
}

// patterns returns how many patterns are subscribed to on s.
func patterns(s *redistest.Server) int64 { return s.Do("PUBSUB", "NUMPAT").(int64) }

// TestOnlyTheStandbyHearsWhatIsRecorded counts patterns: a recorder has that of the
// plain messages, a standby that of their twins beside it.
func TestOnlyTheStandbyHearsWhatIsRecorded(t *testing.T) {
	for rights, left := range map[string]int64{
		"all rights":      1,
		"no punsubscribe": 2, // it goes on nevertheless
	} {
		t.Run(rights, func(t *testing.T) {
			s := redistest.Start(t)
			url := s.URL()
			if left > 1 {
				url = allow(s, "allkeys allchannels +@all -punsubscribe")
			}
			one := run(t, kept(t, url))
			one.awaitRole(t, roleRecorder)
			eventually(t, 10*time.Second, "what a recorder hears", func() bool { return patterns(s) == left })
			two := run(t, kept(t, url))
			two.awaitRole(t, roleStandby)
			if n := patterns(s); n != 2 { // one of them twice
				t.Errorf("a recorder and a standby have %d patterns", n)
			}
			f := publishPlainly(t, s.URL(), flooded...)
			one.HandOver(t.Context())
			two.awaitRole(t, roleRecorder)
			eventually(t, 10*time.Second, "fewer patterns", func() bool { return patterns(s) == left })
			holdsAll(t, s.URL(), f.end(t))
			if !two.roleIs(roleRecorder) {
				t.Error("it no longer records")
			}
		})
	}
}
