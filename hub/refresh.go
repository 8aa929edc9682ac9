package hub

import (
	"context"
	"errors"
	"time"

	"aldaba/auth"
)

// refresh takes a new token of the same user for the rest of the session: its
// channels become those that the new claims yield.
func (s *session) refresh(c command) bool {
	ctx, cancel := context.WithTimeout(context.Background(), publishWait)
	defer cancel()
	claims, err := s.hub.verifier.Verify(ctx, c.Token)
	switch {
	case err != nil:
		no := unauthorized(err)
		return s.denyFor(c.ID, no.code, no.message, no.retryAfter)
	case claims.User != s.user:
		return s.deny(c.ID, codeUnauthorized, "the token is another user's")
	}
	grants := s.hub.policy.Grants(claims)
	if no := s.hub.checkChannels(grants); no != nil {
		return s.denyFor(c.ID, no.code, no.message, limitWait)
	}
	if s.wouldHave(grants) > s.hub.limits.ChannelsPerSession {
		return s.denyFor(c.ID, codeTooManyChannels, tooManyChannels, limitWait)
	}
	before, err := s.renew(claims, grants)
	if err != nil {
		return false // cut meanwhile, there is nobody to answer
	}
	s.leaveLost(grants)
	s.answer(answer{Type: "refreshed", ID: c.ID, ExpiresAt: claims.ExpiresAt.Unix()})
	s.joinGained(before, grants)
	return true
}

// wouldHave counts the channels that the session would have joined with grants.
func (s *session) wouldHave(grants *auth.Grants) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]bool)
	for _, m := range s.memberships {
		if grants.Allows(m.channel.name, auth.Receive) {
			all[m.channel.name] = true
		}
	}
	for _, g := range gained(s.grants, grants) {
		all[g.Channel] = true
	}
	return len(all)
}

var errEnded = errors.New("session has ended")

// renew puts new grants and a new expiry in force, and returns the old grants.
func (s *session) renew(claims *auth.Claims, grants *auth.Grants) (*auth.Grants, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, errEnded
	}
	before := s.grants
	s.grants = grants
	s.expires = claims.ExpiresAt
	s.noticed = false
	s.timer.Reset(time.Until(s.nextEvent()))
	return before, nil
}

// leaveLost leaves every channel that grants no longer hold.
func (s *session) leaveLost(grants *auth.Grants) {
	for _, m := range s.allMemberships() {
		if grants.Allows(m.channel.name, auth.Receive) {
			continue
		}
		d := s.revoke(m)
		for _, id := range d.unanswered {
			s.deny(id, codeForbidden, noReceive)
		}
		if d.ok && len(d.unanswered) == 0 {
			s.answer(answer{Type: "left", Channel: m.channel.name, Reason: "revoked"})
		}
	}
}

// joinGained joins what is joined at connect now and was not before: a channel
// that the client has left by itself stays left.
func (s *session) joinGained(before, now *auth.Grants) {
	for _, g := range gained(before, now) {
		if s.membership(g.Channel) == nil {
			s.join(newMembership(s, Position{}), g)
		}
	}
}

// gained are the grants that join at connect now and did not before.
func gained(before, now *auth.Grants) (all []auth.Grant) {
	old := make(map[string]bool)
	for _, g := range before.Auto() {
		old[g.Channel] = true
	}
	for _, g := range now.Auto() {
		if !old[g.Channel] {
			all = append(all, g)
		}
	}
	return all
}
