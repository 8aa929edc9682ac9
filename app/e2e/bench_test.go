package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"aldaba/internal/redistest"
)

// BenchmarkIdleSession reports what an idle session costs a replica in resident
// memory, as the kernel counts it: `go test -run '^$' -bench Idle ./app/e2e`.
// Each has joined two channels, one of them its own. What the replica allocates
// while they connect and has not given back counts as well.
func BenchmarkIdleSession(b *testing.B) {
	const sessions, most = 8000, 12
	redis := redistest.Start(b)
	for b.Loop() {
		r := serve(b, plain, redis, nil)
		before := r.rss()
		conns := r.connectIdle(sessions)
		each := float64(r.rss()-before) / sessions / 1024
		b.ReportMetric(each, "KiB/session")
		if each > most {
			b.Errorf("a session costs %.1f KiB, more than %d", each, most)
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
		eventually(b, "all are gone", func() bool { return r.metric("aldaba_sessions") == 0 })
		r.stop()
	}
}

// connectIdle opens sessions of as many users, each of which has been welcomed.
// They cost this process little: no goroutine, and no buffers.
func (r *replica) connectIdle(n int) []net.Conn {
	r.t.Helper()
	conns := make([]net.Conn, n)
	for i := range conns {
		conn, err := net.Dial("tcp", r.public)
		if err != nil {
			r.t.Fatal(err)
		}
		conns[i] = conn
		_, err = fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer %s\r\n\r\n", r.public, token(r.t, fmt.Sprint("u", i), nil))
		if err != nil {
			r.t.Fatal(err)
		}
		awaitWelcome(r.t, conn)
	}
	return conns
}

// awaitWelcome reads to the end of the first frame.
func awaitWelcome(t testing.TB, conn net.Conn) {
	t.Helper()
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(line) == "" {
			break
		}
		if strings.HasPrefix(line, "HTTP/1.1 ") && !strings.HasPrefix(line, "HTTP/1.1 101") {
			t.Fatal(line)
		}
	}
	// 126 and two bytes of length (RFC 6455, section 5.2): a welcome is longer than
	// 125 bytes and shorter than 64 KiB.
	header := make([]byte, 4)
	if _, err := io.ReadFull(in, header); err != nil {
		t.Fatal(err)
	}
	welcome := make([]byte, int(header[2])<<8|int(header[3]))
	if _, err := io.ReadFull(in, welcome); err != nil || !strings.Contains(string(welcome), `"welcome"`) {
		t.Fatalf("%q %v", welcome, err)
	}
}
