package hub

import (
	"time"

	"aldaba/auth"
)

// resume is the first frame of a session that asked to resume: where its client
// stands. It runs on the session's goroutine; the joins run on another, since they
// take more stack than waiting for frames.
func (s *session) resume(c command, err error) bool {
	if err != nil || c.Type != "resume" {
		s.cut(CloseNoResume)
		return false
	}
	positions := make(map[string]Position, len(c.Positions))
	for channel, text := range c.Positions {
		if p, err := ParsePosition(text); err == nil {
			positions[channel] = p
		}
	}
	started := make(chan struct{})
	s.run(func() {
		defer close(started)
		s.startWith(s.grants.Auto(), positions)
	})
	<-started
	return true
}

// startWith joins the channels that the welcome waits for.
func (s *session) startWith(grants []auth.Grant, positions map[string]Position) {
	if !s.await(len(grants)) {
		return
	}
	for _, g := range grants {
		m := newMembership(s, positions[g.Channel])
		m.atConnect = true
		s.join(m, g)
	}
}

func (s *session) awaitsResume() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resuming && !s.ended
}

// await has the welcome wait for channels, or sends it if there are none. It returns
// false if the session has ended.
func (s *session) await(channels int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.resuming = false
	s.awaited = channels
	s.until = time.Now().Add(joinWait)
	if channels == 0 {
		s.welcome()
	}
	s.timer.Reset(time.Until(s.nextEvent()))
	return true
}
