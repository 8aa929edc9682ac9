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

func full(s *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.out.frames) > 1000
}

// benchHub returns a hub with n sessions in room:1, over TCP but without HTTP.
func benchHub(b *testing.B, n int) (*Hub, []*session) {
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
	claims := &auth.Claims{User: "u", Values: map[string]any{"sub": "u", "rooms": []any{"1"}}}
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
