package hub

import (
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// The write path. A frame that is queued on an idle session puts the session on
// a flusher's list; the flusher writes what has gathered meanwhile, as much as
// the socket takes at once, and never waits for one. A session whose socket is
// full gets a goroutine that waits for it and hands back when all is written.

// writeSize is how many bytes one write merges at most.
const writeSize = 32 << 10

// attempt is one non-blocking write. It is reused, since a closure for each
// would be the only allocation on the way of a message to a session.
type attempt struct {
	scratch []byte
	call    func(fd uintptr) bool

	b   []byte
	n   int
	err error
}

func newAttempt() *attempt {
	a := &attempt{scratch: make([]byte, 0, writeSize)}
	a.call = func(fd uintptr) bool {
		a.n, a.err = writeNow(fd, a.b)
		return true
	}
	return a
}

var attempts = sync.Pool{New: func() any { return newAttempt() }}

// errFull says that the socket takes no byte now.
var errFull = errors.New("socket is full")

// writeNow writes as much of b as fd takes at once, or returns errFull.
func writeNow(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Write(int(fd), b)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return 0, errFull
		case err != nil:
			return 0, err
		default:
			return n, nil
		}
	}
}

// rawConn returns what lets a socket be written without waiting, or nil for a
// connection that has no such thing (TLS).
func rawConn(c net.Conn) syscall.RawConn {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// flush writes until nothing waits, or returns errFull. s.mu is held.
func (s *session) flush(a *attempt) error {
	if s.raw == nil {
		return errFull
	}
	for s.writable() {
		a.b = s.out.batch(a.scratch)
		if err := s.raw.Write(a.call); err != nil {
			return err
		}
		if a.err != nil {
			return a.err
		}
		s.out.wrote(a.n)
		s.makeRoomKnown()
	}
	a.b = nil
	return nil
}

// writable reports whether something waits that may go out now: nothing before
// the session has begun, and nothing before the welcome but a close. s.mu is held.
func (s *session) writable() bool {
	return !s.out.empty() && s.timer != nil && (s.welcomed || s.ended)
}

// write flushes and decides what follows. It returns an error when the
// connection is broken and is to be closed, with s.mu released: Close waits for
// writers, and these may wait for s.mu. s.mu is held.
func (s *session) write(a *attempt) error {
	err := s.flush(a)
	if !errors.Is(err, errFull) {
		s.out.state = outboxIdle
		return err
	}
	if !s.writable() {
		s.out.state = outboxIdle
		return nil
	}
	s.out.state = outboxWaiting
	if s.raw == nil {
		s.written = make(chan struct{})
		s.run(s.writeBlocking)
	} else {
		s.run(s.writeWaiting)
	}
	return nil
}

// writeWaiting writes whenever the socket has room again. A socket that takes
// nothing for stallWait costs its session.
func (s *session) writeWaiting() {
	scratch := make([]byte, 0, writeSize)
	for {
		var broken error
		// The write is tried within the call that waits: an edge of the poller
		// between a try and a wait of its own would be lost.
		err := s.raw.Write(func(fd uintptr) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			broken = s.writeRoom(fd, scratch)
			return !errors.Is(broken, errFull)
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.cut(CloseSlow) // or woken by a cut, which counts once
			if s.socket.SetWriteDeadline(time.Time{}) != nil {
				return
			}
		case err != nil || broken != nil:
			s.hangUp()
			return
		default:
			return
		}
	}
}

// writeRoom writes until nothing waits, or returns errFull with the deadline
// set until which the socket has to take something. s.mu is held.
func (s *session) writeRoom(fd uintptr, scratch []byte) error {
	for s.over(time.Now()); s.writable(); {
		n, err := writeNow(fd, s.out.batch(scratch))
		if errors.Is(err, errFull) {
			deadline := time.Now().Add(stallWait)
			if s.ended {
				deadline = time.Time{} // the session's timer ends the wait
			}
			return errors.Join(err, s.socket.SetWriteDeadline(deadline))
		}
		if err != nil {
			return err
		}
		s.out.wrote(n)
		s.makeRoomKnown()
	}
	s.out.state = outboxIdle
	return s.socket.SetWriteDeadline(time.Time{})
}

// writeBlocking writes to a connection that can only be waited for. What it has
// taken counts as handed over.
func (s *session) writeBlocking() {
	defer close(s.written) // nobody makes another while this one runs
	scratch := make([]byte, 0, writeSize)
	for {
		b := s.takeBatch(scratch)
		if len(b) == 0 {
			return
		}
		if s.writePieces(b) != nil {
			s.cut(CloseSlow)
			s.hangUp()
			return
		}
	}
}

// pieceSize is what has to be taken within stallWait by a connection that does
// not tell whether it takes a part of it: the size of a TLS record.
const pieceSize = 16 << 10

func (s *session) writePieces(b []byte) error {
	for piece := range slices.Chunk(b, pieceSize) {
		if err := s.socket.SetWriteDeadline(time.Now().Add(stallWait)); err != nil {
			return err
		}
		if _, err := s.socket.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// flushLast writes what waits if the socket takes it, before the connection ends.
func (s *session) flushLast() {
	written := s.writeLast()
	if written == nil {
		return
	}
	select {
	case <-written:
	case <-time.After(lingerWait):
		s.hangUp() // what is being written would keep the end from coming, too
	}
}

// writeLast returns what is closed when a writer that can only be waited for is
// done, or nil if there is none.
func (s *session) writeLast() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out.state != outboxWaiting && s.writable() {
		a := attempts.Get().(*attempt)
		defer attempts.Put(a)
		_ = s.write(a) // the connection ends in any case
	}
	return s.written
}

// takeBatch takes the next bytes to write, or none.
func (s *session) takeBatch(scratch []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over(time.Now())
	if !s.writable() {
		s.out.state = outboxIdle
		return nil
	}
	b := s.out.batch(scratch)
	s.out.wrote(len(b))
	s.makeRoomKnown()
	return b
}

// flusher writes for the sessions on its list, in the order in which they came.
type flusher struct {
	mu    sync.Mutex
	list  []*session
	spare []*session
	awake chan struct{} // holds a token while the list is not empty
}

func newFlusher() *flusher { return &flusher{awake: make(chan struct{}, 1)} }

func (f *flusher) add(s *session) {
	f.mu.Lock()
	f.list = append(f.list, s)
	first := len(f.list) == 1
	f.mu.Unlock()
	if first {
		select {
		case f.awake <- struct{}{}:
		default:
		}
	}
}

func (f *flusher) take() []*session {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.list
	f.list, f.spare = f.spare[:0], list
	return list
}

// run writes until stop is closed.
func (f *flusher) run(stop <-chan struct{}) {
	a := newAttempt()
	for {
		select {
		case <-f.awake:
		case <-stop:
			return
		}
		list := f.take()
		for _, s := range list {
			s.flushTurn(a)
		}
		clear(list)
	}
}

// flushTurn is one session's turn with a flusher.
func (s *session) flushTurn(a *attempt) {
	defer s.guard()
	if s.writeListed(a) != nil {
		s.hangUp()
	}
}

func (s *session) writeListed(a *attempt) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out.state != outboxListed {
		return nil
	}
	s.over(time.Now()) // the list may be long
	return s.write(a)
}
