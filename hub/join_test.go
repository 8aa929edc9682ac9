package hub

import (
	"testing"
	"time"
)

// TestEverySubscribeIsAnswered asks for a channel again and again before the
// broker has confirmed it.
func TestEverySubscribeIsAnswered(t *testing.T) {
	w := newWorld(t)
	c := w.login("ann", claims{"teams": []string{"red", "blue"}})
	w.broker.hold(true)
	for _, id := range []string{"1", "2", "3"} {
		c.say(`{"type":"subscribe","id":` + id + `,"channel":"team:red"}`)
	}
	c.nothing()
	w.hub.Subscribed("team:red")
	for _, id := range []float64{1, 2, 3} {
		if f := c.expect("joined"); f["id"] != id {
			t.Errorf("got %v, want id %v", f, id)
		}
	}

	c.say(`{"type":"subscribe","id":4,"channel":"team:blue"}`)
	c.say(`{"type":"unsubscribe","id":5,"channel":"team:blue"}`)
	if f := c.expect("error"); f["id"] != 4.0 || f["code"] != "not_joined" {
		t.Errorf("got %v", f)
	}
	if f := c.expect("left"); f["id"] != 5.0 {
		t.Errorf("got %v", f)
	}
}

// TestSubscribeToWhatIsJoinedAtConnect asks before the welcome.
func TestSubscribeToWhatIsJoinedAtConnect(t *testing.T) {
	w := newWorld(t)
	w.broker.hold(true)
	c := w.connect(w.token("ann", nil))
	c.say(`{"type":"subscribe","id":1,"channel":"user:ann"}`)
	c.say(`{"type":"ping"}`)
	w.eventually("both were obeyed", func() bool { return w.metric("aldaba_commands_total", "ping") == 1 })
	w.hub.Subscribed("user:ann")
	w.hub.Subscribed("broadcast")
	c.expect("welcome")
	c.expect("pong")
	if f := c.expect("joined"); f["id"] != 1.0 || f["channel"] != "user:ann" {
		t.Errorf("got %v", f)
	}
}

// TestJoinsThatTheBrokerNeverConfirmsAreGivenUp has it confirm nothing any more.
func TestJoinsThatTheBrokerNeverConfirmsAreGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	asks := w.login("ann", claims{"teams": []string{"red"}})
	gains := w.login("ben", nil)
	w.broker.hold(true)
	asks.say(`{"type":"subscribe","id":1,"channel":"team:red"}`)
	asks.say(`{"type":"subscribe","id":2,"channel":"team:red"}`)
	gains.ask(`{"type":"refresh","token":"`+w.token("ben", claims{"rooms": []string{"1"}})+`"}`, "refreshed")
	for _, id := range []float64{1, 2} {
		if f := asks.expect("error"); f["id"] != id || f["code"] != "unavailable" || f["retry_after"] == nil {
			t.Errorf("got %v, want id %v", f, id)
		}
	}
	gains.expectClose(CloseBrokerLost)
	w.hub.Deliver("team:red", Position{}, []byte("1"))
	asks.nothing()

	w.broker.hold(false)
	asks.ask(`{"type":"subscribe","id":3,"channel":"team:red"}`, "joined")
	w.hub.Deliver("team:red", Position{}, []byte("2"))
	asks.expect("message")
}

// TestSubscribeWhileTheFirstIsGivenUp asks again in the moment between a join's
// end in its channel and in its session.
func TestSubscribeWhileTheFirstIsGivenUp(t *testing.T) {
	w := newWorld(t)
	c := w.login("ann", claims{"teams": []string{"red"}})
	w.broker.hold(true)
	c.say(`{"type":"subscribe","id":1,"channel":"team:red"}`)
	c.nothing()
	s := w.session("ann")
	m := s.membership("team:red")
	d := m.channel.leaveLate(m, time.Now().Add(2*joinWait))
	if !d.ok {
		t.Fatal("it is not given up")
	}
	w.broker.hold(false)
	c.ask(`{"type":"subscribe","id":2,"channel":"team:red"}`, "joined")
	s.forget(m, d)
	w.hub.Deliver("team:red", Position{}, []byte("1"))
	c.expect("message")
}

// TestHangingUpDoesNotWaitForAWriterThatWaitsForTheSession has a writer take and
// release the session's lock while the timer closes the socket.
func TestHangingUpDoesNotWaitForAWriterThatWaitsForTheSession(t *testing.T) {
	w := newWorld(t)
	w.login("ann", nil)
	s := w.session("ann")
	s.mu.Lock()
	s.ended, s.until = true, time.Now()
	raw := s.raw
	s.mu.Unlock()
	writing, written := make(chan struct{}), make(chan error, 1)
	go func() {
		written <- raw.Write(func(uintptr) bool {
			close(writing)
			for begin := time.Now(); time.Since(begin) < 200*time.Millisecond; {
				s.isOver() // takes the lock
			}
			return true
		})
	}()
	<-writing
	ticked := make(chan struct{})
	go func() {
		defer close(ticked)
		s.tick()
	}()
	select {
	case <-ticked:
	case <-time.After(patience):
		t.Fatal("the timer and the writer wait for each other")
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}
