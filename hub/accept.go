package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"aldaba/auth"
)

// Subprotocol is the WebSocket subprotocol of docs/protocol.md.
const Subprotocol = "aldaba.v1"

// Serve upgrades r for a client at address, an IP with or without port, as a
// trusted proxy may have told it. It returns once the session is connected, or
// refused with a JSON answer; a connected session goes on without w and r, whose
// buffers are free again.
func (h *Hub) Serve(w http.ResponseWriter, r *http.Request, address string) {
	s, no := h.admit(r, address, checkHandshake)
	if no != nil {
		h.refuse(w, r, *no)
		return
	}
	u := &upgrade{
		ResponseWriter: w, header: make(http.Header), session: s,
		answered: make(chan struct{}), begun: make(chan struct{}),
	}
	s.upgrade = u
	s.resuming = r.URL.Query().Has("resume")
	go h.hold(s, u, r)
	<-u.answered
	s.begin(u)
}

// hold is a session's goroutine: the upgrade, then melody's read pump.
func (h *Hub) hold(s *session, u *upgrade, r *http.Request) {
	defer h.roster.running.Done()
	defer s.finish()
	defer s.guard()
	defer s.answered() // of an upgrade that failed
	if err := h.melody.HandleRequestWithKeys(u, r, nil); err != nil {
		h.log.Debug("upgrade failed", "address", s.address, "error", err)
	}
}

// answered lets Serve return. Only the session's goroutine calls it.
func (s *session) answered() {
	if s.upgrade != nil {
		close(s.upgrade.answered)
		s.upgrade = nil
	}
}

// guard costs a panicking handler its session, and nothing else.
func (s *session) guard() {
	p := recover()
	if p == nil {
		return
	}
	s.hub.metrics.panics.Inc()
	s.hub.log.Error("handler panicked", "session", s.id, "panic", panicText(p), "stack", string(debug.Stack()))
	s.cut(CloseInternalError)
}

// panicText is what a log may say of a panic's value, which may hold anything, a
// message or a token too.
func panicText(p any) string {
	if err, ok := p.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", p)
}

// refusal is what a request gets instead of an upgrade.
type refusal struct {
	status     int
	code       string
	message    string
	retryAfter time.Duration
}

// refuse answers with a refusal (docs/protocol.md, "Connecting").
func (h *Hub) refuse(w http.ResponseWriter, r *http.Request, no refusal) {
	h.metrics.denied(no.code)
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	switch no.status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", "Bearer")
	case http.StatusUpgradeRequired:
		if r.ProtoMajor == 1 { // HTTP/2 knows neither header (RFC 9113, section 8.2.2)
			header.Set("Upgrade", "websocket")
			header.Set("Connection", "Upgrade")
		}
	}
	if no.retryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int((no.retryAfter+time.Second-1)/time.Second)))
	}
	w.WriteHeader(no.status)
	err := json.NewEncoder(w).Encode(answer{
		Type: "error", Code: no.code, Message: no.message, RetryAfter: seconds(no.retryAfter),
	})
	if err != nil {
		h.log.Debug("refusal not sent", "code", no.code, "error", err)
	}
}

// admit turns a request into a session that holds its place in the roster, or
// says why not. The limits come after the token, and those of one user or address
// before that of all: neither junk nor a user at his limit can use up what belongs
// to others.
func (h *Hub) admit(r *http.Request, address string, check func(*http.Request) *refusal) (*session, *refusal) {
	if no := check(r); no != nil {
		return nil, no
	}
	if !h.origins.allow(r) {
		return nil, &refusal{http.StatusForbidden, codeOriginNotAllowed, "this origin may not connect", 0}
	}
	claims, no := h.authenticate(r)
	if no != nil {
		return nil, no
	}
	grants := h.policy.Grants(claims)
	if no := h.checkChannels(grants); no != nil {
		return nil, no
	}
	s := h.newSession(claims, grants, limitAddress(address))
	switch err := h.roster.add(s); {
	case errors.Is(err, errRefusing):
		return nil, &refusal{http.StatusServiceUnavailable, codeDraining, "this replica is about to stop", time.Second}
	case err != nil:
		return nil, &refusal{http.StatusTooManyRequests, codeTooManySessions, err.Error(), limitWait}
	}
	if !h.connects.Allow() {
		h.roster.remove(s)
		h.roster.running.Done()
		return nil, &refusal{http.StatusTooManyRequests, codeTooManyConnects, "too many connects, try again", time.Second}
	}
	return s, nil
}

// checkHandshake refuses what gorilla would let pass (HTTP/1.0), and says in
// JSON what it would say in plain text.
func checkHandshake(r *http.Request) *refusal {
	switch {
	case r.ProtoMajor != 1 || r.ProtoMinor < 1:
		return &refusal{http.StatusUpgradeRequired, codeUpgradeRequired, "a WebSocket needs HTTP/1.1", 0}
	case !strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		return &refusal{http.StatusUpgradeRequired, codeUpgradeRequired, "this is a WebSocket endpoint: see docs/protocol.md", 0}
	default:
		return nil
	}
}

// authenticate finds and verifies the token.
func (h *Hub) authenticate(r *http.Request) (*auth.Claims, *refusal) {
	token, place, err := auth.FromRequest(r, h.cookie)
	// Somebody has asked for the ticket; a cookie may have come along by itself.
	if ticket, ok := h.ticketOf(r); ok && !errors.Is(err, auth.ErrTokenInURL) {
		place = 0
		token, err = h.redeem(r.Context(), ticket)
	}
	if err != nil {
		return nil, unauthorized(err)
	}
	if place == auth.PlaceCookie && r.Header.Get("Origin") == "" && !sameOrigin(r) {
		return nil, &refusal{http.StatusForbidden, codeOriginNotAllowed, "a cookie counts only with an Origin", 0}
	}
	claims, err := h.verifier.Verify(r.Context(), token)
	if err != nil {
		h.log.Debug("token refused", "error", err)
		return nil, unauthorized(err)
	}
	return claims, nil
}

// unauthorized maps the errors of auth to a refusal. What exactly is wrong with a
// token is for the log: a forger learns nothing.
func unauthorized(err error) *refusal {
	for _, known := range []error{auth.ErrNoToken, auth.ErrTokenInURL, auth.ErrExpiredToken, ErrNoTicket} {
		if errors.Is(err, known) {
			return &refusal{http.StatusUnauthorized, codeUnauthorized, known.Error(), 0}
		}
	}
	if errors.Is(err, errTicketsUnavailable) {
		return &refusal{http.StatusServiceUnavailable, codeUnavailable, errTicketsUnavailable.Error(), time.Second}
	}
	if errors.Is(err, auth.ErrKeysUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &refusal{http.StatusServiceUnavailable, codeUnavailable, auth.ErrKeysUnavailable.Error(), 5 * time.Second}
	}
	return &refusal{http.StatusUnauthorized, codeUnauthorized, auth.ErrInvalidToken.Error(), 0}
}

// checkChannels refuses claims that yield more channels than a session may join:
// joining some of them would leave a page waiting for the others.
func (h *Hub) checkChannels(g *auth.Grants) *refusal {
	n, limit := len(g.Auto()), h.limits.ChannelsPerSession
	if n <= limit {
		return nil
	}
	h.log.Log(context.Background(), slog.LevelWarn, "claims yield too many channels", "channels", n, "limit", limit)
	return &refusal{http.StatusForbidden, codeTooManyChannels, fmt.Sprintf("the token yields %d channels, the limit is %d", n, limit), 0}
}
