package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// session is one gorilla client, which reads all the time.
type session struct {
	t    testing.TB
	user string
	conn *websocket.Conn

	// hear, when set before begin, sees each frame on the reader's goroutine, and
	// says whether to keep it.
	hear func(object) bool

	mu     sync.Mutex
	change *sync.Cond // of what follows
	frames []object
	ended  bool
	code   int             // of the close frame; 0 without one
	took   []time.Duration // of timed messages

	wmu sync.Mutex // one writer at a time
}

// login connects to r as user, and returns once welcomed.
func (r *replica) login(user string, claims object) *session {
	r.t.Helper()
	s := r.dial(user, claims)
	s.begin()
	s.await("welcome", func(f object) bool { return f["type"] == "welcome" })
	return s
}

// dial connects and does not read yet.
func (r *replica) dial(user string, claims object) *session {
	r.t.Helper()
	s, err := r.tryDial(user, token(r.t, user, claims))
	if err != nil {
		r.t.Fatalf("%s: %v", user, err)
	}
	return s
}

func (r *replica) tryDial(user, token string) (*session, error) {
	d := websocket.Dialer{HandshakeTimeout: patience, Subprotocols: []string{"aldaba.v1"}}
	conn, answer, err := d.Dial("ws://"+r.public+"/ws", http.Header{"Authorization": {"Bearer " + token}})
	if answer != nil && answer.Body != nil {
		_ = answer.Body.Close()
	}
	if err != nil {
		return nil, err
	}
	s := &session{t: r.t, user: user, conn: conn}
	s.change = sync.NewCond(&s.mu)
	r.t.Cleanup(func() { _ = conn.Close() })
	return s, nil
}

// begin reads until the connection ends.
func (s *session) begin() {
	done := make(chan struct{})
	s.t.Cleanup(func() {
		_ = s.conn.Close()
		<-done
	})
	go func() {
		defer close(done)
		s.read()
	}()
}

func (s *session) read() {
	for {
		_, text, err := s.conn.ReadMessage()
		if err != nil {
			s.mu.Lock()
			s.ended = true
			if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
				s.code = closed.Code
			}
			s.change.Broadcast()
			s.mu.Unlock()
			return
		}
		var f object
		if err := json.Unmarshal(text, &f); err != nil {
			s.t.Errorf("%s: %v in %s", s.user, err, text)
			return
		}
		keep := s.hear == nil || s.hear(f)
		s.mu.Lock()
		if keep {
			s.frames = append(s.frames, f)
		}
		s.change.Broadcast()
		s.mu.Unlock()
	}
}

// say sends a frame.
func (s *session) say(f object) {
	s.t.Helper()
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if err := s.conn.WriteJSON(f); err != nil {
		s.t.Errorf("%s: %v", s.user, err)
	}
}

// ask sends a command and returns the answer.
func (s *session) ask(f object) object {
	s.t.Helper()
	id := fmt.Sprintf("%p-%d", s, time.Now().UnixNano())
	f["id"] = id
	s.say(f)
	return s.await(fmt.Sprint(f["type"]), func(f object) bool { return f["id"] == id })
}

// await returns the first frame that is the one.
func (s *session) await(what string, is func(object) bool) object {
	s.t.Helper()
	seen := 0
	var found object
	s.until(what, func() bool {
		for ; seen < len(s.frames) && found == nil; seen++ {
			if is(s.frames[seen]) {
				found = s.frames[seen]
			}
		}
		return found != nil
	})
	return found
}

// until waits for a condition, which is looked at with s.mu held after each
// change, on a session that goes on.
func (s *session) until(what string, ok func() bool) {
	s.t.Helper()
	s.wait(what, func() bool {
		if s.ended {
			s.t.Fatalf("%s waits for %s: ended with %d, heard %v", s.user, what, s.code, last(s.frames, 20))
		}
		return ok()
	})
}

func (s *session) wait(what string, ok func() bool) {
	s.t.Helper()
	late := false
	timer := time.AfterFunc(patience, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		late = true
		s.change.Broadcast()
	})
	defer timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !ok() {
		if late {
			s.t.Fatalf("%s waits for %s: heard %v", s.user, what, last(s.frames, 20))
		}
		s.change.Wait()
	}
}

// awaitClose waits for the end and returns the code.
func (s *session) awaitClose() int {
	s.t.Helper()
	s.wait("its close", func() bool { return s.ended })
	return s.code
}

func (s *session) close() { _ = s.conn.Close() }

func last[T any](all []T, n int) []T { return all[max(0, len(all)-n):] }
