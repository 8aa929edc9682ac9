package hub

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"aldaba/auth"
)

// Server-Sent Events (HTML Living Standard, section 9.2) are the other transport of a
// session: the same frames, one event each, and nothing upstream. `id` carries the
// positions of all channels with history, so that `Last-Event-ID` resumes them.

// events writes a session's frames to the answer of an HTTP request. All but wake and
// abort is for the request's goroutine alone.
type events struct {
	awake   chan struct{} // there may be something to write; holds one
	aborted chan struct{} // closed by abort
	once    sync.Once     // abort

	out       http.ResponseWriter
	control   *http.ResponseController
	buffer    bytes.Buffer
	channels  []string          // with history: the one that moved last comes first
	positions map[string]string // of channels
}

func newEvents(w http.ResponseWriter) *events {
	return &events{
		awake: make(chan struct{}, 1), aborted: make(chan struct{}),
		out: w, control: http.NewResponseController(w), positions: make(map[string]string),
	}
}

// wake has what waits written soon.
func (e *events) wake() {
	select {
	case e.awake <- struct{}{}:
	default:
	}
}

// abort ends the answer, also in the middle of a write, but for one to a connection over
// HTTP/2 that is full (see ServeEvents). It is safe to call twice.
func (e *events) abort() {
	e.once.Do(func() {
		close(e.aborted)
		_ = e.control.SetWriteDeadline(time.Now()) // fails on a connection that is gone
	})
}

// ServeEvents answers r with the events of a session, for a client at address (see
// Serve), until that has ended. `?channel=` names a channel that is joined on request,
// and may be repeated.
//
// Over HTTP/2 a stream ends with a frame of its own (RFC 9113, section 6.4), behind what
// the connection has not taken yet. A server of HTTP/2 needs a WriteByteTimeout, since only
// it can end a connection that takes nothing; without one the session stays.
func (h *Hub) ServeEvents(w http.ResponseWriter, r *http.Request, address string) {
	h.allowOrigin(w, r)
	if r.Method == http.MethodOptions { // of another origin's page (Fetch, section 3.2)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	s, no := h.admit(r, address, checkEvents)
	if no != nil {
		h.refuse(w, r, *no)
		return
	}
	defer h.roster.running.Done()
	defer s.finish()
	defer s.guard()
	grants := s.requested(r.URL.Query()["channel"])
	s.events = newEvents(w)
	if err := s.events.begin(); err != nil {
		h.log.Debug("event stream not begun", "session", s.id, "error", err)
		return
	}
	h.metrics.connects.Inc()
	s.startTimer()
	//nolint:contextcheck // joins end with the session, not with what the request bears
	s.startWith(append(s.grants.Auto(), grants...), parsePositions(r.Header.Get("Last-Event-ID")))
	if err := s.stream(r.Context()); err != nil {
		s.cut(CloseSlow)
	}
}

// checkEvents refuses what has no stream to answer with.
func checkEvents(r *http.Request) *refusal {
	if !r.ProtoAtLeast(1, 1) {
		return &refusal{http.StatusUpgradeRequired, codeUpgradeRequired, "events need HTTP/1.1", 0}
	}
	return nil
}

// allowOrigin lets the page of an allowed origin read the answer (Fetch, section 3.2).
func (h *Hub) allowOrigin(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !h.origins.allow(r) {
		return
	}
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Allow-Credentials", "true")
	if r.Method == http.MethodOptions {
		header.Set("Access-Control-Allow-Methods", http.MethodGet)
		header.Set("Access-Control-Allow-Headers", "Authorization, Last-Event-ID")
		header.Set("Access-Control-Max-Age", "600")
	}
}

// requested returns the grants of channels that the client asks for. It is told of
// those that it has not, after the welcome.
func (s *session) requested(channels []string) []auth.Grant {
	joined := make(map[string]bool)
	for _, g := range s.grants.Auto() {
		joined[g.Channel] = true
	}
	var grants []auth.Grant
	for _, channel := range channels {
		g, ok := s.grants.Lookup(channel)
		switch {
		case joined[channel]:
		case !ok:
			s.denyChannel(channel, codeForbidden, noReceive)
		case len(joined) >= s.hub.limits.ChannelsPerSession:
			s.denyChannel(channel, codeTooManyChannels, tooManyChannels)
		default:
			joined[channel] = true
			grants = append(grants, g)
		}
	}
	return grants
}

// denyChannel refuses one channel of many; the frame repeats no name that is none.
func (s *session) denyChannel(channel, code, message string) {
	s.hub.metrics.denied(code)
	if !auth.ValidChannel(channel) {
		channel = ""
	}
	s.answer(answer{Type: "error", Channel: channel, Code: code, Message: message})
}

// begin sends the head of the answer. A client that loses the connection comes back
// within two to four seconds.
func (e *events) begin() error {
	header := e.out.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // nginx would hold events back
	if err := e.control.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	e.out.WriteHeader(http.StatusOK)
	retry := 2000 + rand.N(2000) //nolint:gosec // spreads load, hides nothing
	e.buffer.WriteString("retry: " + strconv.Itoa(retry) + "\n\n")
	return e.flush()
}

// flush writes what is buffered. A peer that takes nothing for stallWait is given up.
func (e *events) flush() error {
	if err := e.control.SetWriteDeadline(time.Now().Add(stallWait)); err != nil {
		return err
	}
	if _, err := e.buffer.WriteTo(e.out); err != nil {
		return err
	}
	if err := e.control.Flush(); err != nil {
		return err
	}
	return e.control.SetWriteDeadline(time.Time{}) // HTTP/2 would reset an idle stream
}

var errStreamEnded = errors.New("event stream has ended")

// stream writes until the session or ctx ends. It returns an error if the peer did not
// take what was written.
func (s *session) stream(ctx context.Context) error {
	e := s.events
	for {
		select {
		case <-ctx.Done():
			return nil // the peer has gone
		case <-e.aborted:
			return nil
		case <-e.awake:
		}
		for more := true; more; {
			var ended bool
			more, ended = s.takeEvents()
			if err := e.flush(); err != nil {
				return errors.Join(errStreamEnded, err)
			}
			if ended {
				return nil
			}
		}
	}
}

// takeEvents moves frames that wait into the buffer. It returns whether there are more,
// and whether the last one ends the stream.
func (s *session) takeEvents() (more, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over(time.Now())
	for s.writable() && s.events.buffer.Len() < writeSize {
		f := s.out.frames[0]
		s.events.add(f)
		s.out.wrote(len(f.bytes))
		if f.bytes[0]&opcodeBits == opClose {
			ended = true
			break
		}
	}
	s.makeRoomKnown()
	if !s.writable() {
		s.out.state = outboxIdle
		return false, ended
	}
	return true, ended
}

// add encodes f as an event: a text frame as it is, a ping as a comment, a close as a
// last event.
func (e *events) add(f *frame) {
	payload := f.payload()
	switch f.bytes[0] & opcodeBits {
	case opText:
		if e.moved(f) {
			e.buffer.WriteString("id: ")
			e.writePositions()
			e.buffer.WriteByte('\n')
		}
		e.data(payload)
	case opClose:
		code, reason := 1000, ""
		if len(payload) >= 2 {
			code, reason = int(binary.BigEndian.Uint16(payload)), string(payload[2:])
		}
		text, _ := json.Marshal(closeEvent{"close", code, reason}) // numbers and fixed texts
		e.data(text)
	default:
		e.buffer.WriteString(":\n\n")
	}
}

type closeEvent struct {
	Type   string `json:"type"`
	Code   int    `json:"code"`
	Reason string `json:"reason"`
}

// data writes one event. A line feed in a document begins another line of data, which
// the receiver joins again; JSON has them between its tokens only.
func (e *events) data(text []byte) {
	for line := range bytes.Lines(bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))) {
		e.buffer.WriteString("data: ")
		e.buffer.Write(bytes.TrimSuffix(line, []byte("\n")))
		e.buffer.WriteByte('\n')
	}
	e.buffer.WriteByte('\n')
}

// moved notes the positions that f brings, and reports whether there are any.
func (e *events) moved(f *frame) bool {
	for _, c := range f.channels {
		if c.Position != "" {
			e.channels = append(e.channels, c.Channel)
			e.positions[c.Channel] = c.Position
		}
	}
	if f.channel != nil && !f.at.IsZero() {
		e.positions[f.channel.name] = f.at.String()
		e.first(f.channel.name)
		return true
	}
	return len(f.channels) > 0 && len(e.channels) > 0
}

// first puts channel before the others.
func (e *events) first(channel string) {
	if i := slices.Index(e.channels, channel); i > 0 {
		copy(e.channels[1:], e.channels[:i])
		e.channels[0] = channel
	}
}

// idBound is how long an id may be, in bytes. It comes back as a header, and one of more
// than 8 KiB is refused by most proxies: the client could never come back. Channels that
// find no room are those in which nothing happened for the longest; they are not resumed,
// and their client is told.
const idBound = 6 << 10

// writePositions writes `channel=position`, joined by commas, which are in neither.
func (e *events) writePositions() {
	left := idBound
	for i, channel := range e.channels {
		position := e.positions[channel]
		if left -= len(channel) + len(position) + 2; left < 0 {
			return
		}
		if i > 0 {
			e.buffer.WriteByte(',')
		}
		e.buffer.WriteString(channel + "=" + position)
	}
}

// parsePositions reads what writePositions has written; what is none is left out.
func parsePositions(text string) map[string]Position {
	positions := make(map[string]Position)
	for one := range strings.SplitSeq(text, ",") {
		if i := strings.LastIndexByte(one, '='); i > 0 {
			if p, err := ParsePosition(one[i+1:]); err == nil {
				positions[one[:i]] = p
			}
		}
	}
	return positions
}
