package server

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// exhaustedListener is one without descriptors until it is closed.
type exhaustedListener struct {
	net.Listener // none

	closed chan struct{}
	tries  int
}

func (l *exhaustedListener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
		l.tries++
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: syscall.EMFILE}
	}
}

func (l *exhaustedListener) Addr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}
}

func (l *exhaustedListener) Close() error {
	close(l.closed)
	return nil
}

// TestExhaustedDescriptorsAreSeen has nothing to accept with for twelve seconds.
func TestExhaustedDescriptorsAreSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs bytes.Buffer
		s, err := New(Options{Logger: slog.New(slog.NewTextHandler(&logs, nil))}) // at the default level
		if err != nil {
			t.Fatal(err)
		}
		l := &exhaustedListener{closed: make(chan struct{})}
		served := make(chan error)
		go func() { served <- s.Serve(l) }()
		<-time.After(12 * time.Second)
		if err := s.public.Close(); err != nil && !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		// 5 ms, 10 ms, ... 640 ms, and a second from then on.
		if l.tries != 8+11 {
			t.Errorf("%d tries", l.tries)
		}
		lines := strings.Split(strings.TrimSpace(logs.String()), "\n")
		if len(lines) != 3 {
			t.Fatalf("%d lines:\n%s", len(lines), logs.String())
		}
		for i, suppressed := range []string{"suppressed=0", "suppressed=11", "suppressed=4"} {
			for _, part := range []string{"level=WARN", "127.0.0.1:8080", "too many open files", suppressed} {
				if !strings.Contains(lines[i], part) {
					t.Errorf("no %s in %s", part, lines[i])
				}
			}
		}
	})
}
