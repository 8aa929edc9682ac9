package hub

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

func in(d time.Duration) claims { return claims{"exp": time.Now().Add(d).Unix()} }

func with(c claims, key string, value any) claims { c[key] = value; return c }

// cutInTime fails unless now is within a second of what exp, in whole seconds, says.
func cutInTime(t *testing.T, exp any) {
	t.Helper()
	late := time.Since(time.Unix(exp.(int64), 0))
	if late < 0 || late > time.Second {
		t.Errorf("cut %v after expiry", late)
	}
}

func TestExpiredTokenIsCutWhenIdle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	short := in(2 * time.Second)
	c := w.login("ann", short)
	if f := c.expect("expiring"); f["expires_at"] != float64(short["exp"].(int64)) {
		t.Errorf("expiring: %v", f)
	}
	c.expectClose(CloseExpired)
	cutInTime(t, short["exp"])
}

func TestExpiredTokenIsCutWhenItsBufferIsFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	short := with(in(3*time.Second), "rooms", []string{"1"})
	stalled, _, err := w.dial(w.token("ann", short), smallReceiveBuffer)
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("it has joined", func() bool { return w.joined("room:1") == 1 })
	s := w.session("ann")
	w.eventually("its socket is full", func() bool {
		w.hub.Deliver("room:1", Position{}, []byte(`"`+strings.Repeat("x", 8000)+`"`))
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.out.state == outboxWaiting && len(s.out.frames) > 10
	})
	w.eventually("it is out of its channels", func() bool { return w.hub.index.count() == 0 })
	cutInTime(t, short["exp"])
	s.mu.Lock()
	for _, f := range s.out.frames {
		if f.channel != nil {
			t.Error("a message waits in an ended session")
		}
	}
	s.mu.Unlock()
	w.read(stalled).expectClose(CloseExpired)
}

// joined returns how many sessions have joined channel.
func (w *world) joined(channel string) int {
	ch := w.hub.index.lookup(channel)
	if ch == nil {
		return 0
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return len(ch.joined)
}

func (w *world) session(user string) *session {
	w.t.Helper()
	w.hub.roster.mu.Lock()
	defer w.hub.roster.mu.Unlock()
	for s := range w.hub.roster.sessions.entries {
		if s.user == user {
			return s
		}
	}
	w.t.Fatalf("%s has no session", user)
	return nil
}

func TestStalledSocketThatTakesNothingIsCut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	conn, _, err := w.dial(w.token("ann", claims{"rooms": []string{"1"}}), smallReceiveBuffer)
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("it has joined", func() bool { return w.joined("room:1") == 1 })
	s := w.session("ann")
	w.eventually("its socket is full", func() bool {
		w.hub.Deliver("room:1", Position{}, []byte(`"`+strings.Repeat("x", 8000)+`"`))
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.out.state == outboxWaiting
	})
	// The queue is far from full, but nothing moves any more.
	w.eventually("it is cut", func() bool { return w.hub.index.count() == 0 })
	w.read(conn).expectClose(CloseSlow)
}

func TestRefreshJoinsAndLeaves(t *testing.T) {
	w := newWorld(t)
	c := w.login("ann", claims{"rooms": []string{"1", "2"}, "teams": []string{"red"}, "exp": time.Now().Add(30 * time.Second).Unix()})
	c.expect("expiring")
	c.ask(`{"type":"subscribe","channel":"team:red"}`, "joined")
	c.say(`{"type":"refresh","id":6,"token":"` + w.token("ann", claims{"rooms": []string{"2", "3"}}) + `"}`)
	for range 2 {
		if f := c.expect("left"); f["reason"] != "revoked" || (f["channel"] != "room:1" && f["channel"] != "team:red") {
			t.Errorf("left: %v", f)
		}
	}
	if f := c.expect("refreshed"); f["id"] != 6.0 || f["expires_at"].(float64) < float64(time.Now().Unix()+3000) {
		t.Errorf("refreshed: %v", f)
	}
	if f := c.expect("joined"); f["channel"] != "room:3" || f["id"] != nil {
		t.Errorf("joined: %v", f)
	}
	for i, channel := range []string{"room:1", "team:red", "room:2", "room:3"} {
		w.hub.Deliver(channel, Position{}, fmt.Append(nil, i))
	}
	if f := c.expect("message"); f["channel"] != "room:2" {
		t.Errorf("got %v", f)
	}
	if f := c.expect("message"); f["channel"] != "room:3" {
		t.Errorf("got %v", f)
	}
	c.nothing()
}

func TestRefreshOutlivesTheFirstToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	short := in(2 * time.Second)
	c := w.login("ann", short)
	c.expect("expiring")
	c.ask(`{"type":"refresh","token":"`+w.token("ann", nil)+`"}`, "refreshed")
	w.eventually("the first token has expired", func() bool { return time.Now().Unix() > short["exp"].(int64)+1 })
	w.hub.Deliver("user:ann", Position{}, []byte(`1`))
	c.expect("message")
}

func TestRefreshWithAChannelLeftByTheClientStaysLeft(t *testing.T) {
	w := newWorld(t)
	c := w.login("ann", claims{"rooms": []string{"1"}})
	c.ask(`{"type":"unsubscribe","channel":"room:1"}`, "left")
	c.ask(`{"type":"refresh","token":"`+w.token("ann", claims{"rooms": []string{"1"}})+`"}`, "refreshed")
	c.nothing()
}

func TestRefreshWithBadTokens(t *testing.T) {
	w := newWorld(t)
	short := in(20 * time.Second)
	c := w.login("ann", short)
	c.expect("expiring")
	for name, token := range map[string]string{
		"somebody else's": w.token("ben", nil),
		"expired":         w.token("ann", in(-time.Minute)),
		"forged":          w.token("ann", nil) + "x",
		"none":            "",
	} {
		if f := c.ask(`{"type":"refresh","id":1,"token":"`+token+`"}`, "error"); f["code"] != "unauthorized" {
			t.Errorf("%s: %v", name, f)
		}
	}
	s := w.session("ann")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.expires.Unix() != short["exp"].(int64) {
		t.Error("a refused refresh moved the expiry")
	}
}

func TestRevokedChannelIsTakenOutOfAFullQueue(t *testing.T) {
	w := newWorld(t)
	conn, _, err := w.dial(w.token("ann", claims{"rooms": []string{"1", "2"}}), smallReceiveBuffer)
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("it has joined", func() bool { return w.joined("room:2") == 1 })
	s := w.session("ann")
	queued := func(channel string) (n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, f := range s.out.frames {
			if f.channel != nil && f.channel.name == channel {
				n++
			}
		}
		return n
	}
	w.eventually("messages of both rooms are queued", func() bool {
		for _, room := range []string{"room:1", "room:2"} {
			w.hub.Deliver(room, Position{}, []byte(`"`+strings.Repeat("x", 8000)+`"`))
		}
		return queued("room:1") > 20
	})
	refresh := `{"type":"refresh","token":"` + w.token("ann", claims{"rooms": []string{"2"}}) + `"}`
	if err := conn.WriteMessage(websocket.TextMessage, []byte(refresh)); err != nil {
		t.Fatal(err)
	}
	w.eventually("room:1 is left", func() bool { return w.joined("room:1") == 0 && queued("room:1") == 0 })
	c := w.read(conn)
	left := false
	for f := c.next(); f["type"] != "refreshed"; f = c.next() {
		if f["type"] == "left" {
			left = true
		}
		if left && f["channel"] == "room:1" && f["type"] == "message" {
			t.Fatal("a message came after left")
		}
	}
}

// TestNothingIsHandedOutAfterExpiry: the timer cuts a moment later than the token ends,
// and a message that comes in between must not go out.
func TestNothingIsHandedOutAfterExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	short := in(2 * time.Second)
	c := w.login("ann", short)
	s := w.session("ann")
	s.mu.Lock()
	s.grace = 5 * time.Second
	s.mu.Unlock()
	w.hub.Deliver("user:ann", Position{}, []byte("1"))
	c.expect("expiring")
	if f := c.expect("message"); f["data"] != 1.0 {
		t.Errorf("got %v", f)
	}
	time.Sleep(time.Until(time.Unix(short["exp"].(int64), 0)))
	w.hub.Deliver("user:ann", Position{}, []byte("2"))
	c.expectClose(CloseExpired)
	cutInTime(t, short["exp"]) // by the message: the timer has not come yet
	select {
	case f := <-c.frames:
		t.Errorf("got %v", f)
	default:
	}
}

// TestALongListOutlivesNoToken: tokens may end while a flusher is busy with the sessions
// that are listed before.
func TestALongListOutlivesNoToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ends := time.Now().Add(7 * time.Second).Truncate(time.Second) // all log in before
	room := claims{"rooms": []string{"1"}, "exp": ends.Unix()}
	var listeners []*client
	for i := range 20 {
		user := fmt.Sprint("u", i)
		listeners = append(listeners, w.login(user, room))
		s := w.session(user)
		s.mu.Lock()
		s.grace = 5 * time.Second // its timer does not come in time
		s.mu.Unlock()
	}
	busy := make(map[*flusher][]*session)
	fewer := func(f *flusher) bool { return len(busy[f]) < 2 }
	for i := 0; slices.ContainsFunc(w.hub.flushers.all, fewer); i++ { // they take turns
		user := fmt.Sprint("busy", i)
		w.login(user, nil)
		s := w.session(user)
		busy[s.flusher] = append(busy[s.flusher], s)
	}
	taken := func(f *flusher) func() bool {
		return func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.list) == 0 }
	}
	list := func(s *session) {
		s.mu.Lock()
		w.eventually("its flusher has nothing else", taken(s.flusher))
		s.out.state = outboxListed
		s.flusher.add(s)
	}
	for f, of := range busy {
		list(of[0])
		w.eventually("the flusher waits for it", taken(f))
		list(of[1])
	}
	w.hub.Deliver("room:1", Position{}, []byte("1"))
	for f, of := range busy {
		of[0].mu.Unlock()
		w.eventually("the flusher has all others on its list", taken(f))
	}
	time.Sleep(time.Until(ends))
	for _, of := range busy {
		of[1].mu.Unlock()
	}
	for _, c := range listeners {
		c.expect("expiring")
		c.expectClose(CloseExpired)
		select {
		case f := <-c.frames:
			t.Errorf("got %v", f)
		default:
		}
	}
}
