package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// visitor is a page: it reads, and when its connection is gone it comes to another
// replica, if there is one, with the positions that it has. The checker holds it to what it hears.
type visitor struct {
	*page

	c         *chaos
	token     string
	rooms     []string
	positions map[string]string // of the goroutine that reads
	visits    int               // the same
	last      *replica          // the same: where it came last
	welcomed  atomic.Bool
	habit     atomic.Int32
	changed   chan struct{} // a habit began or ended; holds one

	mu   sync.Mutex
	conn *websocket.Conn // where it may publish; nil: nowhere
}

// habit is how a page behaves, besides listening.
type habit int32

const (
	stays      habit = iota
	hops             // goes to another replica every second
	stalls           // reads nothing
	interrupts       // leaves in the middle of each resume, after what it missed first
)

// setHabit has the page behave so from now on; one that is to come and go ends the
// connection that it has.
func (l *visitor) setHabit(h habit) {
	l.habit.Store(int32(h))
	l.mu.Lock()
	if (h == hops || h == interrupts) && l.conn != nil {
		_ = l.conn.Close()
	}
	l.mu.Unlock()
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

func (l *visitor) is(h habit) bool { return habit(l.habit.Load()) == h }

// listen begins the page of number i. It may hear its user's channel and three rooms;
// five pages are of one user.
func (c *chaos) listen(i int) {
	c.t.Helper()
	user := fmt.Sprint("u", i%chaosUsers)
	channels, rooms := []string{"user:" + user}, []string{}
	for n := range 3 {
		room := fmt.Sprint((i/chaosUsers + n) % chaosRooms)
		channels, rooms = append(channels, "room:"+room), append(rooms, room)
	}
	l := &visitor{
		page: c.Page(fmt.Sprint("page ", i), channels...), c: c,
		token: token(c.t, user, object{"rooms": rooms}), rooms: channels[1:],
		positions: map[string]string{}, changed: make(chan struct{}, 1),
	}
	if i%5 == 0 {
		l.setHabit(hops) // in every run some resume
	}
	c.pages = append(c.pages, l)
	c.beside(l.run)
}

// run comes back as often as it takes.
func (l *visitor) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := l.visit(ctx)
		if closed, ok := errors.AsType[*websocket.CloseError](err); ok && closed.Code >= 4400 {
			l.c.t.Errorf("%s was sent away: %v", l.name, err)
			return
		}
		away := time.Duration(rand.IntN(100)) * time.Millisecond
		if l.is(interrupts) {
			away = 300 * time.Millisecond // there is something to miss
		}
		select {
		case <-ctx.Done():
		case <-time.After(away):
		}
	}
}

// heardFrame is what a page reads of any frame.
type heardFrame struct {
	Type, Channel, Position string
	Recovered               bool
	ID, Code                string
	Data                    said
	Channels                []struct {
		Channel, Position string
		Recovered         bool
	}
}

var errEnough = errors.New("the page has had enough of this connection")

// visit is one connection, from its handshake to its end.
func (l *visitor) visit(ctx context.Context) error {
	conn, err := l.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	asked := maps.Clone(l.positions)
	if err := conn.WriteJSON(object{"type": "resume", "positions": asked}); err != nil {
		return err
	}
	l.visits++
	if l.is(hops) || l.is(interrupts) && l.visits%2 == 0 {
		stay := 500*time.Millisecond + time.Duration(rand.IntN(1000))*time.Millisecond
		defer time.AfterFunc(stay, func() { _ = conn.Close() }).Stop()
	}
	defer l.publishOn(nil)
	for {
		l.pauses(ctx)
		_, text, err := conn.ReadMessage()
		if err != nil {
			return err
		}
		var f heardFrame
		if err := json.Unmarshal(text, &f); err != nil {
			l.c.t.Errorf("%s: %v in %s", l.name, err, text)
			return err
		}
		if err := l.hears(f, asked); err != nil {
			return err
		}
		if f.Type == "welcome" {
			l.publishOn(conn)
			l.welcomed.Store(true)
		}
	}
}

// dial takes little at once into the page's own buffers, so that what it does not read
// stays at the hub.
func (l *visitor) dial(ctx context.Context) (*websocket.Conn, error) {
	d := websocket.Dialer{
		HandshakeTimeout: time.Second, Subprotocols: []string{"aldaba.v1"},
		NetDialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return conn, conn.(*net.TCPConn).SetReadBuffer(16 << 10)
		},
	}
	l.last = l.c.anyReplicaBut(l.last)
	conn, answer, err := d.DialContext(ctx, "ws://"+l.last.public+"/ws?resume", http.Header{"Authorization": {"Bearer " + l.token}})
	if answer != nil && answer.Body != nil {
		_ = answer.Body.Close()
	}
	return conn, err
}

// pauses as long as the page has stopped to read.
func (l *visitor) pauses(ctx context.Context) {
	for l.is(stalls) && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-l.changed:
		}
	}
}

// hears takes one frame of a connection that was asked to resume from asked.
func (l *visitor) hears(f heardFrame, asked map[string]string) error {
	switch f.Type {
	case "welcome":
		for _, one := range f.Channels {
			_, had := asked[one.Channel]
			l.Joined(one.Channel, one.Position, one.Recovered, had)
			l.positions[one.Channel] = one.Position
			switch {
			case one.Recovered:
				l.c.tally.recovered.Add(1)
			case had:
				l.c.tally.unknown.Add(1)
			}
		}
	case "message":
		l.Message(f.Channel, f.Position, f.Data)
		l.positions[f.Channel] = f.Position
		l.c.hears(f.Data)
		if l.is(interrupts) && l.visits%2 == 1 && len(asked) > 0 {
			l.c.tally.interrupts.Add(1)
			return errEnough
		}
	case "resync":
		l.Resync(f.Channel, f.Position)
		l.positions[f.Channel] = f.Position
		l.c.tally.resyncs.Add(1)
	case "published":
		l.c.Accepted(f.ID, f.Position)
	case "error":
		if f.ID == "" || f.Code != "unavailable" {
			l.c.t.Errorf("%s was told %s", l.name, f.Code)
		}
	}
	return nil
}

// publishOn says where the page may publish.
func (l *visitor) publishOn(conn *websocket.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
}

// say publishes to one of the page's rooms, if it is connected. Its answer comes like
// any frame; if the connection ends before, nobody knows.
func (l *visitor) say(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return
	}
	m := said{l.rooms[rand.IntN(len(l.rooms))], id}
	l.c.Sending(byFcall, m)
	_ = l.conn.SetWriteDeadline(time.Now().Add(time.Second))
	if err := l.conn.WriteJSON(object{"type": "publish", "id": id, "channel": m.Channel, "data": m}); err != nil {
		_ = l.conn.Close()
		l.conn = nil
	}
}
