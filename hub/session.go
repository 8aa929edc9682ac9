package hub

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"aldaba/auth"

	"github.com/gorilla/websocket"
	"github.com/olahol/melody"
	"github.com/rs/xid"
	"golang.org/x/time/rate"
)

// session is one authenticated connection.
type session struct {
	hub     *Hub
	id      string
	user    string
	address string // what the limit per address counts by
	frames  *rate.Limiter
	flusher *flusher

	// set before the session is connected
	upgrade *upgrade // nil once answered
	conn    *conn
	socket  net.Conn        // below conn
	raw     syscall.RawConn // of socket; nil if it has none

	events *events // instead of these, if the transport is Server-Sent Events

	// strikes counts frames beyond the rate, less those within it. Only the
	// read pump's goroutine sees it.
	strikes int

	mu          sync.Mutex
	grants      *auth.Grants
	expires     time.Time
	grace       time.Duration // after expires, until the timer cuts; see over
	memberships []*membership
	out         outbox
	written     chan struct{} // closed by the latest writeBlocking when it is done
	timer       *time.Timer   // next of these, notice of expiry, and expiry; nil before begin
	pingAt      time.Time
	until       time.Time      // when it has to be welcomed, or once ended, gone
	lateAt      time.Time      // when a join is given up; zero: none waits
	resuming    bool           // its first frame is to say from where
	awaited     int            // memberships that the welcome waits for
	channels    []channelState // what the welcome will say of the others
	room        chan struct{}  // closed when there is room; nil: nobody waits
	welcomed    bool
	noticed     bool // of the coming expiry
	ended       bool // no frame is queued any more
	gone        bool // nothing is left of it
}

func (h *Hub) newSession(claims *auth.Claims, grants *auth.Grants, address string) *session {
	id := xid.New()
	return &session{
		hub:     h,
		id:      id.String(),
		user:    claims.User,
		address: address,
		frames:  rate.NewLimiter(rate.Limit(h.limits.FramesPerSecond), h.limits.FramesPerSecond),
		flusher: h.flushers.pick(id.Counter()),
		grants:  grants,
		expires: claims.ExpiresAt,
		grace:   rand.N(expirySpread), //nolint:gosec // spreads load, hides nothing
	}
}

// connected hands the session over to the request's goroutine and waits until it
// has begun. It runs on the session's own, before its pumps: the handshake's
// answer is out, the first read has not begun.
func (s *session) connected(ms *melody.Session) {
	defer s.guard()
	ms.Request = nil // its buffers and headers would live as long as the session
	s.handleControl(ms.WebsocketConnection())
	s.conn.upgraded.Store(true)
	retireWritePump(ms)
	begun := s.upgrade.begun
	s.answered()
	<-begun
}

// retireWritePump ends melody's second goroutine, which would wait beside each
// session for frames that never come: the hub writes by itself, and pings with the
// session's timer. The pump ends on a close message that is longer than a control
// frame may be (RFC 6455, section 5.5), which gorilla refuses without a byte
// written and without holding it against the connection.
func retireWritePump(ms *melody.Session) {
	_ = ms.CloseWithMsg(tooLongToClose) // fails on a closed session, which has none
}

var tooLongToClose = make([]byte, longestControl+1)

// begin starts the session's life: its timer, and the joins that its welcome
// waits for. It runs on the request's goroutine, which ends soon: encoding the
// welcome takes more stack than waiting for frames, and a goroutine's stack
// rarely shrinks.
func (s *session) begin(u *upgrade) {
	defer close(u.begun)
	defer s.guard()
	if s.conn == nil || !s.conn.upgraded.Load() {
		return // refused
	}
	s.hub.metrics.connects.Inc()
	s.startTimer()
	if !s.awaitsResume() {
		s.startWith(s.grants.Auto(), nil)
	}
}

// welcome lets frames out, the welcome first. s.mu is held.
func (s *session) welcome() {
	channels := s.states()
	f := answerFrame(answer{
		Type:      "welcome",
		Session:   s.id,
		User:      s.user,
		ExpiresAt: s.expires.Unix(),
		Channels:  &channels,
	})
	if s.events != nil {
		f.channels = channels
	}
	s.out.frames = slices.Insert(s.out.frames, 0, f)
	s.out.cost += f.cost()
	s.welcomed = true
	s.wake()
	s.makeRoomKnown()
}

// states returns what the welcome says of its channels, in the order in which they
// were joined. s.mu is held.
func (s *session) states() []channelState {
	known := s.channels
	s.channels = nil
	channels := make([]channelState, 0, len(known))
	for _, m := range s.memberships {
		i := slices.IndexFunc(known, func(c channelState) bool { return c.Channel == m.channel.name })
		if m.atConnect && i >= 0 {
			channels = append(channels, known[i])
		}
	}
	return channels
}

// send queues f, which goes out after the welcome. A full queue ends the session.
// It never waits.
func (s *session) send(f *frame) { s.sendAt(time.Now(), f) }

// sendAt is send for who knows what time it is.
func (s *session) sendAt(now time.Time, f *frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over(now) {
		return
	}
	if !s.out.fits(f, s.hub.limits.Queue) {
		s.end(CloseSlow)
		s.run(s.leaveAll) // the caller may hold a channel's lock
		return
	}
	s.out.push(f)
	s.wake()
}

// run starts a goroutine of the session's.
func (s *session) run(f func()) {
	s.hub.roster.running.Go(func() {
		defer s.guard()
		f()
	})
}

func (s *session) answer(a answer) { s.send(answerFrame(a)) }

// wake puts the session on its flusher's list, unless a writer will come by
// anyway. s.mu is held.
func (s *session) wake() {
	if s.out.state == outboxIdle && s.writable() {
		s.out.state = outboxListed
		if s.events != nil {
			s.events.wake()
		} else {
			s.flusher.add(s)
		}
	}
}

// control queues p, a control frame of gorilla's: a pong, or the close of a session
// whose frames it does not take.
func (s *session) control(p []byte) {
	if p[0]&opcodeBits == opClose {
		code := int(binary.BigEndian.Uint16(p[2:])) // gorilla's always have one
		if code == CloseTooBig {
			s.deny(nil, codeTooLarge, "a frame was larger than any may be")
		}
		s.cut(code)
		return
	}
	s.send(&frame{bytes: slices.Clone(p)})
}

// peerCloses answers the peer's close frame with its code (RFC 6455, section
// 5.5.1), unless the hub's own has been sent.
func (s *session) peerCloses(code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	s.makeRoomKnown()
	s.out.drop(func(*frame) bool { return true })
	if code == websocket.CloseNoStatusReceived {
		s.out.push(emptyCloseFrame)
	} else {
		s.out.push(closeFrame(code, ""))
	}
	s.closeSoon()
}

// end takes back the messages that wait and closes in order. Answers go out
// before the close frame, an `error` may say why, but not into a socket that is
// full. The session's memberships are still to be left. s.mu is held.
func (s *session) end(code int) {
	s.ended = true
	s.hub.metrics.cut(code)
	stalled := s.out.state == outboxWaiting
	s.out.drop(func(f *frame) bool { return f.channel != nil || stalled })
	s.out.push(closeFrame(code, closeReasons[code]))
	s.makeRoomKnown()
	if s.timer != nil {
		s.closeSoon()
	}
}

// closeSoon sends the close frame of an ended session and starts the wait for the
// peer's answer. s.mu is held.
func (s *session) closeSoon() {
	s.until = time.Now().Add(closeWait)
	s.timer.Reset(closeWait)
	s.makeRoom()
	s.wake()
}

// makeRoom lets the close frame into a socket that is full: the kernel's buffer
// grows, and whoever waits for the socket looks again. s.mu is held.
func (s *session) makeRoom() {
	if s.out.state != outboxWaiting || s.raw == nil {
		return
	}
	if b, ok := s.socket.(interface{ SetWriteBuffer(bytes int) error }); ok {
		// Without more room the close frame waits for the peer, closeWait at most.
		_ = b.SetWriteBuffer(2 * sendBuffer)
	}
	_ = s.socket.SetWriteDeadline(time.Now()) // fails on a closed socket, whose writer has been woken
}

// cut ends the session with code. The first cut counts.
func (s *session) cut(code int) {
	if s.endOnce(code) {
		s.leaveAll()
	}
}

func (s *session) endOnce(code int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.end(code)
	return true
}

// hangUp closes the socket at once; the read pump ends with it. A session that
// has not begun has none yet. s.mu is not held: Close waits for a writer, and that
// may wait for s.mu.
func (s *session) hangUp() {
	switch {
	case !s.hasBegun():
	case s.events != nil:
		s.events.abort()
	default:
		_ = s.socket.Close()
	}
}

func (s *session) hasBegun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.timer != nil
}

// finish leaves nothing of the session behind. It is called when its goroutine
// ends, however it ended, and is idempotent.
func (s *session) finish() {
	if s.events == nil {
		s.flushLast()
	}
	if !s.vanish() {
		return
	}
	s.hub.roster.remove(s)
	s.leaveAll()
	if s.conn != nil {
		s.conn.end()
	}
}

// vanish lets go of what a session holds by itself, once.
func (s *session) vanish() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return false
	}
	s.gone = true
	s.ended = true
	s.out.drop(func(*frame) bool { return true })
	s.out.rest = nil
	s.makeRoomKnown()
	if s.timer != nil {
		s.timer.Stop()
	}
	return true
}
