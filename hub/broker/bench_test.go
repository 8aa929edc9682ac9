package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"aldaba/internal/redistest"

	"aldaba/hub"

	"github.com/redis/go-redis/v9"
)

// counter is a Receiver that only counts.
type counter struct{ delivered, subscribed atomic.Int64 }

func (c *counter) Deliver(string, hub.Position, []byte) int { c.delivered.Add(1); return 1 }
func (c *counter) Subscribed(string)                        { c.subscribed.Add(1) }
func (c *counter) Resync(string, hub.Position)              {}
func (c *counter) Readers(string) []string                  { return nil }
func (c *counter) Read(string, string, hub.Position, int)   {}

func benchBroker(b *testing.B, url string) (*Broker, *counter) {
	b.Helper()
	return runBench(b, Options{URL: url})
}

func runBench(b *testing.B, o Options) (*Broker, *counter) {
	b.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	broker, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	c := &counter{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- broker.Run(ctx, c) }()
	b.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, broker.Close()); err != nil {
			b.Error(err)
		}
	})
	eventually(b, 5*time.Second, "ready", func() bool { return broker.Ready() == nil })
	return broker, c
}

// BenchmarkReceive is from Redis to Deliver, 200 bytes of JSON each.
func BenchmarkReceive(b *testing.B) {
	s := redistest.Start(b)
	broker, c := benchBroker(b, s.URL())
	broker.Subscribe("a")
	eventually(b, 5*time.Second, "subscribed", func() bool { return c.subscribed.Load() == 1 })
	data := `{"title":"` + strings.Repeat("x", 188) + `"}`
	backend := client(b, s.URL())
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	b.ResetTimer()
	for sent := 0; sent < b.N; {
		n := min(b.N-sent, 1000)
		if _, err := backend.Pipelined(context.Background(), func(p redis.Pipeliner) error {
			for range n {
				p.Publish(context.Background(), "a", data)
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		sent += n
		for int64(sent)-c.delivered.Load() > 50_000 { // Redis would cut the connection
			time.Sleep(time.Millisecond)
		}
	}
	eventually(b, time.Minute, "delivered", func() bool { return c.delivered.Load() == int64(b.N) })
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkMessage is decoding alone.
func BenchmarkMessage(b *testing.B) {
	broker, err := Open(Options{URL: "redis://127.0.0.1:1", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = broker.Close() }()
	s := newSubscriber(broker, &counter{})
	m := &redis.Message{Channel: "user:42", Payload: `{"title":"` + strings.Repeat("x", 188) + `"}`}
	b.ReportAllocs()
	for b.Loop() {
		s.message(m)
	}
}

// BenchmarkSubscribe is until 10,000 channels are confirmed.
func BenchmarkSubscribe(b *testing.B) {
	s := redistest.Start(b)
	const channels = 10_000
	for n := range b.N {
		b.StopTimer()
		broker, c := benchBroker(b, s.URL())
		names := make([]string, channels)
		for i := range names {
			names[i] = fmt.Sprintf("user:%d:%d", n, i)
		}
		b.StartTimer()
		for _, name := range names {
			broker.Subscribe(name)
		}
		eventually(b, time.Minute, "subscribed", func() bool { return c.subscribed.Load() == channels })
	}
}

// BenchmarkRecorded is from publishing to Deliver on channels with history, 200 bytes
// of JSON each, over 1,000 channels: by plain PUBLISH, which the broker records itself,
// and by the function, which publishers call.
func BenchmarkRecorded(b *testing.B) {
	data := `{"title":"` + strings.Repeat("x", 188) + `"}`
	for name, publish := range map[string]func(p redis.Pipeliner, channel string){
		"plain": func(p redis.Pipeliner, channel string) { p.Publish(context.Background(), channel, data) },
		"fcall": func(p redis.Pipeliner, channel string) {
			p.Do(context.Background(), "FCALL", "aldaba_publish", 1, channel, data)
		},
	} {
		b.Run(name, func(b *testing.B) {
			s := redistest.Start(b)
			broker, c := runBench(b, keeping(b, s.URL()))
			backend := client(b, s.URL())
			awaitLibrary(b, backend, "")
			eventually(b, 10*time.Second, "a recorder", func() bool { return backend.Exists(context.Background(), "aldaba:recorder:{}").Val() == 1 })
			channels := make([]string, 1000)
			for i := range channels {
				channels[i] = fmt.Sprintf("log:%d", i)
				broker.Subscribe(channels[i])
			}
			eventually(b, 10*time.Second, "subscribed", func() bool { return c.subscribed.Load() == 1000 })
			time.Sleep(100 * time.Millisecond) // until the recorder listens
			b.ResetTimer()
			for sent := 0; sent < b.N; {
				n := min(b.N-sent, 500)
				if _, err := backend.Pipelined(context.Background(), func(p redis.Pipeliner) error {
					for i := range n {
						publish(p, channels[(sent+i)%len(channels)])
					}
					return nil
				}); err != nil {
					b.Fatal(err)
				}
				sent += n
				for int64(sent)-c.delivered.Load() > 20_000 {
					time.Sleep(time.Millisecond)
				}
			}
			eventually(b, time.Minute, "delivered", func() bool { return c.delivered.Load() >= int64(b.N) })
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// BenchmarkChannelMemory is what a channel takes in Redis, after so many messages of 200
// bytes, by Redis' stream-node-max-bytes.
func BenchmarkChannelMemory(b *testing.B) {
	data := `{"title":"` + strings.Repeat("x", 188) + `"}`
	for _, node := range []string{"4096", "1024", "256"} { // Redis' own default first
		for _, messages := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("node=%s/messages=%d", node, messages), func(b *testing.B) {
				const channels = 500
				for b.Loop() {
					s := redistest.Start(b, "--stream-node-max-bytes", node)
					runBench(b, kept(b, s.URL()))
					backend := client(b, s.URL())
					awaitLibrary(b, backend, "")
					before := usedMemory(b, backend)
					for c := range channels {
						if _, err := backend.Pipelined(context.Background(), func(p redis.Pipeliner) error {
							for range messages {
								p.Do(context.Background(), "FCALL", "aldaba_publish", 1, fmt.Sprintf("log:%06d", c), data)
							}
							return nil
						}); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric((usedMemory(b, backend)-before)/channels, "B/channel")
				}
			})
		}
	}
}

func usedMemory(b *testing.B, c *redis.Client) float64 {
	b.Helper()
	info, err := c.InfoMap(context.Background(), "memory").Result()
	if err != nil {
		b.Fatal(err)
	}
	used, err := strconv.ParseFloat(info["Memory"]["used_memory"], 64)
	if err != nil {
		b.Fatal(err)
	}
	return used
}

// BenchmarkInterestMemory reports what each of 100,000 channels takes beyond its name,
// as long as this replica hears it.
func BenchmarkInterestMemory(b *testing.B) {
	const n = 100_000
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("user:", i)
	}
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		x := newInterest("probe", defaultTiming)
		for _, name := range names {
			x.subscribe(name)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/channel")
		runtime.KeepAlive(x)
	}
}
