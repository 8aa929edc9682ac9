package hub

import (
	"slices"
	"time"

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
	if !m.atConnect {
		s.awaitJoin(m.channel.waitsUntil(m))
	}
}

// awaitJoin has the timer look after a join that is to be given up at until; zero
// stands for none.
func (s *session) awaitJoin(until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if until.IsZero() || s.ended || !s.lateAt.IsZero() && s.lateAt.Before(until) {
		return
	}
	s.lateAt = until
	s.timer.Reset(time.Until(s.nextEvent()))
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
	stands := m.wait.standing
	a := answer{
		Type: "joined", Channel: m.channel.name,
		Position: stands.position, Recovered: stands.recovered, Unread: stands.unread,
	}
	if m.atConnect {
		s.admittedAtConnect(m)
	} else if len(m.wait.requests) == 0 {
		s.answer(a)
	}
	for _, id := range m.wait.requests {
		a.ID = id
		s.answer(a)
	}
}

func (s *session) admittedAtConnect(m *membership) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.channels = append(s.channels, channelState{
		Channel: m.channel.name, Position: m.wait.standing.position,
		Recovered: m.wait.standing.recovered, Unread: m.wait.standing.unread,
	})
	s.awaitOneLess()
}

// awaitOneLess welcomes the session when it was the last one. s.mu is held.
func (s *session) awaitOneLess() {
	s.awaited--
	if s.awaited == 0 && !s.ended {
		s.welcome()
		s.timer.Reset(time.Until(s.nextEvent()))
	}
}

// leave ends m: no further message of its channel is queued.
func (s *session) leave(m *membership) departure {
	d := m.channel.leave(m)
	if d.ok {
		s.forget(m, d)
	}
	return d
}

// forget lets go of m, which has left its channel.
func (s *session) forget(m *membership, d departure) {
	defer s.hub.index.release(m.channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memberships = slices.DeleteFunc(s.memberships, func(o *membership) bool { return o == m })
	if d.awaited {
		s.awaitOneLess()
	}
}

// giveUpJoins ends the joins that the broker has not confirmed in time. What was
// asked for is refused; what the grants yield by themselves the session cannot do
// without.
func (s *session) giveUpJoins(now time.Time) {
	for _, m := range s.allMemberships() {
		if m.atConnect {
			continue // the welcome waits for it
		}
		d := m.channel.leaveLate(m, now)
		if !d.ok {
			s.awaitJoin(m.channel.waitsUntil(m))
			continue
		}
		s.forget(m, d)
		if len(d.unanswered) == 0 {
			s.cut(CloseBrokerLost)
			return
		}
		for _, id := range d.unanswered {
			s.denyFor(id, codeUnavailable, "the broker does not confirm this channel", time.Second)
		}
	}
}

func (s *session) allMemberships() []*membership {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.memberships)
}

// revoke ends m because its grant is gone: what waits of its channel is taken
// back.
func (s *session) revoke(m *membership) departure {
	d := s.leave(m)
	if !d.ok {
		return d
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.drop(func(f *frame) bool { return f.channel == m.channel })
	return d
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
	if m.channel.leave(m).ok {
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
