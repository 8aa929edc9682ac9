package hub

import (
	"testing"
	"time"
)

// TestPingsKeepASessionAlive pings a peer that answers, and sends nothing else,
// for longer than it may be silent.
func TestPingsKeepASessionAlive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hub.melody.Config.PongWait = time.Second
	conn, _, err := w.dial(w.token("ann", nil))
	if err != nil {
		t.Fatal(err)
	}
	pings := make(chan struct{}, 1)
	answer := conn.PingHandler()
	conn.SetPingHandler(func(payload string) error {
		pings <- struct{}{}
		return answer(payload)
	})
	c := w.read(conn)
	c.expect("welcome")
	s := w.session("ann")
	for begin := time.Now(); time.Since(begin) < 2500*time.Millisecond; {
		s.mu.Lock()
		s.pingAt = time.Now()
		s.timer.Reset(0)
		s.mu.Unlock()
		select {
		case <-pings:
		case <-time.After(patience):
			t.Fatal("no ping came")
		}
		time.Sleep(100 * time.Millisecond) // until the next
	}
	c.ask(`{"type":"ping"}`, "pong")
	if next := time.Until(s.pingAt); next < pingPeriod-5*time.Second || next > pingPeriod {
		t.Errorf("the next ping comes in %v", next)
	}
}

// TestHalfOpenConnectionIsHungUpOn has a peer that neither reads nor ends.
func TestHalfOpenConnectionIsHungUpOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hub.melody.Config.PongWait = 300 * time.Millisecond
	conn, _, err := w.dial(w.token("ann", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w.eventually("it is there", func() bool { return w.hub.Sessions() == 1 })
	w.eventually("it is hung up on", w.isEmpty)
}
