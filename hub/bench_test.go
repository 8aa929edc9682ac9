package hub

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

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
				h.Deliver("room:1", data)
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
		g, _ := grants.Lookup("room:1")
		s.join(&membership{session: s}, g)
		sessions[i] = s
	}
	b.Cleanup(func() {
		for _, s := range sessions {
			s.finish()
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
