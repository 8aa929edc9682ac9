package hub

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"aldaba/auth"
)

// BenchmarkDeliver routes 200-byte messages to one room of n sessions whose
// sockets are read; one operation is one message to all of them.
func BenchmarkDeliver(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) {
			h, sessions := benchHub(b, n)
			data := []byte(`"` + strings.Repeat("x", 198) + `"`)
			b.ReportAllocs()
			for b.Loop() {
				h.Deliver("room:1", Position{}, data)
				for full(sessions[0]) { // let the flushers keep up
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/delivery")
		})
	}
}

// TestDeliveryAllocatesNothingForASession: what a message allocates, it does once, alone
// and in a burst.
func TestDeliveryAllocatesNothingForASession(t *testing.T) {
	const few, many, rounds = 1, 101, 200
	data := []byte(`"x"`)
	for _, burst := range []int{1, 2, 8} {
		allocations := func(n int) float64 {
			h, sessions := benchHub(t, n)
			return testing.AllocsPerRun(rounds, func() {
				for range burst {
					h.Deliver("room:1", Position{}, data)
				}
				for _, s := range sessions {
					for !idle(s) { // the next burst finds it so
						runtime.Gosched()
					}
				}
			})
		}
		// The flushers' lists may grow now and then, and pools lose a part under the race
		// detector.
		if one, all := allocations(few), allocations(many); all > one+many/2 {
			t.Errorf("%d messages to %d sessions take %.1f allocations, to %d %.1f", burst, few, one, many, all)
		}
	}
}

func idle(s *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.empty() && s.out.state == outboxIdle
}

// BenchmarkFrame encodes one message for all sessions.
func BenchmarkFrame(b *testing.B) {
	data := []byte(`"` + strings.Repeat("x", 198) + `"`)
	ch := &channel{name: "user:42"}
	for name, at := range map[string]Position{"plain": {}, "recorded": {"1790000000000000", 17, 1790000000000001}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				messageFrame(ch, at, data)
			}
		})
	}
}

// BenchmarkIndexChurn takes a channel into an index of so many and out again.
func BenchmarkIndexChurn(b *testing.B) {
	for _, n := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("channels=%d", n), func(b *testing.B) {
			x := newIndex(&memoryBroker{subscribed: map[string]bool{}}, auth.Histories{}, newMetrics())
			for i := range n {
				x.hold(auth.Grant{Channel: fmt.Sprint("user:", i), Pattern: "user:{sub}"})
			}
			g := auth.Grant{Channel: "user:anna", Pattern: "user:{sub}"}
			b.ReportAllocs()
			for b.Loop() {
				x.release(x.hold(g))
			}
		})
	}
}

// BenchmarkIndexMemory reports what a channel takes in an index of 100,000, beyond its
// name, and with a session that has joined it.
func BenchmarkIndexMemory(b *testing.B) {
	const n = 100_000
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("user:", i)
	}
	for _, members := range []int{0, 1} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			for b.Loop() {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				x := newIndex(quietBroker{}, auth.Histories{}, newMetrics())
				for _, name := range names {
					ch := x.hold(auth.Grant{Channel: name, Pattern: "user:{sub}"})
					for range members {
						ch.enter(&membership{channel: ch}, quietBroker{})
					}
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/channel")
				runtime.KeepAlive(x)
			}
		})
	}
}

// quietBroker is a broker that keeps nothing and never confirms.
type quietBroker struct{ Broker }

func (quietBroker) Subscribe(string) bool { return false }

func full(s *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.out.frames) > 1000
}

// benchHub returns a hub with n sessions in room:1, over TCP but without HTTP.
func benchHub(b testing.TB, n int) (*Hub, []*session) {
	b.Helper()
	policy, err := auth.NewPolicy([]auth.Pattern{{Name: "room:{rooms}"}})
	if err != nil {
		b.Fatal(err)
	}
	broker := &memoryBroker{subscribed: map[string]bool{}}
	h, err := New(Options{Verifier: &panicking{}, Policy: policy, Broker: broker})
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	claims := &auth.Claims{User: "u", ExpiresAt: time.Now().Add(time.Hour), Values: map[string]any{"sub": "u", "rooms": []any{"1"}}}
	grants := policy.Grants(claims)
	var peers sync.WaitGroup
	sessions := make([]*session, n)
	for i := range sessions {
		peer, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		socket, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		peers.Go(func() {
			for buf := make([]byte, 64<<10); ; {
				if _, err := peer.Read(buf); err != nil {
					return
				}
			}
		})
		s := h.newSession(claims, grants, "")
		s.socket, s.raw, s.welcomed = socket, rawConn(socket), true
		s.timer = time.AfterFunc(time.Hour, s.tick)
		g, _ := grants.Lookup("room:1")
		s.join(newMembership(s, Position{}), g)
		sessions[i] = s
	}
	b.Cleanup(func() {
		for _, s := range sessions {
			s.finish()
			_ = s.socket.Close() // without a conn of its own
		}
		peers.Wait()
		if err := h.Close(); err != nil {
			b.Error(err)
		}
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	})
	return h, sessions
}

// BenchmarkIdleSession holds idle sessions over real connections and reports what
// one costs this process in stacks and in live heap, both ends of its socket
// included. One operation is one connect.
func BenchmarkIdleSession(b *testing.B) {
	w := newWorld(b, func(o *Options) {
		o.Limits.SessionsPerUser, o.Limits.SessionsPerAddress, o.Limits.ConnectsPerSecond = 1e6, 1e6, 1e6
	})
	request := "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer " + w.token("ann", nil) + "\r\n\r\n"
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var conns []net.Conn
	for b.Loop() {
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.server.URL, "http://"))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.WriteString(conn, request); err != nil {
			b.Fatal(err)
		}
		if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
			b.Fatal(err)
		}
		conns = append(conns, conn)
	}
	w.eventually("all have joined", func() bool { return w.joined("broadcast") == len(conns) })
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.StackInuse-before.StackInuse)/float64(len(conns)), "stack-B/session")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(conns)), "heap-B/session")
	for _, conn := range conns {
		conn.Close()
	}
}
