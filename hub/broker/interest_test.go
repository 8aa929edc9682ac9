package broker

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
)

// redisSide plays Redis for an interest: it confirms whatever is taken.
func redisSide(t *testing.T, i *interest) (confirmed []string) {
	t.Helper()
	for {
		batch := i.take()
		if len(batch) == 0 {
			return confirmed
		}
		for _, channel := range batch {
			if _, err := i.confirm(channel, false); err != nil {
				t.Fatalf("confirm %s: %v", channel, err)
			}
		}
		confirmed = append(confirmed, batch...)
	}
}

func newTestInterest() *interest { return newInterest("probe", defaultTiming) }

func TestInterestReturnsAfterAMillionChannels(t *testing.T) {
	i := newTestInterest()
	i.begin()
	redisSide(t, i)
	now := time.Now()
	before := heap()
	for n := range 1_000_000 {
		channel := fmt.Sprintf("user:%d", n)
		i.subscribe(channel)
		i.unsubscribe(channel, now)
		if n%10_000 != 0 {
			continue
		}
		redisSide(t, i)
		now = now.Add(time.Second)
		for _, gone := range i.expire(now) {
			i.left(gone)
		}
	}
	settle(t, i, now.Add(time.Minute))
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("%d bytes are left", grown)
	}
}

func TestInterestReturnsAfterManyAtOnce(t *testing.T) {
	i := newTestInterest()
	i.begin()
	before := heap()
	now := time.Now()
	for n := range 200_000 {
		i.subscribe(fmt.Sprintf("user:%d", n))
	}
	redisSide(t, i)
	if each := float64(heap()-before) / 200_000; each > 200 {
		t.Errorf("%.0f bytes a channel", each)
	}
	for n := range 200_000 {
		i.unsubscribe(fmt.Sprintf("user:%d", n), now)
	}
	settle(t, i, now.Add(time.Minute))
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("%d bytes are left", grown)
	}
}

// A hub whose Redis is away goes on subscribing and unsubscribing.
func TestInterestDoesNotGrowWithoutALink(t *testing.T) {
	i := newTestInterest()
	before := heap()
	for n := range 1_000_000 {
		channel := fmt.Sprintf("user:%d", n)
		i.subscribe(channel)
		i.unsubscribe(channel, time.Now())
	}
	if grown := heap() - before; grown > 1<<20 || size(i) != 1 {
		t.Errorf("%d bytes and %d entries are left", grown, size(i))
	}
}

func settle(t *testing.T, i *interest, now time.Time) {
	t.Helper()
	for batch := i.expire(now); len(batch) > 0; batch = i.expire(now) {
		for _, gone := range batch {
			i.left(gone)
		}
	}
	redisSide(t, i)
	if n := size(i); n != 1 {
		t.Errorf("%d entries are left", n)
	}
	if len(i.pending)+len(i.leaving)+len(i.split)+len(i.denied) != 0 || i.count() != 1 {
		t.Errorf("queues: %d %d %d %d, confirmed %d", len(i.pending), len(i.leaving), len(i.split), len(i.denied), i.count())
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestInterestWhoIsTold(t *testing.T) {
	now := time.Now()
	i := newTestInterest()
	i.begin()
	i.subscribe("kept")
	i.subscribe("gone")
	redisSide(t, i)
	i.unsubscribe("gone", now)
	i.lost()
	for _, channel := range []string{"kept", "new", "gone"} {
		if channel != "kept" && i.subscribe(channel) {
			t.Errorf("%s is confirmed without a link", channel)
		}
	}
	i.begin()
	i.lost() // a link that confirmed nothing changes nothing
	i.begin()
	want := map[string]confirmation{
		"probe": {resync: true}, "kept": {resync: true}, "new": {subscribed: true}, "gone": {subscribed: true},
	}
	for batch := i.take(); len(batch) > 0; batch = i.take() {
		for _, channel := range batch {
			got, err := i.confirm(channel, false)
			if err != nil || got != want[channel] {
				t.Errorf("%s: %+v, %v", channel, got, err)
			}
			delete(want, channel)
		}
	}
	if len(want) > 0 {
		t.Errorf("not asked for: %v", want)
	}
}

func TestInterestComesBackWhileLeaving(t *testing.T) {
	now := time.Now()
	i := newTestInterest()
	i.begin()
	i.subscribe("a")
	redisSide(t, i)
	i.unsubscribe("a", now)
	if got := i.expire(now.Add(time.Minute)); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("leaves: %q", got)
	}
	if i.subscribe("a") {
		t.Error("confirmed while the UNSUBSCRIBE is under way")
	}
	i.left("a") // the answer to the UNSUBSCRIBE
	if got := redisSide(t, i); !slices.Equal(got, []string{"a"}) {
		t.Errorf("subscribes: %q", got)
	}
	if !i.subscribe("a") {
		t.Error("not confirmed")
	}
}

func TestInterestLeavesWhileAsked(t *testing.T) {
	now := time.Now()
	i := newTestInterest()
	i.begin()
	redisSide(t, i)
	i.subscribe("a")
	i.take()
	i.unsubscribe("a", now)
	now = now.Add(time.Minute)
	if got := i.expire(now); len(got) != 0 {
		t.Errorf("%q leaves before it was confirmed", got)
	}
	if c, err := i.confirm("a", false); err != nil || c != (confirmation{}) {
		t.Errorf("somebody is told: %+v %v", c, err)
	}
	if _, err := i.confirm("a", false); err == nil {
		t.Error("a second confirmation is no surprise")
	}
	settle(t, i, now.Add(time.Minute))
}

func TestInterestFindsTheDenied(t *testing.T) {
	now := time.Now()
	i := newTestInterest()
	i.begin()
	redisSide(t, i)
	for n := range 2000 {
		i.subscribe(fmt.Sprintf("c%d", n))
	}
	denied := []string{"c3", "c700", "c1999"}
	requests := func() (n int, found []string) {
		for batch := i.take(); len(batch) > 0; batch = i.take() {
			n++
			bad := slices.ContainsFunc(batch, func(c string) bool { return slices.Contains(denied, c) })
			if !bad {
				for _, c := range batch {
					if _, err := i.confirm(c, false); err != nil {
						t.Fatal(err)
					}
				}
			} else if i.refuse(batch, now) {
				found = append(found, batch[0])
			}
		}
		return n, found
	}
	n, found := requests()
	slices.Sort(found)
	slices.Sort(denied)
	if !slices.Equal(found, denied) || i.count() != 1998 {
		t.Errorf("denied %q of %d requests, confirmed %d", found, n, i.count())
	}
	if n > 100 {
		t.Errorf("%d requests", n)
	}
	if i.retry(now.Add(time.Second)); len(i.take()) != 0 {
		t.Error("asked again at once")
	}
	now = now.Add(time.Minute)
	denied = nil
	i.retry(now)
	if n, found := requests(); n != 1 || len(found) != 0 || i.count() != 2001 {
		t.Errorf("after a minute: %d requests, denied %q, confirmed %d", n, found, i.count())
	}
}

func TestInterestFlapsWithoutGrowing(t *testing.T) {
	now := time.Now()
	i := newTestInterest()
	i.begin()
	i.subscribe("a")
	redisSide(t, i)
	for range 100_000 {
		i.unsubscribe("a", now)
		now = now.Add(time.Millisecond)
		if !i.subscribe("a") {
			t.Fatal("a flap loses the subscription")
		}
		if got := i.expire(now); len(got) > 0 {
			t.Fatal("left")
		}
	}
	if n := len(i.leaving); n > 1 {
		t.Errorf("%d departures queued", n)
	}
}
