package hub

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/olahol/melody"
)

// sendBuffer is the kernel's buffer for one session, in bytes. Left to itself
// the kernel lets it grow to megabytes for a peer that does not read.
const sendBuffer = 128 << 10

// readBuffer is what a session's frames are read into, in bytes. Gorilla takes the one
// of the hijacked connection, if that has more than 256, and else makes a second.
const readBuffer = 272

// conn is what melody and gorilla take for the connection of a session. It keeps
// gorilla's control frames in the session's outbox, since only one may write to
// a socket. It embeds net.Conn, not *net.TCPConn, whose ReadFrom and writev would
// go past it.
type conn struct {
	net.Conn
	session *session
	// upgraded says that the handshake's answer is out and frames follow.
	upgraded atomic.Bool
	// unfinished counts the bytes read since the last text frame was complete, but
	// for control frames. Only the session's goroutine sees it.
	unfinished int64
}

// controlHeader is what a control frame of a client has besides its payload
// (RFC 6455, section 5.2).
const controlHeader = 6

// Read counts, since gorilla bounds the bytes of a message only: a peer could send
// fragments that hold nothing for ever.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.upgraded.Load() {
		return n, err
	}
	c.unfinished += int64(n)
	if c.unfinished > 2*c.session.hub.limits.frame() {
		c.session.deny(nil, codeTooLarge, "fragments that come to nothing")
		c.session.cut(CloseOverLimit)
		return 0, errFragments
	}
	return n, err
}

var errFragments = errors.New("fragments that come to nothing")

// Write queues p, one control frame. Before the upgrade it passes the handshake's
// answer straight through.
func (c *conn) Write(p []byte) (int, error) {
	if !c.upgraded.Load() {
		return c.Conn.Write(p)
	}
	c.session.control(p)
	return len(p), nil
}

// SetWriteDeadline does nothing once frames are written: the session's writers
// set their own.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.upgraded.Load() {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets the read deadline alone once frames are written.
func (c *conn) SetDeadline(t time.Time) error {
	if c.upgraded.Load() {
		return c.Conn.SetReadDeadline(t)
	}
	return c.Conn.SetDeadline(t)
}

const (
	// lingerWait and lingerBytes bound what a closed connection still reads: bytes
	// left unread make the kernel reset the connection, and the close frame that
	// was just written may be lost with it.
	lingerWait  = time.Second
	lingerBytes = 1 << 20
)

// Close is gorilla's when an upgrade fails. Of an upgraded connection it is
// melody's, and means the end of its write pump: the session ends the connection.
func (c *conn) Close() error {
	if c.upgraded.Load() {
		return nil
	}
	return c.Conn.Close()
}

// end ends the connection in order: no more is written, what the peer was still
// sending is read and dropped.
func (c *conn) end() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil &&
		c.SetReadDeadline(time.Now().Add(lingerWait)) == nil {
		// An error is the peer's end, or the deadline: either way the time to close.
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	_ = c.Conn.Close() // fails when hung up on
}

// upgrade is the http.ResponseWriter that melody upgrades: what it hijacks is a
// conn with small buffers instead of net/http's 8 KB, and it has no headers, so
// that none of a middleware's end up in the 101.
type upgrade struct {
	http.ResponseWriter
	header  http.Header
	session *session
	// answered is closed when the request is, by a 101 or a refusal.
	answered chan struct{}
	// begun is closed when the session has begun.
	begun chan struct{}
	// hijacked says that no HTTP answer can be given any more.
	hijacked bool
}

func (u *upgrade) Header() http.Header { return u.header }

// Hijack implements http.Hijacker.
func (u *upgrade) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	socket, rw, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	u.hijacked = true
	if rw.Reader.Buffered() > 0 {
		return nil, nil, errors.Join(errors.New("frames before the handshake's end"), socket.Close())
	}
	if b, ok := beneath(socket).(interface{ SetWriteBuffer(bytes int) error }); ok {
		if err := b.SetWriteBuffer(sendBuffer); err != nil {
			return nil, nil, errors.Join(err, socket.Close())
		}
	}
	c := &conn{Conn: socket, session: u.session}
	u.session.socket = socket
	u.session.raw = rawConn(socket)
	u.session.conn = c
	return c, bufio.NewReadWriter(bufio.NewReaderSize(c, readBuffer), bufio.NewWriterSize(c, 16)), nil
}

// beneath is the connection that carries c: of TLS the one below, else c itself.
func beneath(c net.Conn) net.Conn {
	if over, ok := c.(interface{ NetConn() net.Conn }); ok {
		return over.NetConn()
	}
	return c
}

// newMelody returns the session layer, set up for many idle sessions.
func (h *Hub) newMelody() *melody.Melody {
	m := melody.New()
	m.Config.MaxMessageSize = h.limits.frame()
	m.Config.MessageBufferSize = 1 // the hub writes past melody's queue
	m.Config.PingPeriod = pongWait // never comes, see retireWritePump
	m.Config.PongWait = pongWait
	m.Upgrader = &websocket.Upgrader{
		Subprotocols:    []string{Subprotocol},
		ReadBufferSize:  0,   // the hijacked one
		WriteBufferSize: 256, // of control frames only
		WriteBufferPool: &sync.Pool{},
		CheckOrigin:     func(*http.Request) bool { return true }, // checked before, with a JSON answer
		Error: func(w http.ResponseWriter, r *http.Request, status int, reason error) {
			if u := w.(*upgrade); !u.hijacked {
				h.refuse(u.ResponseWriter, r, refusal{status: status, code: codeBadRequest, message: reason.Error()})
			}
		},
	}
	m.HandleConnect(func(ms *melody.Session) { sessionOf(ms).connected(ms) })
	m.HandlePong(func(ms *melody.Session) { sessionOf(ms).receivedControl("") })
	m.HandleMessage(func(ms *melody.Session, frame []byte) { sessionOf(ms).received(frame) })
	m.HandleMessageBinary(func(ms *melody.Session, _ []byte) { sessionOf(ms).cut(CloseUnsupportedData) })
	return m
}

// sessionOf finds the session of melody's through its connection, which costs an
// idle session less than a map of keys.
func sessionOf(ms *melody.Session) *session {
	return ms.WebsocketConnection().NetConn().(*conn).session
}
