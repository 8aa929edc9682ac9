package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"aldaba/auth"

	"github.com/gorilla/websocket"
)

// command is a client frame (docs/protocol.md, "Client to server").
type command struct {
	Type    string
	ID      json.RawMessage
	Channel string
	Data    json.RawMessage
	Token   string

	Position      string
	Positions     map[string]string // by channel
	After, Before string            // positions
	Limit         int
}

var (
	errNotObject = errors.New("a frame is one JSON object with a type")
	errID        = errors.New("id is a number or a string of at most 64 bytes")
)

// parseCommand decodes one client frame; names count to the letter. The command
// that comes with an error has the id, if it can be repeated.
func parseCommand(frame []byte) (command, error) {
	var c command
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(frame, &fields); err != nil || fields == nil {
		return c, errNotObject
	}
	id := fields["id"]
	if !validID(id) {
		return c, errID
	}
	c.ID = id
	c.Data = fields["data"]
	for _, f := range []struct {
		name string
		text *string
	}{
		{"type", &c.Type},
		{"channel", &c.Channel},
		{"token", &c.Token},
		{"position", &c.Position},
		{"after", &c.After},
		{"before", &c.Before},
	} {
		if value, ok := fields[f.name]; ok && (value[0] != '"' || json.Unmarshal(value, f.text) != nil) {
			return c, fmt.Errorf("%s is not a string", f.name)
		}
	}
	if c.Type == "" {
		return c, errNotObject
	}
	if value, ok := fields["positions"]; ok && json.Unmarshal(value, &c.Positions) != nil {
		return c, errors.New("positions is not an object of strings")
	}
	if value, ok := fields["limit"]; ok && json.Unmarshal(value, &c.Limit) != nil {
		return c, errors.New("limit is not a whole number")
	}
	return c, nil
}

// validID reports whether id may be repeated: absent, a number, or a short string.
func validID(id json.RawMessage) bool {
	if len(id) == 0 {
		return true
	}
	if id[0] != '"' {
		return len(id) <= idBytes && (id[0] == '-' || (id[0] >= '0' && id[0] <= '9'))
	}
	var text string
	return json.Unmarshal(id, &text) == nil && len(text) <= idBytes
}

// received obeys one text frame, on the session's goroutine.
func (s *session) received(frame []byte) {
	defer s.guard()
	s.conn.unfinished = 0
	if s.isOver() {
		return
	}
	if !utf8.Valid(frame) {
		s.cut(CloseInvalidUTF8)
		return
	}
	c, err := parseCommand(frame)
	if !s.withinRate(c.ID) {
		return
	}
	obeyed := false
	switch {
	case s.awaitsResume():
		obeyed = s.resume(c, err)
	case err != nil:
		s.deny(c.ID, codeBadFrame, err.Error())
	default:
		obeyed = s.obey(c)
	}
	if obeyed {
		s.hub.metrics.commands.WithLabelValues(c.Type).Inc()
	}
}

func (s *session) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over(time.Now())
}

// obey reports whether c was obeyed; if not, it has been answered with an error.
func (s *session) obey(c command) bool {
	switch c.Type {
	case "subscribe":
		return s.subscribe(c)
	case "unsubscribe":
		return s.unsubscribe(c)
	case "publish":
		return s.publish(c)
	case "refresh":
		return s.refresh(c)
	case "history":
		return s.history(c)
	case "ack":
		return s.ack(c)
	case "ping":
		s.answer(answer{Type: "pong", ID: c.ID})
		return true
	default:
		return s.deny(c.ID, codeUnknownType, "this hub does not know this type")
	}
}

// deny answers with an error, and returns false.
func (s *session) deny(id json.RawMessage, code, message string) bool {
	return s.denyFor(id, code, message, 0)
}

func (s *session) denyFor(id json.RawMessage, code, message string, retryAfter time.Duration) bool {
	s.hub.metrics.denied(code)
	s.answer(answer{Type: "error", ID: id, Code: code, Message: message, RetryAfter: seconds(retryAfter)})
	return false
}

// withinRate answers frames beyond the rate with `rate_limited`, and cuts a
// session that goes on and on.
func (s *session) withinRate(id json.RawMessage) bool {
	if s.frames.Allow() {
		s.strikes = max(0, s.strikes-1)
		return true
	}
	s.strikes++
	if s.strikes > 5*s.hub.limits.FramesPerSecond {
		s.cut(CloseOverLimit)
		return false
	}
	wait := time.Second / time.Duration(s.hub.limits.FramesPerSecond)
	return s.denyFor(id, codeRateLimited, "too many frames a second", wait)
}

// handleControl counts pings and pongs (RFC 6455, section 5.5) among the frames,
// and answers a close.
func (s *session) handleControl(c *websocket.Conn) {
	c.SetCloseHandler(func(code int, _ string) error {
		s.peerCloses(code)
		return nil
	})
	pong := c.PingHandler()
	c.SetPingHandler(func(payload string) error {
		if !s.receivedControl(payload) {
			return nil
		}
		return pong(payload)
	})
}

// receivedControl counts a control frame, and reports whether it is within the
// rate. It runs on the session's goroutine.
func (s *session) receivedControl(payload string) bool {
	if s.isOver() || !s.withinRate(nil) {
		return false
	}
	s.conn.unfinished = max(0, s.conn.unfinished-int64(len(payload))-controlHeader)
	return true
}

const tooManyChannels = "the session has joined as many channels as it may"

const notJoined = "this channel is not joined"

const noReceive = "no grant to receive on this channel"

func (s *session) subscribe(c command) bool {
	s.mu.Lock()
	grant, ok := s.grants.Lookup(c.Channel)
	n := len(s.memberships)
	s.mu.Unlock()
	from, _ := ParsePosition(c.Position) // one that is none recovers nothing
	switch m := s.membership(c.Channel); {
	case !ok:
		return s.deny(c.ID, codeForbidden, noReceive)
	case m != nil && m.channel.repeat(m, c.ID):
	case n >= s.hub.limits.ChannelsPerSession:
		return s.denyFor(c.ID, codeTooManyChannels, tooManyChannels, limitWait)
	default:
		s.join(newMembership(s, from, c.ID), grant)
	}
	return true
}

func (s *session) unsubscribe(c command) bool {
	m := s.membership(c.Channel)
	if m == nil {
		return s.deny(c.ID, codeNotJoined, notJoined)
	}
	d := s.leave(m)
	if !d.ok { // given up meanwhile
		return s.deny(c.ID, codeNotJoined, notJoined)
	}
	for _, id := range d.unanswered {
		s.deny(id, codeNotJoined, "this channel was left before it was joined")
	}
	s.answer(answer{Type: "left", ID: c.ID, Channel: c.Channel, Reason: "unsubscribed"})
	return true
}

func (s *session) publish(c command) bool {
	s.mu.Lock()
	allowed := s.grants.Allows(c.Channel, auth.Publish)
	s.mu.Unlock()
	switch {
	case !allowed:
		return s.deny(c.ID, codeForbidden, "no grant to publish on this channel")
	case len(c.Data) == 0:
		return s.deny(c.ID, codeBadFrame, "publish needs data")
	case int64(len(c.Data)) > s.hub.limits.Message:
		return s.deny(c.ID, codeTooLarge, "data is larger than a message may be")
	}
	ctx, cancel := context.WithTimeout(context.Background(), publishWait)
	defer cancel()
	done, err := s.hub.broker.Publish(ctx, c.Channel, c.Data, PublishOptions{})
	if errors.Is(err, ErrInvalidMessage) {
		return s.deny(c.ID, codeBadFrame, err.Error())
	}
	if err != nil {
		s.hub.log.Warn("publish failed", "session", s.id, "error", err)
		return s.denyFor(c.ID, codeUnavailable, "the broker does not answer now", time.Second)
	}
	s.answer(answer{Type: "published", ID: c.ID, Position: done.Position.String()})
	return true
}
