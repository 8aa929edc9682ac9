package hub

import (
	"encoding/json"
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
	if m.atConnect {
		s.admittedAtConnect()
	} else if len(m.wait.requests) == 0 {
		s.answer(answer{Type: "joined", Channel: m.channel.name})
	}
	for _, id := range m.wait.requests {
		s.answer(answer{Type: "joined", ID: id, Channel: m.channel.name})
	}
}

func (s *session) admittedAtConnect() {
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

// leave ends m: no further message of its channel is queued. It returns the
// subscribes that m has not answered; ok is false if m was not the session's.
func (s *session) leave(m *membership) (unanswered []json.RawMessage, ok bool) {
	was, unanswered := m.channel.leave(m)
	if was == memberLeft {
		return nil, false
	}
	s.forget(m, was)
	return unanswered, true
}

// forget lets go of m, which has left its channel.
func (s *session) forget(m *membership, was membershipState) {
	defer s.hub.index.release(m.channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memberships = slices.DeleteFunc(s.memberships, func(o *membership) bool { return o == m })
	if m.atConnect && was != memberJoined {
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
		was, unanswered, ok := m.channel.leaveLate(m, now)
		if !ok {
			s.awaitJoin(m.channel.waitsUntil(m))
			continue
		}
		s.forget(m, was)
		if len(unanswered) == 0 {
			s.cut(CloseBrokerLost)
			return
		}
		for _, id := range unanswered {
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
// back. What it returns is as leave's.
func (s *session) revoke(m *membership) (unanswered []json.RawMessage, ok bool) {
	if unanswered, ok = s.leave(m); !ok {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.drop(func(f *frame) bool { return f.channel == m.channel })
	return unanswered, true
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
	if was, _ := m.channel.leave(m); was != memberLeft {
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
