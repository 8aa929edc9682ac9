package broker

import (
	"context"
	"testing"
	"time"

	"aldaba/hub"
	"aldaba/internal/redistest"
)

// receipt publishes and waits for the receipt; there is none of a duplicate.
func receipt(t testing.TB, b *Broker, channel, data, key string) (got hub.Receipt, ok bool) {
	t.Helper()
	done, err := b.Publish(t.Context(), channel, []byte(data), hub.PublishOptions{Key: key, Receipt: true})
	if err != nil {
		t.Fatal(err)
	}
	if done.Receipt == nil {
		return got, false
	}
	select {
	case got = <-done.Receipt:
		return got, true
	case <-time.After(10 * time.Second):
		t.Fatal("no receipt")
		return got, false
	}
}

// listening waits until n replicas can be asked, so that a receipt counts them all.
func listening(t testing.TB, url, prefix string, n int64) {
	t.Helper()
	c := client(t, url)
	eventually(t, 10*time.Second, "replicas listen to questions", func() bool {
		return c.PubSubNumSub(t.Context(), prefix+receiptsChannel).Val()[prefix+receiptsChannel] == n
	})
}

func TestReceiptCountsSessionsAndReplicas(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		o := keeping(t, url)
		o.Prefix = "app:"
		one, two, three := run(t, o), run(t, o), run(t, o)
		for _, r := range []*rig{one, two, three} {
			r.ready(t, 10*time.Second)
		}
		listening(t, url, o.Prefix, 3)
		one.calls.sessions.Store(2)
		two.calls.sessions.Store(3)
		for _, channel := range []string{"plain", "log:a"} {
			one.join(t, channel)
			two.join(t, channel)
			for _, asker := range []*rig{one, three} { // with sessions of its own, and without
				got, _ := receipt(t, asker.Broker, channel, "1", "")
				if want := (hub.Receipt{Sessions: 5, Replicas: 2, Complete: true}); got != want {
					t.Errorf("%s: %+v, want %+v", channel, got, want)
				}
			}
			if got, _ := receipt(t, one.Broker, channel, "2", "k"); got.Sessions != 5 {
				t.Errorf("%+v", got)
			}
			if got, ok := receipt(t, two.Broker, channel, "2", "k"); ok {
				t.Errorf("a duplicate was handed to somebody: %+v", got)
			}
		}
		if got, _ := receipt(t, one.Broker, "nobody", "1", ""); got != (hub.Receipt{Complete: true}) {
			t.Errorf("%+v", got)
		}
	})
}

// TestReceiptIsOfItsMessage has a channel that was left after another message.
func TestReceiptIsOfItsMessage(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, Options{URL: s.URL()}, func(t *timing) { t.linger = 10 * time.Millisecond })
	r.ready(t, 10*time.Second)
	r.calls.sessions.Store(7)
	r.join(t, "a")
	if err := r.publish(t.Context(), "a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	r.calls.await(t, "Deliver a 1")
	r.Unsubscribe("a")
	eventually(t, 10*time.Second, "unsubscribed", func() bool {
		return client(t, s.URL()).PubSubNumSub(context.Background(), "a").Val()["a"] == 0 && size(r.interest) == 2
	})
	if got, _ := receipt(t, r.Broker, "a", "2", ""); got != (hub.Receipt{Complete: true}) {
		t.Errorf("%+v", got)
	}
}

// TestReceiptOfAFrozenReplica comes without it, and says so.
func TestReceiptOfAFrozenReplica(t *testing.T) {
	s := redistest.Start(t)
	short := func(t *timing) { t.receipt = 200 * time.Millisecond }
	one := run(t, Options{URL: s.URL()}, short)
	two := run(t, Options{URL: s.URL()}, short)
	one.ready(t, 10*time.Second)
	two.ready(t, 10*time.Second)
	listening(t, s.URL(), "", 2)
	one.join(t, "a")
	two.join(t, "a")
	one.calls.sessions.Store(1)
	thaw := make(chan struct{})
	two.calls.mu.Lock()
	two.calls.hook = func(string) { <-thaw }
	two.calls.mu.Unlock()
	got, _ := receipt(t, one.Broker, "a", "1", "")
	close(thaw)
	if want := (hub.Receipt{Sessions: 1, Replicas: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	one.receipts.mu.Lock()
	defer one.receipts.mu.Unlock()
	if len(one.receipts.open) > 0 {
		t.Error("something is left of it")
	}
}

// TestPatternsDoNotDelayAReceipt has somebody who watches everything.
func TestPatternsDoNotDelayAReceipt(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, Options{URL: s.URL()}, func(t *timing) { t.receipt = time.Minute })
	r.ready(t, 10*time.Second)
	listening(t, s.URL(), "", 1)
	watcher := client(t, s.URL()).PSubscribe(t.Context(), "*")
	t.Cleanup(func() { _ = watcher.Close() })
	if _, err := watcher.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _ := receipt(t, r.Broker, "a", "1", ""); !got.Complete {
		t.Errorf("%+v", got)
	}
}

func TestQuestionsThatAreNone(t *testing.T) {
	for _, payload := range []string{
		"", " ", "id", "id app:aldaba:probe:X app:a", "id other app:a -", "id aldaba:probe:X app:a -", // another's prefix
		"id app:aldaba:probe:X app:a x", "id app:aldaba:probe:X app:a - -", "id app:user:42 app:a -",
	} {
		if q, ok := parseQuestion(payload, "app:"); ok {
			t.Errorf("%q: %+v", payload, q)
		}
	}
	if q, ok := parseQuestion("id app:aldaba:probe:X app:a 17:3-9", "app:"); !ok || q.at.Offset != 3 || q.name != "app:a" {
		t.Errorf("%+v", q)
	}
	r := newReceipts("p", defaultTiming)
	for _, payload := range []string{"r ", "r x", "r x -1", "r x 1", "r  99999999999999999999"} {
		if !r.answered(payload) {
			t.Errorf("%q is a probe", payload)
		}
	}
	if r.answered("123") {
		t.Error("a probe is an answer")
	}
}
