package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"aldaba/hub"
	"aldaba/internal/redistest"

	"github.com/prometheus/client_golang/prometheus"
)

func TestDeliversOnlySubscribedChannels(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, Options{URL: url})
		backend := client(t, url)
		r.join(t, "user:1", "broadcast")
		say(t, backend, "user:2", `{"secret":2}`)
		say(t, backend, "user:1", `{"title":"é \u0000"}`)
		say(t, backend, "broadcast", ` 7 `)
		r.calls.await(t, "Deliver broadcast  7 ")
		want := []string{`user:1 {"title":"é \u0000"}`, "broadcast  7 "}
		if got := r.calls.with("Deliver "); !slices.Equal(got, want) {
			t.Errorf("delivered %q, want %q", got, want)
		}
	})
}

func TestDeliversInOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, Options{URL: url})
		r.join(t, "a", "b")
		ctx := context.Background()
		for i := range 500 {
			if err := r.publish(ctx, []string{"a", "b"}[i%2], fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		r.calls.await(t, "Deliver b 499")
		got := r.calls.with("Deliver ")
		for i, event := range got {
			if want := fmt.Sprintf("%s %d", []string{"a", "b"}[i%2], i); event != want {
				t.Fatalf("message %d is %q, want %q", i, event, want)
			}
		}
	})
}

func TestPrefixesDoNotMix(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		one, two := run(t, Options{URL: url, Prefix: "one:"}), run(t, Options{URL: url, Prefix: "two:"})
		one.join(t, "user:1")
		two.join(t, "user:1")
		ctx := context.Background()
		if err := one.publish(ctx, "user:1", []byte("1")); err != nil {
			t.Fatal(err)
		}
		if err := two.publish(ctx, "user:1", []byte("2")); err != nil {
			t.Fatal(err)
		}
		say(t, client(t, url), "one:user:1", "3")
		one.calls.await(t, "Deliver user:1 3")
		two.calls.await(t, "Deliver user:1 2")
		one.ready(t, 5*time.Second)
		if got := one.calls.with("Deliver "); !slices.Equal(got, []string{"user:1 1", "user:1 3"}) {
			t.Errorf("one received %q", got)
		}
		if got := two.calls.with("Deliver "); !slices.Equal(got, []string{"user:1 2"}) {
			t.Errorf("two received %q", got)
		}
	})
}

func TestSubscribeIsAnsweredOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, Options{URL: url})
		if r.Subscribe("a") {
			t.Error("a new channel is confirmed at once")
		}
		r.calls.await(t, "Subscribed a")
		if !r.Subscribe("a") {
			t.Error("a confirmed channel is not confirmed")
		}
		if r.Subscribe("{not}a channel") || r.Subscribe("aldaba:probe:x") {
			t.Error("an unusable channel is confirmed")
		}
		r.join(t, "b")
		if n := r.calls.count("Subscribed a"); n != 1 {
			t.Errorf("Subscribed was called %d times", n)
		}
	})
}

func TestUnsubscribeLingers(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, Options{URL: url}, func(t *timing) { t.linger = 300 * time.Millisecond })
		backend := client(t, url)
		heard := func() int64 {
			n, err := backend.Publish(context.Background(), "a", "1").Result()
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		r.join(t, "a")
		r.Unsubscribe("a")
		if heard() != 1 || !r.Subscribe("a") {
			t.Error("a reload loses the subscription")
		}
		r.Unsubscribe("a")
		eventually(t, 5*time.Second, "nobody listens", func() bool { return heard() == 0 })
		eventually(t, 5*time.Second, "nothing is left", func() bool { return size(r.interest) == 2 })
		if r.Subscribe("a") {
			t.Error("an ended subscription is confirmed")
		}
		eventually(t, 5*time.Second, "answered again", func() bool { return r.calls.count("Subscribed a") == 2 })
		if heard() != 1 {
			t.Error("not subscribed again")
		}
		if gaps := r.calls.with("Resync "); len(gaps) > 0 {
			t.Errorf("resync of %q", gaps)
		}
	})
}

func TestPublishRefusesWhatNobodyCouldReceive(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		b, err := Open(Options{URL: url, Message: 10})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = b.Close() }()
		for _, bad := range [][2]string{
			{"{x}", "1"},
			{"", "1"},
			{"aldaba:control", "1"},
			{"a", ""},
			{"a", "{"},
			{"a", `"12345678901"`},
			{"a", "\"\xff\""},
			{"a", "{} {}"},
		} {
			if err := publish(b, context.Background(), bad[0], []byte(bad[1])); !errors.Is(err, hub.ErrInvalidMessage) {
				t.Errorf("%q to %q: %v", bad[1], bad[0], err)
			}
		}
		if err := publish(b, context.Background(), "a", []byte("{}")); err != nil {
			t.Errorf("without Run: %v", err)
		}
	})
}

func TestPublishEndsWithItsContext(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, Options{URL: s.URL()})
	r.ready(t, 5*time.Second)
	s.Signal(stopSignal)
	defer s.Signal(contSignal)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := r.publish(ctx, "a", []byte("1")); err == nil {
		t.Error("a frozen redis took a message")
	}
	if took := time.Since(began); took > 2*time.Second { // a command alone would take three
		t.Errorf("took %s", took)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.publish(ended, "a", []byte("1")); !errors.Is(err, context.Canceled) {
		t.Errorf("under an ended context: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	const secret = "hunter2"
	for url, want := range map[string]string{
		"":                                 "empty",
		"localhost:6379":                   "scheme",
		"//:hunter2@localhost":             "scheme",
		"http://:hunter2@localhost":        `unknown scheme "http"`,
		"redis://:hunter2@host:port":       "cannot be parsed",
		"redis://:hun%zzhunter2@host":      "cannot be parsed",
		"redis://:hunter2@host/notanumber": "database",
		"redis://:hunter2@host?db=hunter2": "database",
		"redis://":                         "no host",
		"redis+sentinel://:hunter2@host":   "master_name",
		"redis+sentinel://host?password=hunter2&master_name=m&addr=hunter2": "addr",
		"redis+cluster://u:hunter2@host?colour=red":                         "colour",
	} {
		_, err := Open(Options{URL: url})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want something of %q", url, err, want)
			continue
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%q: the error repeats the password: %v", url, err)
		}
	}
	for _, prefix := range []string{"a*", "{a}", "é", "a b", strings.Repeat("a", 65)} {
		if _, err := Open(Options{URL: "redis://localhost", Prefix: prefix}); err == nil {
			t.Errorf("prefix %q is accepted", prefix)
		}
	}
}

func TestOpenAccepts(t *testing.T) {
	for _, url := range []string{
		"redis://localhost", "redis://u:p@localhost:1/2", "rediss://localhost?skip_verify=true", "unix:///tmp/redis.sock",
		"redis+sentinel://localhost:26379?master_name=m&addr=127.0.0.1:1&route_by_latency=true",
		"redis+cluster://localhost:1?addr=127.0.0.1:2", "rediss+cluster://localhost:1",
	} {
		b, err := Open(Options{URL: url, Prefix: "a.b:"})
		if err != nil {
			t.Errorf("%q: %v", url, err)
			continue
		}
		if err := b.Ready(); err == nil || !strings.Contains(err.Error(), "not connected yet") {
			t.Errorf("%q: ready: %v", url, err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestRunEndsAndStartsAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		b, err := Open(Options{URL: url, Logger: (&text{}).logger()})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error)
			go func() { done <- b.Run(ctx, &calls{}) }()
			eventually(t, 5*time.Second, "ready", func() bool { return b.Ready() == nil })
			if err := b.Run(ctx, &calls{}); !errors.Is(err, ErrRunning) {
				t.Errorf("a second Run: %v", err)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if b.Ready() == nil {
				t.Error("ready without Run")
			}
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error("second Close:", err)
		}
		if err := b.Run(context.Background(), &calls{}); !errors.Is(err, ErrClosed) {
			t.Errorf("Run after Close: %v", err)
		}
		if err := publish(b, context.Background(), "a", []byte("1")); err == nil {
			t.Error("Publish after Close")
		}
	})
}

func TestCloseEndsRun(t *testing.T) {
	b, err := Open(Options{URL: redistest.Start(t).URL(), Logger: (&text{}).logger()})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- b.Run(context.Background(), &calls{}) }()
	eventually(t, 5*time.Second, "ready", func() bool { return b.Ready() == nil })
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestMetrics(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		registry := prometheus.NewRegistry()
		r := run(t, Options{URL: url, Metrics: registry})
		if _, err := Open(Options{URL: url, Metrics: registry}); err == nil {
			t.Error("two brokers share a registry")
		}
		r.join(t, "a")
		if err := r.publish(context.Background(), "a", []byte("1")); err != nil {
			t.Fatal(err)
		}
		say(t, client(t, url), "a", "{")
		r.calls.await(t, "Deliver a 1")
		r.ready(t, 5*time.Second)
		for name, want := range map[string]float64{
			"aldaba_messages_published_total": 1, "aldaba_redis_up": 1, "aldaba_redis_subscriptions": 3,
			"aldaba_gaps_total": 0, "aldaba_redis_reconnects_total": 0, "aldaba_publish_errors_total": 0,
		} {
			if got := metric(t, registry, name, ""); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		eventually(t, 5*time.Second, "counted", func() bool {
			return metric(t, registry, "aldaba_messages_received_total", "") == 2 &&
				metric(t, registry, "aldaba_messages_dropped_total", reasonJSON) == 1 &&
				metric(t, registry, "aldaba_redis_lag_seconds", "") > 0
		})
	})
}

// metric returns a counter's or gauge's value, or a histogram's count.
func metric(t testing.TB, g prometheus.Gatherer, name, label string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" || m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	t.Fatalf("no metric %s %s", name, label)
	return 0
}

func size(i *interest) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.entries)
}

// What no replica would deliver is not published either.
func TestPublishTooDeep(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, Options{URL: url})
		r.join(t, "a")
		for _, depth := range []int{maxDepth + 1, 10_000, 10_001} {
			if err := r.publish(context.Background(), "a", []byte(nested(depth))); !errors.Is(err, hub.ErrInvalidMessage) {
				t.Errorf("%d deep: %v", depth, err)
			}
		}
		if err := r.publish(context.Background(), "a", []byte(nested(maxDepth))); err != nil {
			t.Error(err)
		}
		r.calls.await(t, "Deliver a "+nested(maxDepth))
	})
}
