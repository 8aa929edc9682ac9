package hub

import (
	"math/rand/v2"
	"time"
)

// Each session has one timer, for whatever comes next: the end of the wait for its
// channels, a ping, the notice of expiry, expiry, the end of the wait for its peer
// to close.

// startTimer begins the session's life. A client that resumes has resumeWait to say
// from where.
func (s *session) startTimer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.until = now.Add(resumeWait)
	s.pingAt = now.Add(s.pingPeriod()/2 + rand.N(s.pingPeriod()/2)) //nolint:gosec // spreads load, hides nothing
	s.timer = time.AfterFunc(time.Until(s.nextEvent()), s.tick)
	if s.ended { // during the upgrade
		s.closeSoon()
	}
}

// tick is what the session's timer does.
func (s *session) tick() {
	defer s.guard()
	now := time.Now()
	if code := s.overdue(now); code != 0 {
		s.cut(code)
		return
	}
	if s.joinIsLate(now) {
		s.giveUpJoins(now)
	}
	if s.goesOn(now) {
		return
	}
	s.hangUp()
}

// goesOn does what is due and sets the timer anew; it returns false when the peer
// has had its time to answer the close frame.
func (s *session) goesOn(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone:
	case !s.ended:
		s.notice(now)
		s.ping(now)
		s.timer.Reset(time.Until(s.nextEvent()))
	case now.Before(s.until): // it has ended while this tick was on its way
		s.timer.Reset(time.Until(s.until))
	default:
		return false
	}
	return true
}

// joinIsLate reports whether a join may have to be given up, once.
func (s *session) joinIsLate(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.lateAt.IsZero() || now.Before(s.lateAt) {
		return false
	}
	s.lateAt = time.Time{}
	return true
}

// overdue returns the code with which the session is to be cut at now, or 0.
func (s *session) overdue(now time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return 0
	case !now.Before(s.expires.Add(s.grace)):
		return CloseExpired
	case s.resuming && !now.Before(s.until):
		return CloseNoResume
	case !s.welcomed && !now.Before(s.until):
		return CloseBrokerLost
	default:
		return 0
	}
}

// over reports whether the session has ended; its token's end is its own. Ten thousand
// tokens may end in one second, and if all timers cut then, everybody else would wait:
// they cut within expirySpread. Until then nothing is handed out all the same, since
// whoever is about to do that asks here. s.mu is held.
func (s *session) over(now time.Time) bool {
	if !s.ended && s.timer != nil && !now.Before(s.expires) {
		s.end(CloseExpired)
		s.run(s.leaveAll) // the caller may hold a channel's lock
	}
	return s.ended
}

// noticeAt is when the client is told of the coming expiry.
func (s *session) noticeAt() time.Time { return s.expires.Add(5*s.grace - expiryNotice) }

// notice tells of the coming expiry, once. s.mu is held.
func (s *session) notice(now time.Time) {
	if s.noticed || !s.welcomed || now.Before(s.noticeAt()) {
		return
	}
	s.noticed = true
	f := answerFrame(answer{Type: "expiring", ExpiresAt: s.expires.Unix()})
	if s.out.fits(f, s.hub.limits.Queue) {
		s.out.push(f)
		s.wake()
	}
}

// ping asks the peer for a sign of life, which is what keeps the read deadline
// away. s.mu is held.
func (s *session) ping(now time.Time) {
	if !s.welcomed || now.Before(s.pingAt) {
		return
	}
	s.pingAt = now.Add(s.pingPeriod())
	if s.out.fits(pingFrame, s.hub.limits.Queue) {
		s.out.push(pingFrame)
		s.wake()
	}
}

// pingPeriod is how long nothing may be said. Proxies give up an answer that says
// nothing sooner than a socket.
func (s *session) pingPeriod() time.Duration {
	if s.events != nil {
		return heartbeat
	}
	return pingPeriod
}

// nextEvent is when the timer has something to do. s.mu is held.
func (s *session) nextEvent() time.Time {
	next := s.expires.Add(s.grace)
	if !s.welcomed {
		next = earlier(next, s.until)
	} else {
		next = earlier(next, s.pingAt)
	}
	if s.welcomed && !s.noticed {
		next = earlier(next, s.noticeAt())
	}
	if !s.lateAt.IsZero() {
		next = earlier(next, s.lateAt)
	}
	return next
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
