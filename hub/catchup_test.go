package hub

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// resume logs user in with the positions that it has.
func (w *world) resume(user string, c claims, positions map[string]Position) *client {
	w.t.Helper()
	conn, _, err := w.dialAt("?resume", w.token(user, c))
	if err != nil {
		w.t.Fatal(err)
	}
	client := w.read(conn)
	texts := map[string]string{}
	for channel, p := range positions {
		texts[channel] = p.String()
	}
	text, err := json.Marshal(map[string]any{"type": "resume", "positions": texts})
	if err != nil {
		w.t.Fatal(err)
	}
	client.say(string(text))
	return client
}

// state is what a frame says of a channel.
type state struct {
	position  string
	recovered any
	unread    any
}

func stateOf(frame map[string]any) state {
	position, _ := frame["position"].(string)
	return state{position, frame["recovered"], frame["unread"]}
}

// welcomed returns what the welcome says of channel.
func (c *client) welcomed(channel string) state {
	c.t.Helper()
	for _, one := range c.expect("welcome")["channels"].([]any) {
		if one := one.(map[string]any); one["channel"] == channel {
			return stateOf(one)
		}
	}
	c.t.Fatalf("welcome does not say anything of %s", channel)
	return state{}
}

// hears expects messages of channel with the numbers from to to.
func (c *client) hears(from, to int) {
	c.t.Helper()
	for n := from; n <= to; n++ {
		f := c.expect("message")
		if f["data"] != float64(n) || !strings.Contains(f["position"].(string), ":"+strconv.Itoa(n)+"-") {
			c.t.Fatalf("got %v, want %d", f, n)
		}
	}
}

func numbers(from, to int) (all []string) {
	for n := from; n <= to; n++ {
		all = append(all, strconv.Itoa(n))
	}
	return all
}

var inbox = claims{"inboxes": []string{"a"}}

func TestResumesWhatWasMissed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at3 := w.broker.write("inbox:a", numbers(1, 3)...)
	w.broker.write("inbox:a", numbers(4, 700)...) // more than a page
	c := w.resume("ann", inbox, map[string]Position{"inbox:a": at3, "elsewhere": at3})
	if got := c.welcomed("inbox:a"); got != (state{at3.String(), true, 3.0}) {
		t.Errorf("welcome says %v", got)
	}
	c.hears(4, 700)
	c.say(`{"type":"publish","id":1,"channel":"inbox:a","data":701}`)
	c.hears(701, 701)
	if f := c.expect("published"); !strings.HasPrefix(f["position"].(string), "e0:701-") {
		t.Errorf("got %v", f)
	}
}

// TestResumeIsLongerThanAMessage: who may be in so many channels may say where it stands in
// each, however long the names, and however short a message must be.
func TestResumeIsLongerThanAMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.Message = 1 << 10 })
	at := w.broker.write("inbox:a", "1")
	w.broker.write("inbox:a", "2")
	positions := map[string]Position{"inbox:a": at}
	for n := len(positions); n < w.hub.limits.ChannelsPerSession; n++ {
		positions[strings.Repeat("x", 250)+strconv.Itoa(n)] = Position{strings.Repeat("e", 32), 1 << 52, 1 << 52}
	}
	c := w.resume("ann", inbox, positions)
	if got := c.welcomed("inbox:a"); got.recovered != true {
		t.Errorf("welcome says %v", got)
	}
	c.hears(2, 2)
}

func TestWhatCannotBeRecoveredSaysSo(t *testing.T) {
	t.Parallel()
	for name, from := range map[string]func(w *world) Position{
		"none": func(*world) Position { return Position{} },
		"trimmed": func(w *world) Position {
			p := w.broker.logs["inbox:a"][0].Position
			w.broker.trim("inbox:a", 5)
			return p
		},
		"another epoch": func(w *world) Position { return Position{"e9", 3, 1003} },
		"another tag":   func(w *world) Position { return Position{"e0", 3, 1} },
		"the future":    func(w *world) Position { return Position{"e0", 30, 1030} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			head := w.broker.write("inbox:a", numbers(1, 9)...)
			c := w.resume("ann", inbox, map[string]Position{"inbox:a": from(w)})
			if got := c.welcomed("inbox:a"); got.position != head.String() || got.recovered != false {
				t.Errorf("welcome says %v", got)
			}
			c.nothing()
		})
	}
}

func TestPositionsThatAreNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.broker.write("inbox:a", "1")
	for _, text := range []string{"abc", "-1", "e0:-1", "e0:1", "e0:01-1001", "e0:1-1001 ", "E0:1-1001", ":1-1", "e0:9999999999999999-1", strings.Repeat("e", 33) + ":1-1", "e0:1-1001:2"} {
		if _, err := ParsePosition(text); err == nil {
			t.Errorf("%q is a position", text)
		}
		conn, _, err := w.dialAt("?resume", w.token("ann", inbox))
		if err != nil {
			t.Fatal(err)
		}
		c := w.read(conn)
		c.say(`{"type":"resume","positions":{"inbox:a":` + strconv.Quote(text) + `}}`)
		if got := c.welcomed("inbox:a"); got.recovered != false || got.position != "e0:1-1001" {
			t.Errorf("%q: welcome says %v", text, got)
		}
		_ = conn.Close()
	}
}

func TestWithoutAResumeFrame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, frame := range []string{`{"type":"ping"}`, `{`, `{"type":"resume","positions":[]}`, `{"type":"resume","positions":{"a":1}}`} {
		conn, _, err := w.dialAt("?resume", w.token("ann", inbox))
		if err != nil {
			t.Fatal(err)
		}
		c := w.read(conn)
		c.say(frame)
		c.expectClose(CloseNoResume)
	}
	conn, _, err := w.dialAt("?resume", w.token("ann", inbox))
	if err != nil {
		t.Fatal(err)
	}
	w.read(conn).expectClose(CloseNoResume) // by itself
}

func TestSubscribeResumesToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at2 := w.broker.write("feed:x", numbers(1, 2)...)
	w.broker.write("feed:x", numbers(3, 5)...)
	c := w.login("ann", claims{"feeds": []string{"x"}})
	f := c.ask(`{"type":"subscribe","id":1,"channel":"feed:x","position":"`+at2.String()+`"}`, "joined")
	if got := stateOf(f); got != (state{at2.String(), true, 2.0}) {
		t.Errorf("joined says %v", got)
	}
	c.hears(3, 5)
}

// TestNothingFallsBetweenLogAndLive publishes at each moment of a join.
func TestNothingFallsBetweenLogAndLive(t *testing.T) {
	t.Parallel()
	for _, held := range []int{1, 10, 2 * catchUpEntries} { // the last one is more than is held
		w := newWorld(t)
		at := w.broker.write("inbox:a", numbers(1, 5)...)
		var reads atomic.Int32
		next := 6
		publish := func(n int) {
			for range n {
				if _, err := w.broker.Publish(t.Context(), "inbox:a", fmt.Append(nil, next), PublishOptions{}); err != nil {
					t.Error(err)
				}
				next++
			}
		}
		w.broker.reading = func(q Query) {
			if reads.Add(1) == 1 {
				publish(held) // live before the log is read
			}
		}
		c := w.resume("ann", inbox, map[string]Position{"inbox:a": at})
		c.welcomed("inbox:a")
		c.hears(6, 5+held)
		publish(3)
		c.hears(6+held, 8+held)
		c.nothing()
	}
}

// TestReadsOfALostLogAreMarked has the log lost while a session catches up with it.
func TestReadsOfALostLogAreMarked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := w.broker.write("inbox:a", numbers(1, 1)...)
	w.broker.write("inbox:a", numbers(2, 600)...)
	var reads atomic.Int32
	w.broker.reading = func(Query) {
		if reads.Add(1) == 2 {
			w.broker.trim("inbox:a", 3)
		}
	}
	c := w.resume("ann", inbox, map[string]Position{"inbox:a": at})
	c.welcomed("inbox:a")
	c.hears(2, 1+catchUpEntries)
	if f := c.expect("resync"); f["position"] != "e0:597-0" {
		t.Errorf("got %v", f)
	}
	c.hears(598, 600) // what there is
	if f := c.expect("read"); f["unread"] != 3.0 || f["position"] != "e0:0-0" {
		t.Errorf("got %v", f)
	}
	c.say(`{"type":"publish","channel":"inbox:a","data":601}`)
	c.hears(601, 601)
}

// TestWhoIsLappedTwiceIsTooSlow: the log goes past a session that catches up, and once more.
// (Once alone is TestReadsOfALostLogAreMarked.)
func TestWhoIsLappedTwiceIsTooSlow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := w.broker.write("inbox:a", numbers(1, 1)...)
	w.broker.write("inbox:a", numbers(2, 600)...)
	var reads atomic.Int32
	w.broker.reading = func(Query) {
		if reads.Add(1) >= 2 {
			w.broker.write("inbox:a", numbers(1, 1000)...)
			w.broker.trim("inbox:a", catchUpEntries+1)
		}
	}
	c := w.resume("ann", inbox, map[string]Position{"inbox:a": at})
	c.welcomed("inbox:a")
	c.expectClose(CloseSlow)
}

// TestCatchesUpWithTheLogAfterALostOne: who was told that nothing is missing, and then of a
// loss, goes on where the new log begins.
func TestCatchesUpWithTheLogAfterALostOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := w.broker.write("inbox:a", numbers(1, 1)...)
	w.broker.write("inbox:a", numbers(2, 600)...)
	var reads atomic.Int32
	w.broker.reading = func(Query) {
		if reads.Add(1) == 2 {
			w.broker.lose("inbox:a")
			w.broker.write("inbox:a", numbers(1001, 1005)...)
		}
	}
	c := w.resume("ann", inbox, map[string]Position{"inbox:a": at})
	c.welcomed("inbox:a")
	c.hears(2, 1+catchUpEntries)
	if f := c.expect("resync"); f["position"] != "e1:0-0" {
		t.Errorf("got %v", f)
	}
	for n := 1001; n <= 1005; n++ {
		if f := c.expect("message"); f["data"] != float64(n) {
			t.Errorf("got %v", f)
		}
	}
	if f := c.expect("read"); f["unread"] != 5.0 || f["position"] != "e1:0-0" {
		t.Errorf("got %v", f)
	}
}

func TestResyncOfAHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.broker.write("inbox:a", numbers(1, 3)...)
	c := w.login("ann", inbox)
	w.hub.Resync("inbox:a", Position{"e0", 3, 1003}) // it has read so far
	w.hub.Resync("inbox:a", Position{"e1", 2, 7})
	if f := c.expect("resync"); f["position"] != "e1:2-7" {
		t.Errorf("got %v", f)
	}
	w.hub.Deliver("inbox:a", Position{"e0", 4, 1004}, []byte("4"))
	w.hub.Deliver("inbox:a", Position{"e1", 2, 7}, []byte("2"))
	w.hub.Deliver("inbox:a", Position{"e1", 3, 8}, []byte("3"))
	if f := c.expect("message"); f["position"] != "e1:3-8" {
		t.Errorf("got %v", f)
	}
}

// TestSlowReaderIsSentItsHistoryInPortions asks for more than its queue may hold.
func TestSlowReaderIsSentItsHistoryInPortions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.Queue = 64 << 10 })
	at := w.broker.write("inbox:a", `"first"`)
	var large []string
	for range 200 {
		large = append(large, `"`+strings.Repeat("x", 20<<10)+`"`)
	}
	w.broker.write("inbox:a", large...)
	c := w.resume("ann", inbox, map[string]Position{"inbox:a": at})
	c.welcomed("inbox:a")
	for n := range 200 {
		if f := c.expect("message"); !strings.Contains(f["position"].(string), ":"+strconv.Itoa(n+2)+"-") {
			t.Fatalf("message %d is at %v", n, f["position"])
		}
	}
}

// TestRevocationDuringACatchUp takes the grant away while the log is being read.
func TestRevocationDuringACatchUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := w.broker.write("feed:x", numbers(1, 1)...)
	w.broker.write("feed:x", numbers(2, 9)...)
	reading, goOn := make(chan struct{}), make(chan struct{})
	c := w.login("ann", claims{"feeds": []string{"x"}})
	w.broker.reading = func(Query) { close(reading); <-goOn }
	c.say(`{"type":"subscribe","id":1,"channel":"feed:x","position":"` + at.String() + `"}`)
	<-reading
	c.say(`{"type":"refresh","token":"` + w.token("ann", nil) + `"}`)
	if f := c.expect("error"); f["code"] != "forbidden" || f["id"] != 1.0 {
		t.Errorf("got %v", f)
	}
	c.expect("refreshed")
	close(goOn)
	c.nothing()
}

func TestHistoryThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.login("ann", claims{"feeds": []string{"x"}})
	w.broker.mu.Lock()
	w.broker.err = fmt.Errorf("away")
	w.broker.mu.Unlock()
	c.say(`{"type":"subscribe","id":1,"channel":"feed:x"}`)
	if f := c.ask(`{"type":"history","id":2,"channel":"feed:x"}`, "error"); f["code"] != "unavailable" {
		t.Errorf("got %v", f)
	}
	if f := c.expect("error"); f["code"] != "unavailable" || f["id"] != 1.0 {
		t.Errorf("got %v", f)
	}
	w.broker.mu.Lock()
	w.broker.err = nil
	w.broker.mu.Unlock()
	c.ask(`{"type":"subscribe","id":3,"channel":"feed:x"}`, "joined")
}

func TestHistoryPageByPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.broker.write("feed:x", numbers(1, 10)...)
	c := w.login("ann", claims{"feeds": []string{"x"}})
	for _, one := range []struct{ ask, want string }{
		{`"limit":3`, "8 9 10 true"},
		{``, "1 2 3 4 5 6 7 8 9 10 false"},
		{`"limit":2,"before":"e0:8-1008"`, "6 7 true"},
		{`"limit":2,"after":"e0:8-1008"`, "9 10 false"},
		{`"limit":2,"after":"e0:2-1002"`, "3 4 true"},
		{`"after":"e0:2-1"`, "gone"},
		{`"after":"e1:2-1002"`, "gone"},
		{`"after":"x"`, "bad_frame"},
		{`"after":"e0:2-1002","before":"e0:8-1008"`, "bad_frame"},
		{`"limit":101`, "bad_frame"},
		{`"limit":-1`, "bad_frame"},
		{`"limit":"3"`, "bad_frame"},
		{`"limit":1.5`, "bad_frame"},
	} {
		ask := `{"type":"history","id":7,"channel":"feed:x"`
		if one.ask != "" {
			ask += "," + one.ask
		}
		c.say(ask + "}")
		f := c.next()
		var got string
		if f["type"] == "history" {
			for _, m := range f["messages"].([]any) {
				got += fmt.Sprint(m.(map[string]any)["data"], " ")
			}
			got += fmt.Sprint(f["more"])
		} else {
			got, _ = f["code"].(string)
		}
		if got != one.want || f["id"] != 7.0 {
			t.Errorf("%s: got %q, want %q: %v", one.ask, got, one.want, f)
		}
	}
	for channel, code := range map[string]string{"user:ann": "no_history", "inbox:a": "forbidden", "feed:y": "forbidden", "*": "forbidden"} {
		if f := c.ask(`{"type":"history","channel":"`+channel+`"}`, "error"); f["code"] != code {
			t.Errorf("%s: got %v", channel, f)
		}
	}
}

func TestAckTellsTheUsersSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.broker.write("inbox:a", numbers(1, 4)...)
	phone, laptop, other := w.login("ann", inbox), w.login("ann", inbox), w.login("ben", inbox)
	phone.say(`{"type":"ack","id":1,"channel":"inbox:a","position":"e0:3-1003"}`)
	for _, c := range []*client{phone, laptop} {
		if f := c.expect("read"); f["position"] != "e0:3-1003" || f["unread"] != 1.0 || f["channel"] != "inbox:a" {
			t.Errorf("got %v", f)
		}
	}
	if f := phone.expect("acked"); f["id"] != 1.0 || f["unread"] != 1.0 {
		t.Errorf("got %v", f)
	}
	other.nothing()
	if got := w.resume("ann", inbox, nil).welcomed("inbox:a"); got.unread != 1.0 {
		t.Errorf("welcome says %v", got)
	}
	// A device that was away while another one read: it counts 0 and three messages,
	// and is told that one is unread.
	tablet := w.resume("ann", inbox, map[string]Position{"inbox:a": {"e0", 1, 1001}})
	if got := tablet.welcomed("inbox:a"); got.unread != 0.0 {
		t.Errorf("welcome says %v", got)
	}
	tablet.hears(2, 4)
	if f := tablet.expect("read"); f["unread"] != 1.0 || f["position"] != "e0:3-1003" {
		t.Errorf("got %v", f)
	}
	for frame, code := range map[string]string{
		`"channel":"inbox:a","position":"e0:9-1009"`:  "gone",
		`"channel":"inbox:a","position":"x"`:          "bad_frame",
		`"channel":"inbox:a"`:                         "bad_frame",
		`"channel":"inbox:b","position":"e0:1-1001"`:  "forbidden",
		`"channel":"user:ann","position":"e0:1-1001"`: "no_history",
	} {
		if f := phone.ask(`{"type":"ack",`+frame+`}`, "error"); f["code"] != code {
			t.Errorf("%s: got %v", frame, f)
		}
	}
}

// TestReadDuringACatchUpIsToldAfterIt has the user read on another device while this one
// is sent what it missed, and more come before and after that.
func TestReadDuringACatchUpIsToldAfterIt(t *testing.T) {
	t.Parallel()
	for page := range 4 {
		w := newWorld(t)
		at := w.broker.write("inbox:a", numbers(1, 1)...)
		w.broker.write("inbox:a", numbers(2, 600)...) // three pages
		publish := func(n int) {
			if _, err := w.broker.Publish(t.Context(), "inbox:a", fmt.Append(nil, n), PublishOptions{}); err != nil {
				t.Error(err)
			}
		}
		read := func() {
			publish(601)
			if _, err := w.broker.Ack(t.Context(), "inbox:a", "ann", Position{"e0", 600, 1600}); err != nil {
				t.Error(err)
			}
			publish(602)
		}
		var reads atomic.Int32
		w.broker.reading = func(Query) {
			if int(reads.Add(1)) == page+1 {
				read()
			}
		}
		c := w.resume("ann", inbox, map[string]Position{"inbox:a": at})
		unread := int(c.welcomed("inbox:a").unread.(float64))
		if page == 3 {
			c.hears(2, 600)
			read()
			c.hears(601, 601)
			if f := c.expect("read"); f["unread"] != 1.0 {
				t.Errorf("got %v", f)
			}
			c.hears(602, 602)
			continue
		}
		c.hears(2, 602)
		if f := c.expect("read"); f["unread"] != 2.0 || f["position"] != "e0:600-1600" {
			t.Errorf("page %d, welcomed with %d: got %v", page, unread, f)
		}
		c.nothing()
	}
}

// TestResumeUnderLoad reconnects at random while messages are published: each page
// hears every message once, in order.
func TestResumeUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const messages = 3000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range messages {
			if _, err := w.broker.Publish(t.Context(), "inbox:a", fmt.Append(nil, n+1), PublishOptions{}); err != nil {
				t.Error(err)
			}
			if n%10 == 0 {
				time.Sleep(time.Millisecond) // so that there is something to reconnect in
			}
		}
	}()
	at, heard := Position{Epoch: "e0"}, 0
	for heard < messages {
		c := w.resume("ann", inbox, map[string]Position{"inbox:a": at})
		if got := c.welcomed("inbox:a"); got.recovered != true {
			t.Fatalf("welcome says %v after %v", got, at)
		}
		for range 1 + rand.N(200) {
			if heard == messages {
				break
			}
			heard++
			f := c.expect("message")
			if f["data"] != float64(heard) {
				t.Fatalf("got %v, want %d", f, heard)
			}
			at, _ = ParsePosition(f["position"].(string))
		}
		_ = c.Close()
	}
	<-done
}
