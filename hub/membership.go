package hub

import (
	"slices"

	"aldaba/auth"
)

// join makes m the session's membership of g's channel.
func (s *session) join(m *membership, g auth.Grant) {
	m.channel = s.hub.index.hold(g)
	if !s.keep(m) {
		s.hub.index.release(m.channel)
		return
	}
	m.channel.enter(m, s.hub.broker)
}

// keep makes m one of the session's, unless this has ended.
func (s *session) keep(m *membership) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.memberships = append(s.memberships, m)
	}
	return !s.ended
}

// admitted tells the session that m's channel is joined. m.channel.mu is held:
// no message of the channel comes before.
func (s *session) admitted(m *membership) {
	if !m.atConnect {
		s.answer(answer{Type: "joined", ID: m.request, Channel: m.channel.name})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awaitOneLess()
}

// awaitOneLess welcomes the session when it was the last one. s.mu is held.
func (s *session) awaitOneLess() {
	s.awaited--
	if s.awaited == 0 && !s.ended {
		s.welcome()
		s.timer.Reset(0) // the notice of expiry may be due
	}
}

// leave ends m: no further message of its channel is queued. It reports whether m
// was the session's.
func (s *session) leave(m *membership) bool {
	was := m.channel.leave(m)
	if was == memberLeft {
		return false
	}
	defer s.hub.index.release(m.channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memberships = slices.DeleteFunc(s.memberships, func(o *membership) bool { return o == m })
	if m.atConnect && was != memberJoined {
		s.awaitOneLess()
	}
	return true
}

// revoke ends m because its grant is gone: what waits of its channel is taken
// back.
func (s *session) revoke(m *membership) bool {
	if !s.leave(m) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.drop(func(f *frame) bool { return f.channel == m.channel })
	return true
}

// leaveAll ends every membership of an ended session.
func (s *session) leaveAll() {
	for _, m := range s.takeMemberships() {
		s.leaveOne(m)
	}
}

func (s *session) takeMemberships() []*membership {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.memberships
	s.memberships = nil
	return all
}

// leaveOne ends m of an ended session. A panic in the broker costs this channel's
// subscription at most, not the other channels'.
func (s *session) leaveOne(m *membership) {
	defer s.guard()
	if m.channel.leave(m) != memberLeft {
		s.hub.index.release(m.channel)
	}
}

// membership returns the session's membership of the channel called name, or nil.
func (s *session) membership(name string) *membership {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.memberships {
		if m.channel.name == name {
			return m
		}
	}
	return nil
}
