package hub

import "testing"

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
	w.hub.Deliver("team:red", []byte("1"))
	asks.nothing()

	w.broker.hold(false)
	asks.ask(`{"type":"subscribe","id":3,"channel":"team:red"}`, "joined")
	w.hub.Deliver("team:red", []byte("2"))
	asks.expect("message")
}
