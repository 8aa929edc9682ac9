package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"aldaba/auth"
	"aldaba/hub"

	"aldaba/internal/redistest"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// keeping are the options of a broker whose channels log:* keep five messages.
func keeping(t testing.TB, url string) Options {
	t.Helper()
	policy, err := auth.NewPolicy([]auth.Pattern{
		{Name: "log:*", Join: auth.JoinOnRequest, History: &auth.History{Size: 5, TTL: time.Hour}},
		{Name: "plain:*", Join: auth.JoinOnRequest},
	})
	if err != nil {
		t.Fatal(err)
	}
	return Options{URL: url, Histories: policy.Histories()}
}

// put publishes data with a key (empty: none), and returns what became of it.
func put(t testing.TB, b *Broker, channel, data, key string) hub.Published {
	t.Helper()
	p, err := b.Publish(context.Background(), channel, []byte(data), hub.PublishOptions{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// page reads q, and returns it with the data that it found.
func page(t testing.TB, b *Broker, q hub.Query) (hub.Page, []string) {
	t.Helper()
	p, err := b.Read(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	data := []string{}
	for _, e := range p.Entries {
		data = append(data, string(e.Data))
	}
	return p, data
}

func TestRecordsAndReads(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, keeping(t, url))
		empty, _ := page(t, r.Broker, hub.Query{Channel: "log:a"})
		if empty.Head.Offset != 0 || empty.Head.IsZero() {
			t.Fatalf("a new log's head is %v", empty.Head)
		}
		var at []hub.Position
		for i := range 9 {
			at = append(at, put(t, r.Broker, "log:a", fmt.Sprint(i), "").Position)
			if at[i].Offset != uint64(i+1) || at[i].Epoch != empty.Head.Epoch {
				t.Fatalf("position %d is %v", i, at[i])
			}
		}
		for name, c := range map[string]struct {
			query hub.Query
			known bool
			more  bool
			want  []string
		}{
			"newest":              {hub.Query{Entries: 3}, false, true, []string{"6", "7", "8"}},
			"all":                 {hub.Query{Entries: 100}, false, false, []string{"3", "4", "5", "6", "7", "8"}},
			"after":               {hub.Query{After: at[5], Entries: 100}, true, false, []string{"6", "7", "8"}},
			"after, two":          {hub.Query{After: at[5], Entries: 2}, true, true, []string{"6", "7"}},
			"after, few bytes":    {hub.Query{After: at[5], Entries: 9, Bytes: 1}, true, true, []string{"6"}},
			"after the oldest":    {hub.Query{After: at[3], Entries: 9}, true, false, []string{"4", "5", "6", "7", "8"}},
			"after the newest":    {hub.Query{After: at[8], Entries: 9}, true, false, []string{}},
			"before":              {hub.Query{Before: at[5], Entries: 9}, true, false, []string{"3", "4"}},
			"before, one":         {hub.Query{Before: at[5], Entries: 1}, true, true, []string{"4"}},
			"nothing":             {hub.Query{}, false, false, []string{}},
			"after, trimmed":      {hub.Query{After: at[1], Entries: 9}, false, false, []string{}},
			"after the beginning": {hub.Query{After: empty.Head, Entries: 9}, false, false, []string{}},
			"another epoch":       {hub.Query{After: hub.Position{Epoch: "1", Offset: at[5].Offset, Tag: at[5].Tag}, Entries: 9}, false, false, []string{}},
			"another tag":         {hub.Query{After: hub.Position{Epoch: at[5].Epoch, Offset: at[5].Offset, Tag: 7}, Entries: 9}, false, false, []string{}},
			"the future":          {hub.Query{After: hub.Position{Epoch: at[5].Epoch, Offset: 100, Tag: 7}, Entries: 9}, false, false, []string{}},
		} {
			if c.query.Bytes == 0 {
				c.query.Bytes = 1 << 20
			}
			c.query.Channel = "log:a"
			p, data := page(t, r.Broker, c.query)
			if p.Known != c.known || p.More != c.more || !slices.Equal(data, c.want) || p.Head != at[8] {
				t.Errorf("%s: known %v, more %v, %q, head %v", name, p.Known, p.More, data, p.Head)
			}
		}
		if _, err := r.Read(context.Background(), hub.Query{Channel: "plain:a"}); !errors.Is(err, hub.ErrNoHistory) {
			t.Errorf("a channel without history: %v", err)
		}
		if p := put(t, r.Broker, "plain:a", "1", ""); !p.Position.IsZero() {
			t.Errorf("a channel without history has the position %v", p.Position)
		}
	})
}

func TestOneKeyPublishesOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, keeping(t, url))
		r.join(t, "log:a", "plain:a")
		for _, channel := range []string{"log:a", "plain:a"} {
			first := put(t, r.Broker, channel, "1", "k")
			if again := put(t, r.Broker, channel, "2", "k"); !again.Duplicate || again.Position != first.Position || first.Duplicate {
				t.Errorf("%s: %v, then %v", channel, first, again)
			}
			if other := put(t, r.Broker, channel, "3", "l"); other.Duplicate {
				t.Errorf("%s: another key is %v", channel, other)
			}
			r.calls.await(t, "Deliver "+channel+" 3")
		}
		want := []string{"log:a 1", "log:a 3", "plain:a 1", "plain:a 3"}
		if diff := cmp.Diff(want, r.calls.with("Deliver ")); diff != "" {
			t.Error(diff)
		}
		for _, key := range []string{"a b", "a\n", "é", strings.Repeat("x", 129)} {
			if _, err := r.Broker.Publish(context.Background(), "log:a", []byte("1"), hub.PublishOptions{Key: key}); !errors.Is(err, hub.ErrInvalidMessage) {
				t.Errorf("key %q: %v", key, err)
			}
		}
	})
}

func TestReadStateIsOnePerUser(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, keeping(t, url))
		r.join(t, "log:a")
		var at []hub.Position
		for i := range 4 {
			at = append(at, put(t, r.Broker, "log:a", fmt.Sprint(i), "").Position)
		}
		unread := func(user string) int {
			p, _ := page(t, r.Broker, hub.Query{Channel: "log:a", User: user})
			return p.Unread
		}
		if unread("anna") != 4 || unread("") != 0 {
			t.Errorf("nothing read: %d, nobody: %d", unread("anna"), unread(""))
		}
		ctx := context.Background()
		acked, err := r.Ack(ctx, "log:a", "anna b", at[1])
		if err != nil || acked.Unread != 2 || acked.Position != at[1] {
			t.Fatal(acked, err)
		}
		r.calls.await(t, "Read log:a anna b 2 2")
		if acked, err = r.Ack(ctx, "log:a", "anna b", at[0]); err != nil || acked.Unread != 2 || acked.Position != at[1] {
			t.Error("an older one counts:", acked, err)
		}
		if unread("anna b") != 2 || unread("bob") != 4 {
			t.Errorf("anna %d, bob %d", unread("anna b"), unread("bob"))
		}
		for name, bad := range map[string]hub.Position{
			"the future": {Epoch: at[0].Epoch, Offset: 9, Tag: 1}, "another epoch": {Epoch: "x", Offset: 1, Tag: at[0].Tag},
			"another newest": {Epoch: at[0].Epoch, Offset: 4, Tag: 1}, "another third": {Epoch: at[0].Epoch, Offset: 3, Tag: 1},
		} {
			if _, err := r.Ack(ctx, "log:a", "anna b", bad); !errors.Is(err, hub.ErrGone) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for i := range 5 { // the log keeps six
			put(t, r.Broker, "log:a", fmt.Sprint(4+i), "")
		}
		if _, err := r.Ack(ctx, "log:a", "bob", at[2]); !errors.Is(err, hub.ErrGone) {
			t.Errorf("one that was trimmed: %v", err)
		}
		if acked, err = r.Ack(ctx, "log:a", "bob", at[3]); err != nil || acked.Unread != 5 {
			t.Error("the oldest one kept:", acked, err)
		}
		r.calls.await(t, "Read log:a bob 4 5")
		if diff := cmp.Diff([]string{"anna b 2 2", "bob 4 5"}, r.calls.with("Read log:a ")); diff != "" {
			t.Error(diff)
		}
		if _, err := r.Ack(ctx, "plain:a", "anna", at[0]); !errors.Is(err, hub.ErrNoHistory) {
			t.Errorf("without history: %v", err)
		}
	})
}

// TestReadStandsInOrder: clients count the messages behind a `read` on top of its number.
func TestReadStandsInOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, keeping(t, url))
		r.join(t, "log:a")
		var want []string
		for i := range 20 {
			at := put(t, r.Broker, "log:a", fmt.Sprint(2*i), "").Position
			put(t, r.Broker, "log:a", fmt.Sprint(2*i+1), "")
			if _, err := r.Ack(t.Context(), "log:a", "anna", at); err != nil {
				t.Fatal(err)
			}
			want = append(want, fmt.Sprint("Deliver log:a ", 2*i), fmt.Sprint("Deliver log:a ", 2*i+1), fmt.Sprint("Read log:a anna ", at.Offset, " 1"))
		}
		r.calls.await(t, want[len(want)-1])
		if diff := cmp.Diff(append([]string{"Subscribed log:a"}, want...), r.calls.all()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestFollowsWhatTheDoorbellLost(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, keeping(t, url), func(t *timing) { t.quiet = timeRange{time.Second, 2 * time.Second} })
		r.join(t, "log:a")
		put(t, r.Broker, "log:a", "1", "")
		r.calls.await(t, "Deliver log:a 1")
		r.putUnheard(t, "2", "3")
		put(t, r.Broker, "log:a", "4", "") // rings with a gap
		r.calls.await(t, "Deliver log:a 4")
		r.putUnheard(t, "5")
		r.calls.await(t, "Deliver log:a 5")                                         // by the round
		r.putUnheard(t, "10", "11", "12", "13", "14", "15", "16", "17", "18", "19") // more than it keeps
		put(t, r.Broker, "log:a", "20", "")
		r.calls.await(t, "Deliver log:a 20")
		r.was(t, "1", "2", "3", "4", "5", "resync", "15", "16", "17", "18", "19", "20")
	})
}

// putUnheard records entries of log:a, five and the one before them at most, that nobody
// rings for.
func (r *rig) putUnheard(t *testing.T, all ...string) {
	t.Helper()
	silent := newScript(strings.ReplaceAll(publishLua, "return redis.call('PUBLISH', 'aldaba:live:", "return redis.call('PUBLISH', 'elsewhere:") + callLua)
	if silent.text == publishScript.text {
		t.Fatal("the script still rings")
	}
	for _, data := range all {
		if _, err := r.caller.do(context.Background(), call{silent, "log:a", []any{data, "size", 5, "ttl", 3600000}, 3}); err != nil {
			t.Fatal(err)
		}
	}
}

// was fails unless these are what log:a was told: data, or resync.
func (r *rig) was(t *testing.T, want ...string) {
	t.Helper()
	var told []string
	for _, call := range r.calls.all() {
		if data, is := strings.CutPrefix(call, "Deliver log:a "); is {
			told = append(told, data)
		} else if call == "Resync log:a" {
			told = append(told, "resync")
		}
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("(-want +told):\n%s", diff)
	}
}

// rings has the follower look at the log.
func rings(t *testing.T, c *redis.Client) { say(t, c, liveName("log:a"), "look") }

func TestForgedStampIsNotDelivered(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, keeping(t, url))
		r.join(t, "log:a")
		p := put(t, r.Broker, "log:a", "1", "").Position
		r.calls.await(t, "Deliver log:a 1")
		backend := client(t, url)
		forged := hub.Position{Epoch: p.Epoch, Offset: 2, Tag: p.Tag + 1}
		for _, payload := range []string{
			"1 " + forged.ID() + " " + p.Epoch + " - d 666", "1 " + forged.ID() + " " + p.Epoch + " GUESSED d 666",
			"1 2-1 zzz x p 666", "2 anything", "666", "", "r1 1-1 " + p.Epoch + " GUESSED 0 anna",
		} {
			say(t, backend, liveName("log:a"), payload)
		}
		put(t, r.Broker, "log:a", "2", "")
		r.calls.await(t, "Deliver log:a 2")
		if diff := cmp.Diff([]string{"log:a 1", "log:a 2"}, r.calls.with("Deliver ")); diff != "" {
			t.Error(diff)
		}
		if got := r.calls.with("Re"); len(got) != 0 {
			t.Errorf("told %q", got)
		}
	})
}

func TestFlushedLogHasAnotherEpoch(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, keeping(t, url))
		r.join(t, "log:a")
		p := put(t, r.Broker, "log:a", "1", "").Position
		r.calls.await(t, "Deliver log:a 1")
		if err := client(t, url).FlushAll(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		next := put(t, r.Broker, "log:a", "2", "").Position
		if next.Epoch == p.Epoch || next.Offset != 1 {
			t.Errorf("%v after %v", next, p)
		}
		put(t, r.Broker, "log:a", "3", "")
		r.calls.await(t, "Deliver log:a 3")
		r.was(t, "1", "resync", "2", "3")
		if lost, _ := page(t, r.Broker, hub.Query{Channel: "log:a", After: p, Entries: 9, Bytes: 99}); lost.Known {
			t.Error("a position of the lost log is known")
		}
	})
}

// TestReadsAreToldAgainWithANewSubscription: what was announced meanwhile nobody heard.
func TestReadsAreToldAgainWithANewSubscription(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, keeping(t, s.URL()))
	r.calls.mu.Lock()
	r.calls.readers = []string{"anna", "ben"}
	r.calls.mu.Unlock()
	r.join(t, "log:a")
	var second hub.Position
	for _, data := range []string{"1", "2", "3"} {
		if p := put(t, r.Broker, "log:a", data, "").Position; p.Offset == 2 {
			second = p
		}
	}
	r.calls.await(t, "Deliver log:a 3")
	if _, err := r.Ack(context.Background(), "log:a", "anna", second); err != nil {
		t.Fatal(err)
	}
	r.calls.await(t, "Read log:a anna 2 1")
	s.Do("CLIENT", "KILL", "TYPE", "pubsub")
	put(t, r.Broker, "log:a", "4", "")
	eventually(t, 10*time.Second, "told again", func() bool { return len(r.calls.with("Read log:a anna ")) == 2 })
	// Either is right for where the delivery stands then.
	told := slices.DeleteFunc(r.calls.all(), func(s string) bool {
		return strings.HasPrefix(s, "Subscribed") || strings.HasPrefix(s, "Read log:a ben 0 ")
	})
	last := told[len(told)-2:]
	if !slices.Equal(last, []string{"Deliver log:a 4", "Read log:a anna 2 2"}) && !slices.Equal(last, []string{"Read log:a anna 2 1", "Deliver log:a 4"}) {
		t.Errorf("told %q", told)
	}
}

// TestOlderEntriesOfAnotherServerAreNotNews: after a fail-over to a replica that lacked the
// newest entry, the log begins where it did, and most of it was delivered. What it has
// taken since then was not, be it before anybody looked.
func TestOlderEntriesOfAnotherServerAreNotNews(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		for _, unheard := range [][]string{nil, {"4"}, {"4", "5"}} {
			r := run(t, keeping(t, url))
			r.join(t, "log:a")
			var positions []hub.Position
			for _, data := range []string{"1", "2", "3"} {
				positions = append(positions, put(t, r.Broker, "log:a", data, "").Position)
				r.calls.await(t, "Deliver log:a "+data)
			}
			c, ctx := client(t, url), context.Background()
			err := errors.Join(
				c.XDel(ctx, "aldaba:log:{log:a}", positions[2].ID()).Err(),
				c.HSet(ctx, "aldaba:meta:{log:a}", "last", positions[1].ID(), "server", "another").Err())
			if err != nil {
				t.Fatal(err)
			}
			r.putUnheard(t, unheard...)
			rings(t, c)
			r.calls.await(t, "Resync log:a")
			put(t, r.Broker, "log:a", "6", "")
			r.calls.await(t, "Deliver log:a 6")
			r.was(t, slices.Concat([]string{"1", "2", "3", "resync"}, unheard, []string{"6"})...)
			if err := c.FlushAll(ctx).Err(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestOneClockBehindAnother: what the new server records has a lower tag than what was
// delivered, and is behind it all the same.
func TestOneClockBehindAnother(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, keeping(t, url))
		r.join(t, "log:a")
		put(t, r.Broker, "log:a", "1", "")
		at := put(t, r.Broker, "log:a", "2", "").Position
		r.calls.await(t, "Deliver log:a 2")
		c, ctx := client(t, url), context.Background()
		earlier := hub.Position{Offset: 3, Tag: at.Tag - 1000}.ID()
		err := errors.Join(
			c.XAdd(ctx, &redis.XAddArgs{Stream: "aldaba:log:{log:a}", ID: earlier, Values: []any{"d", "3"}}).Err(),
			c.HSet(ctx, "aldaba:meta:{log:a}", "last", earlier, "server", "another").Err())
		if err != nil {
			t.Fatal(err)
		}
		rings(t, c)
		r.calls.await(t, "Deliver log:a 3")
		r.was(t, "1", "2", "resync", "3")
	})
}

// TestLogThatIsLostTwiceIsFollowed: the second time while the follower looks at what the
// first has left.
func TestLogThatIsLostTwiceIsFollowed(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		backend, other := client(t, url), run(t, keeping(t, url))
		lose := func(next string) {
			if err := backend.FlushAll(context.Background()).Err(); err != nil {
				t.Error(err)
			}
			put(t, other.Broker, "log:a", next, "")
		}
		var armed atomic.Bool
		r := runMeddled(t, keeping(t, url), &meddler{transact: func(all []redis.Cmder, do func() error) error {
			err := do()
			if strings.Contains(fmt.Sprint(all), readScript.hash) && armed.CompareAndSwap(true, false) {
				lose("3")
			}
			return err
		}})
		r.join(t, "log:a")
		put(t, r.Broker, "log:a", "1", "")
		r.calls.await(t, "Deliver log:a 1")
		armed.Store(true)
		lose("2")
		r.calls.await(t, "Deliver log:a 3")
		put(t, r.Broker, "log:a", "4", "")
		r.calls.await(t, "Deliver log:a 4")
		r.was(t, "1", "resync", "2", "resync", "3", "4")
	})
}

// TestBurstAfterALossIsDelivered as far as the log has it.
func TestBurstAfterALossIsDelivered(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, keeping(t, url))
		r.join(t, "log:a")
		put(t, r.Broker, "log:a", "1", "")
		r.calls.await(t, "Deliver log:a 1")
		if err := client(t, url).FlushAll(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		r.putUnheard(t, "2", "3", "4", "5", "6", "7", "8", "9")
		rings(t, client(t, url))
		r.calls.await(t, "Deliver log:a 9")
		r.was(t, "1", "resync", "4", "5", "6", "7", "8", "9")
	})
}

// TestNewestEntryThatWentAloneIsNoGap: it had ended, or was evicted, with all before it.
func TestNewestEntryThatWentAloneIsNoGap(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, keeping(t, url))
		r.join(t, "log:a")
		put(t, r.Broker, "log:a", "1", "")
		r.calls.await(t, "Deliver log:a 1")
		if err := client(t, url).Del(context.Background(), "aldaba:log:{log:a}").Err(); err != nil {
			t.Fatal(err)
		}
		r.putUnheard(t, "2")
		rings(t, client(t, url))
		r.calls.await(t, "Deliver log:a 2")
		r.was(t, "1", "2")
	})
}

// TestLogThatIsRestoredIsNotNews: a loss that was a mistake, and is mended from a copy.
func TestLogThatIsRestoredIsNotNews(t *testing.T) {
	url := redistest.Start(t).URL()
	c, ctx := client(t, url), context.Background()
	r := run(t, keeping(t, url))
	r.join(t, "log:a")
	for _, data := range []string{"1", "2", "3"} {
		put(t, r.Broker, "log:a", data, "")
	}
	r.calls.await(t, "Deliver log:a 3")
	copied := map[string]string{}
	for _, key := range []string{"aldaba:log:{log:a}", "aldaba:meta:{log:a}"} {
		copied[key] = c.Dump(ctx, key).Val()
	}
	if err := c.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	rings(t, c)
	eventually(t, 10*time.Second, "the loss is seen", func() bool { return len(r.calls.with("Resync ")) == 1 })
	for key, data := range copied {
		if err := c.RestoreReplace(ctx, key, time.Hour, data).Err(); err != nil {
			t.Fatal(err)
		}
	}
	rings(t, c)
	eventually(t, 10*time.Second, "the copy is seen", func() bool { return len(r.calls.with("Resync ")) == 2 })
	put(t, r.Broker, "log:a", "4", "")
	r.calls.await(t, "Deliver log:a 4")
	r.was(t, "1", "2", "3", "resync", "resync", "4")
}

// TestEvictedLogIsNotRecovered: Redis may throw the log alone away, when memory is short.
func TestEvictedLogIsNotRecovered(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, keeping(t, url))
		first := put(t, r.Broker, "log:a", "1", "").Position
		newest := put(t, r.Broker, "log:a", "2", "").Position
		if err := client(t, url).Del(context.Background(), "aldaba:log:{log:a}").Err(); err != nil {
			t.Fatal(err)
		}
		for at, known := range map[hub.Position]bool{first: false, newest: true} { // who stands at the newest has missed nothing
			if got, entries := page(t, r.Broker, hub.Query{Channel: "log:a", After: at, Entries: 9, Bytes: 99}); got.Known != known || len(entries) > 0 {
				t.Errorf("at %d: known %v, %q", at.Offset, got.Known, entries)
			}
		}
		put(t, r.Broker, "log:a", "3", "")
		if got, _ := page(t, r.Broker, hub.Query{Channel: "log:a", After: newest, Entries: 9, Bytes: 99}); got.Known {
			t.Error("what is no longer in the log proves nothing")
		}
		if left, err := client(t, url).PTTL(t.Context(), "aldaba:log:{log:a}").Result(); err != nil || left < 0 {
			t.Errorf("the log that was made anew ends in %s, %v", left, err)
		}
	})
}

// TestPagesGoPastWhatNobodyCanBeHanded: after limits.message was lowered, a page of larger
// messages alone would leave a reader without a position to go on from.
func TestPagesGoPastWhatNobodyCanBeHanded(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		o := kept(t, url)
		before := run(t, o)
		start, _ := page(t, before.Broker, hub.Query{Channel: "log:a"})
		var at []hub.Position
		add := func(n int, data string) {
			for range n {
				at = append(at, put(t, before.Broker, "log:a", data, "").Position)
			}
		}
		large := `"` + strings.Repeat("x", 100) + `"`
		add(1, `"first"`)
		add(1, `"second"`)
		add(readEntries+100, large)
		add(2, `"last"`)
		o.Message = 50
		after := run(t, o)
		second, newest := at[1], at[len(at)-1]
		for name, c := range map[string]struct {
			query hub.Query
			more  bool
			want  []string
		}{
			"after":          {hub.Query{After: second, Entries: 1}, true, []string{`"last"`}},
			"after, all":     {hub.Query{After: second, Entries: 100}, false, []string{`"last"`, `"last"`}},
			"before":         {hub.Query{Before: at[len(at)-2], Entries: 1}, true, []string{`"second"`}},
			"before, two":    {hub.Query{Before: newest, Entries: 2}, true, []string{`"last"`}},
			"from the start": {hub.Query{After: start.Head, Entries: 1}, true, []string{`"first"`}},
			"one by one":     {hub.Query{After: at[2], Entries: 50, Bytes: 1}, true, []string{`"last"`}},
		} {
			if c.query.Bytes == 0 {
				c.query.Bytes = 1 << 20
			}
			c.query.Channel = "log:a"
			p, data := page(t, after.Broker, c.query)
			if !p.Known || p.More != c.more || !slices.Equal(data, c.want) || p.Head != newest {
				t.Errorf("%s: known %v, more %v, %q", name, p.Known, p.More, data)
			}
			if n := len(p.Entries); n > 0 && c.query.Before.IsZero() && p.End != p.Entries[n-1].Position {
				t.Errorf("%s: it ends at %d, not at %d", name, p.Entries[n-1].Position.Offset, p.End.Offset)
			}
		}
		put(t, before.Broker, "log:a", large, "")
		if p, data := page(t, after.Broker, hub.Query{Channel: "log:a", Entries: 1, Bytes: 1 << 20}); !slices.Equal(data, []string{`"last"`}) || !p.More {
			t.Errorf("the newest: more %v, %q", p.More, data)
		}
		if p, data := page(t, after.Broker, hub.Query{Channel: "log:a", After: newest, Entries: 1, Bytes: 1 << 20}); len(data) != 0 || p.More {
			t.Errorf("nothing follows: more %v, %q", p.More, data)
		}
	})
}

// TestMetaOutlivesTheQuietLook: between two of them nobody may touch a quiet channel, and
// one whose epoch has ended meanwhile would be told of a gap that never was.
func TestMetaOutlivesTheQuietLook(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		for ttl, want := range map[time.Duration]time.Duration{time.Second: time.Minute, time.Hour: 2 * time.Hour} {
			if want < 2*defaultTiming.quiet.max {
				t.Errorf("%s is too close to the quiet look, after %s", want, defaultTiming.quiet.max)
			}
			published, read := "log:published-"+ttl.String(), "log:read-"+ttl.String()
			policy, err := auth.NewPolicy([]auth.Pattern{{Name: "log:*", Join: auth.JoinOnRequest, History: &auth.History{Size: 5, TTL: ttl}}})
			if err != nil {
				t.Fatal(err)
			}
			r := run(t, Options{URL: url, Histories: policy.Histories()})
			put(t, r.Broker, published, "1", "")
			page(t, r.Broker, hub.Query{Channel: read})
			for _, channel := range []string{published, read} {
				left, err := client(t, url).PTTL(t.Context(), "aldaba:meta:{"+channel+"}").Result()
				if err != nil || left < want-10*time.Second || left > want+ttl/16 {
					t.Errorf("with ttl %s: %s ends in %s, %v, want %s", ttl, channel, left, err, want)
				}
			}
		}
	})
}

// TestChannelsWithoutHistoryAskNoLog: they cost what they would if nothing had one.
func TestChannelsWithoutHistoryAskNoLog(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		registry := prometheus.NewRegistry()
		o := keeping(t, url)
		o.Metrics = registry
		r := run(t, o, func(t *timing) { t.quiet = timeRange{10 * time.Millisecond, 20 * time.Millisecond} })
		r.join(t, "plain:a")
		say(t, client(t, url), "plain:a", "1")
		r.calls.await(t, "Deliver plain:a 1")
		if n := metric(t, registry, "aldaba_history_reads_total", ""); n != 0 {
			t.Errorf("%v questions", n)
		}
		r.join(t, "log:a")
		if n := metric(t, registry, "aldaba_history_reads_total", ""); n == 0 {
			t.Error("nothing counts questions")
		}
	})
}

func TestRestartedServerIsAnother(t *testing.T) {
	s := redistest.New(t, "--appendonly", "yes", "--appendfsync", "always")
	s.Start()
	r := run(t, keeping(t, s.URL()))
	r.join(t, "log:a")
	p := put(t, r.Broker, "log:a", "1", "").Position
	r.calls.await(t, "Deliver log:a 1")
	s.Kill()
	s.Start()
	eventually(t, 20*time.Second, "back", func() bool {
		return r.publish(context.Background(), "log:a", []byte("2")) == nil
	})
	r.calls.await(t, "Resync log:a")
	r.calls.await(t, "Deliver log:a 2")
	if got := r.calls.with("Deliver "); !slices.Equal(got, []string{"log:a 1", "log:a 2"}) {
		t.Errorf("delivered %q", got)
	}
	q, _ := page(t, r.Broker, hub.Query{Channel: "log:a", After: p, Entries: 9, Bytes: 99})
	if q.Known || q.Head.Epoch == p.Epoch {
		t.Errorf("%v is known to another server, whose head is %v", p, q.Head)
	}
}

// TestReadAheadOfALogThatWentBack: after a fail-over to a replica that lacked the newest
// entries, what a user has read of them is not taken for what came in their place.
func TestReadAheadOfALogThatWentBack(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, keeping(t, url))
		backend := client(t, url)
		ctx := context.Background()
		var at []hub.Position
		for i := range 4 {
			at = append(at, put(t, r.Broker, "log:a", fmt.Sprint(i), "").Position)
		}
		for _, user := range []string{"anna", "ben"} {
			if _, err := r.Ack(ctx, "log:a", user, at[3]); err != nil {
				t.Fatal(err)
			}
		}
		goBack := []error{
			backend.Del(ctx, "aldaba:log:{log:a}").Err(),
			backend.XAdd(ctx, &redis.XAddArgs{Stream: "aldaba:log:{log:a}", ID: at[0].ID(), Values: []string{"d", "0"}}).Err(),
			backend.XAdd(ctx, &redis.XAddArgs{Stream: "aldaba:log:{log:a}", ID: at[1].ID(), Values: []string{"d", "1"}}).Err(),
			backend.HSet(ctx, "aldaba:meta:{log:a}", "last", at[1].ID()).Err(),
		}
		if err := errors.Join(goBack...); err != nil {
			t.Fatal(err)
		}
		if acked, err := r.Ack(ctx, "log:a", "ben", at[0]); err != nil || acked.Unread != 1 || acked.Position != at[0] {
			t.Error("ben:", acked, err)
		}
		if p, _ := page(t, r.Broker, hub.Query{Channel: "log:a", User: "anna"}); p.Unread != 0 || p.Read.ID() != at[1].ID() {
			t.Error("anna:", p.Unread, p.Read)
		}
		for i := range 3 {
			put(t, r.Broker, "log:a", fmt.Sprint(10+i), "")
		}
		if p, _ := page(t, r.Broker, hub.Query{Channel: "log:a", User: "anna"}); p.Unread != 3 {
			t.Error("anna has not read what is new:", p.Unread)
		}
	})
}
