package hub

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

func TestEndlessFragments(t *testing.T) {
	w := newWorld(t)
	c := w.login("ann", nil)
	chunk := "\x01\xfe\x10\x00\x00\x00\x00\x00" + strings.Repeat("x", 4096)
	for i := range 100 { // 400 KiB in all, the limit is 84
		if _, err := io.WriteString(c.NetConn(), chunk); err != nil {
			break
		}
		if i == 0 {
			chunk = "\x00" + chunk[1:]
		}
	}
	c.expectClose(websocket.CloseMessageTooBig)
}

func TestFloodIsToldAndThenCut(t *testing.T) {
	w := newWorld(t)
	c := w.login("ann", nil)
	told := false
	for range 1000 {
		if c.WriteMessage(websocket.TextMessage, []byte(`{"type":"ping","id":7}`)) != nil {
			break
		}
	}
	c.expectClose(CloseOverLimit)
	for len(c.frames) > 0 {
		if f := <-c.frames; f["code"] == "rate_limited" {
			told = f["retry_after"] != nil && f["id"] == 7.0
		}
	}
	if !told {
		t.Error("it was never told")
	}
}

// flood sends bytes again and again, until the hub hangs up.
func (c *client) flood(bytes string) {
	many := strings.Repeat(bytes, 1000)
	for deadline := time.Now().Add(patience); ; {
		if _, err := io.WriteString(c.NetConn(), many); err != nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatal("it is let go on for ever")
		}
	}
}

// TestFragmentsThatHoldNothingAreCut sends what no limit of a message's size sees.
func TestFragmentsThatHoldNothingAreCut(t *testing.T) {
	w := newWorld(t)
	for name, fragment := range map[string]string{
		"empty":    "\x00\x80\x00\x00\x00\x00",
		"one byte": "\x00\x81\x00\x00\x00\x00x",
	} {
		t.Log(name)
		c := w.login("ann", nil).raw("\x01\x80\x00\x00\x00\x00")
		c.flood(fragment)
		if f := c.expect("error"); f["code"] != "too_large" {
			t.Errorf("got %v", f)
		}
		c.expectClose(CloseOverLimit)
	}
}

// TestFragmentsOfALargeMessageAreTaken sends the largest publish in fragments that
// a client might make.
func TestFragmentsOfALargeMessageAreTaken(t *testing.T) {
	w := newWorld(t)
	c := w.login("ann", claims{"rooms": []string{"1"}})
	for range 5 { // no message counts against the next
		text := `{"type":"publish","id":1,"channel":"room:1","data":"` + strings.Repeat("x", 60_000) + `"}`
		opcode := byte(1)
		for len(text) > 100 {
			c.raw(string([]byte{opcode, 0x80 | 100, 0, 0, 0, 0}) + text[:100])
			text, opcode = text[100:], 0
		}
		c.raw(string([]byte{0x80, byte(0x80 | len(text)), 0, 0, 0, 0}) + text)
		c.expect("message")
		c.expect("published")
	}
}

func TestPingsAndPongsCountAsFrames(t *testing.T) {
	w := newWorld(t)
	for name, frame := range map[string]string{"ping": "\x89\x80\x00\x00\x00\x00", "pong": "\x8a\x80\x00\x00\x00\x00"} {
		t.Log(name)
		conn, _, err := w.dial(w.token("ann", nil))
		if err != nil {
			t.Fatal(err)
		}
		pongs := 0
		conn.SetPongHandler(func(string) error { pongs++; return nil })
		c := w.read(conn)
		c.expect("welcome")
		c.flood(frame)
		c.expectClose(CloseOverLimit)
		if most := 2 * w.hub.limits.FramesPerSecond; pongs > most {
			t.Errorf("%d pongs were sent, %d at most are right", pongs, most)
		}
	}
}

// TestPingsOfALongLifeDoNotAddUp sends more bytes of pings than any message may
// have, slowly enough.
func TestPingsOfALongLifeDoNotAddUp(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.FramesPerSecond = 1 << 20; o.Limits.Message = 1 << 10 })
	c := w.login("ann", nil)
	for range 2000 {
		c.raw("\x89\xfd\x00\x00\x00\x00" + strings.Repeat("x", 125))
	}
	c.say(`{"type":"ping"}`)
	c.expect("pong")
}

// TestSubscribeFlood joins and leaves as fast as it goes.
func TestSubscribeFlood(t *testing.T) {
	w := newWorld(t)
	c := w.login("ann", claims{"teams": []string{"red"}})
	for i := 0; ; i++ {
		kind := []string{"subscribe", "unsubscribe"}[i%2]
		if c.WriteMessage(websocket.TextMessage, []byte(`{"type":"`+kind+`","channel":"team:red"}`)) != nil {
			break
		}
	}
	c.expectClose(CloseOverLimit)
	w.eventually("nothing is left of it", func() bool { return w.isEmpty() && len(w.broker.channels()) == 0 })
}

// TestHundredThousandSubscriptions asks for as many channels as one frame each
// can, with the right to all of them.
func TestHundredThousandSubscriptions(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.FramesPerSecond = 1 << 20 })
	c := w.login("ann", claims{"roles": []string{"admin"}})
	refused := 0
	for i := range 100_000 {
		c.say(fmt.Sprintf(`{"type":"subscribe","channel":"room:%d"}`, i))
		<-c.texts
		if f := c.next(); f["type"] == "error" {
			refused++
			if f["code"] != "too_many_channels" || f["retry_after"] == nil {
				t.Fatalf("got %v", f)
			}
		}
	}
	limit := w.hub.limits.ChannelsPerSession
	if n := w.hub.index.count(); n != limit || refused != 100_000+2-limit {
		t.Errorf("%d channels are joined, %d were refused", n, refused)
	}
}

// TestRefreshesDoNotAddUpChannels trades one set of rooms for another while the
// right to all of them stays.
func TestRefreshesDoNotAddUpChannels(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.ChannelsPerSession, o.Limits.FramesPerSecond = 5, 1000 })
	c := w.login("ann", claims{"roles": []string{"admin"}, "rooms": []string{"1", "2", "3"}})
	token := w.token("ann", claims{"roles": []string{"admin"}, "rooms": []string{"4", "5", "6"}})
	if f := c.ask(`{"type":"refresh","token":"`+token+`"}`, "error"); f["code"] != "too_many_channels" || f["retry_after"] == nil {
		t.Errorf("got %v", f)
	}
	if n := w.hub.index.count(); n != 5 {
		t.Errorf("%d channels are joined", n)
	}
	c.ask(`{"type":"refresh","token":"`+w.token("ann", claims{"rooms": []string{"3", "4"}})+`"}`, "left")
}

// TestUserAtHisLimitDoesNotUseUpTheConnectsOfOthers is what makes the limit of all
// bearable.
func TestUserAtHisLimitDoesNotUseUpTheConnectsOfOthers(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.ConnectsPerSecond, o.Limits.SessionsPerUser = 3, 1 })
	w.login("mallory", nil)
	for range 20 {
		w.refused(429, "too_many_sessions", w.token("mallory", nil))
	}
	w.login("ben", nil)
}
