package hub

import (
	"context"
	"errors"
	"time"

	"aldaba/auth"
)

// pageDefault and pageLimit bound what one `history` asks for.
const (
	pageDefault = 50
	pageLimit   = 100
)

func (s *session) allowed(channel string, action auth.Action) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grants.Allows(channel, action)
}

// history answers with a page of a channel's history.
func (s *session) history(c command) bool {
	if !s.allowed(c.Channel, auth.Receive) {
		return s.deny(c.ID, codeForbidden, noReceive)
	}
	q, err := query(c)
	if err != nil {
		return s.deny(c.ID, codeBadFrame, err.Error())
	}
	q.Bytes = int(s.hub.limits.Queue / 4)
	ctx, cancel := context.WithTimeout(context.Background(), publishWait)
	defer cancel()
	page, err := s.hub.broker.Read(ctx, q)
	if err == nil && !page.Known && (c.After != "" || c.Before != "") {
		err = ErrGone
	}
	if err != nil {
		return s.denyHistory(c, err)
	}
	if !s.allowed(c.Channel, auth.Receive) { // revoked meanwhile
		return s.deny(c.ID, codeForbidden, noReceive)
	}
	messages := make([]entryState, 0, len(page.Entries))
	for _, e := range page.Entries {
		messages = append(messages, entryState{e.Position.String(), e.Data})
	}
	s.answer(answer{Type: "history", ID: c.ID, Channel: c.Channel, Messages: &messages, More: &page.More})
	return true
}

var (
	errLimit      = errors.New("limit is 1 to 100")
	errDirections = errors.New("after and before exclude each other")
)

// query is what c asks for. A position that cannot be one is gone.
func query(c command) (Query, error) {
	q := Query{Channel: c.Channel, Entries: c.Limit}
	if c.Limit == 0 {
		q.Entries = pageDefault
	}
	if q.Entries < 1 || q.Entries > pageLimit {
		return q, errLimit
	}
	if c.After != "" && c.Before != "" {
		return q, errDirections
	}
	var err error
	if c.After != "" {
		q.After, err = ParsePosition(c.After)
	}
	if c.Before != "" {
		q.Before, err = ParsePosition(c.Before)
	}
	return q, err
}

// ack notes how far the user has read.
func (s *session) ack(c command) bool {
	if !s.allowed(c.Channel, auth.Receive) {
		return s.deny(c.ID, codeForbidden, noReceive)
	}
	at, err := ParsePosition(c.Position)
	if err != nil {
		return s.deny(c.ID, codeBadFrame, err.Error())
	}
	ctx, cancel := context.WithTimeout(context.Background(), publishWait)
	defer cancel()
	acked, err := s.hub.broker.Ack(ctx, c.Channel, s.user, at)
	if err != nil {
		return s.denyHistory(c, err)
	}
	s.answer(answer{
		Type: "acked", ID: c.ID, Channel: c.Channel,
		Position: acked.Position.String(), Unread: &acked.Unread,
	})
	return true
}

// denyHistory answers with what keeps a broker from reading or noting.
func (s *session) denyHistory(c command, err error) bool {
	switch {
	case errors.Is(err, ErrNoHistory):
		return s.deny(c.ID, codeNoHistory, ErrNoHistory.Error())
	case errors.Is(err, ErrGone):
		return s.deny(c.ID, codeGone, ErrGone.Error())
	}
	s.hub.log.Warn("history failed", "session", s.id, "error", err)
	return s.denyFor(c.ID, codeUnavailable, "the broker does not answer now", time.Second)
}
