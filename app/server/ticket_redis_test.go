package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aldaba/hub"

	"github.com/gorilla/websocket"
)

// ticket exchanges a token for a ticket.
func (r *realSite) ticket(authorization string) ticketAnswer {
	r.t.Helper()
	answer, body := r.do(http.MethodPost, r.public+"/v1/tickets", "", authorization)
	var got ticketAnswer
	if err := json.Unmarshal([]byte(body), &got); err != nil || answer.StatusCode != http.StatusOK {
		r.t.Fatalf("%d %s", answer.StatusCode, body)
	}
	if len(got.Ticket) != 43 || answer.Header.Get("Cache-Control") != "no-store" {
		r.t.Errorf("%s %v", body, answer.Header)
	}
	return got
}

// present connects with a query and headers, and returns the welcome, or the refusal.
func (r *realSite) present(query string, headers http.Header) (frame map[string]any, status int) {
	r.t.Helper()
	d := websocket.Dialer{HandshakeTimeout: patience}
	conn, answer, err := d.DialContext(r.t.Context(), "ws://"+r.public+"/ws?"+query, headers)
	if answer == nil {
		r.t.Fatal(err)
	}
	if err != nil {
		if err := json.NewDecoder(answer.Body).Decode(&frame); err != nil {
			r.t.Fatal(err)
		}
		return frame, answer.StatusCode
	}
	defer conn.Close()
	return r.frame(conn), answer.StatusCode
}

func TestTicketConnectsOnceOnAnyReplica(t *testing.T) {
	one := startReal(t)
	two := startReplica(t, one.redis)
	got := one.ticket(tokenOf(t, "anna", time.Hour))
	if left := time.Until(time.Unix(got.ExpiresAt, 0)); left > 30*time.Second || left < 15*time.Second {
		t.Errorf("good for %v", left)
	}
	frame, status := two.present("ticket="+got.Ticket, http.Header{"Cookie": {"session=whatever"}})
	if status != http.StatusSwitchingProtocols || frame["type"] != "welcome" || frame["user"] != "anna" {
		t.Errorf("%d %v", status, frame)
	}
	for _, r := range []*realSite{one, two} {
		if frame, status = r.present("ticket="+got.Ticket, nil); status != http.StatusUnauthorized || frame["code"] != codeUnauthorized {
			t.Errorf("used again: %d %v", status, frame)
		}
	}
	for _, r := range []*realSite{one, two} {
		if strings.Contains(r.logged(), got.Ticket) {
			t.Errorf("the ticket is in a log: %s", r.logged())
		}
	}
}

// TestTicketTwiceInParallel has somebody who has read it in a proxy's log.
func TestTicketTwiceInParallel(t *testing.T) {
	one := startReal(t)
	two := startReplica(t, one.redis)
	ticket := one.ticket(tokenOf(t, "anna", time.Hour)).Ticket
	var welcomed atomic.Int32
	var asking sync.WaitGroup
	for i := range 10 {
		r := []*realSite{one, two}[i%2]
		asking.Go(func() {
			d := websocket.Dialer{HandshakeTimeout: patience}
			conn, answer, err := d.DialContext(t.Context(), "ws://"+r.public+"/ws?ticket="+ticket, nil)
			switch {
			case err == nil:
				welcomed.Add(1)
				_ = conn.Close()
			case answer == nil || answer.StatusCode != http.StatusUnauthorized:
				t.Error(err)
			}
		})
	}
	asking.Wait()
	if n := welcomed.Load(); n != 1 {
		t.Errorf("%d connected with one ticket", n)
	}
}

// TestRedisKnowsNeitherTicketNorToken has somebody who can read Redis.
func TestRedisKnowsNeitherTicketNorToken(t *testing.T) {
	r := startReal(t)
	authorization := tokenOf(t, "anna", time.Hour)
	ticket := r.ticket(authorization).Ticket
	keys, _ := r.redis.Do("KEYS", "aldaba:ticket:*").([]any)
	if len(keys) != 1 {
		t.Fatalf("%v", keys)
	}
	key, _ := keys[0].(string)
	value, _ := r.redis.Do("GET", key).(string)
	token := strings.TrimPrefix(authorization, "Authorization: Bearer ")
	for part := range strings.SplitSeq(token, ".") {
		if strings.Contains(value, part) {
			t.Error("redis has the token")
		}
	}
	if strings.Contains(key+value, ticket) || value == "" {
		t.Error("redis has the ticket")
	}
	if ms, _ := r.redis.Do("PTTL", key).(int64); ms <= 0 || ms > 30_000 {
		t.Errorf("kept for %d ms", ms)
	}
	// Who can write there as well makes no session of it.
	r.redis.Do("SET", key, "{\"sub\":\"ben\"}", "PX", 30_000)
	if _, status := r.present("ticket="+ticket, nil); status != http.StatusUnauthorized {
		t.Errorf("forged: %d", status)
	}
}

func TestTicketEndsWithItsToken(t *testing.T) {
	r := startReal(t)
	got := r.ticket(tokenOf(t, "anna", 3*time.Second))
	if left := time.Until(time.Unix(got.ExpiresAt, 0)); left > 3*time.Second {
		t.Errorf("good for %v", left)
	}
	eventually(t, "redis forgets it", func() bool {
		keys, _ := r.redis.Do("KEYS", "aldaba:ticket:*").([]any)
		return len(keys) == 0
	})
	if _, status := r.present("ticket="+got.Ticket, nil); status != http.StatusUnauthorized {
		t.Errorf("%d", status)
	}
}

func TestTicketsThatAreNone(t *testing.T) {
	r := startReal(t)
	ticket := r.ticket(tokenOf(t, "anna", time.Hour)).Ticket
	for _, query := range []string{
		"ticket=", "ticket=abc", "ticket=" + strings.Repeat("A", 43), "ticket=" + strings.Repeat("A", 20<<10),
		"ticket=" + ticket + "&ticket=" + ticket, "ticket=%00", "ticket=" + strings.Replace(ticket, ticket[:1], "*", 1), "Ticket=" + ticket,
		"ticket=" + ticket + "&token=x", "ticket=" + ticket + "&access_token=x",
	} {
		if frame, status := r.present(query, nil); status != http.StatusUnauthorized || frame["code"] != codeUnauthorized {
			t.Errorf("%.80s: %d %v", query, status, frame)
		}
	}
	// None of them used it up, nor does a request that is no upgrade, nor another page's.
	if answer, body := r.do(http.MethodGet, r.public+"/ws?ticket="+ticket, ""); answer.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
	if _, status := r.present("ticket="+ticket, http.Header{"Origin": {"https://evil.example"}}); status != http.StatusForbidden {
		t.Errorf("foreign origin: %d", status)
	}
	if _, status := r.present("ticket="+ticket, nil); status != http.StatusSwitchingProtocols {
		t.Errorf("%d", status)
	}
}

func TestTicketForEvents(t *testing.T) {
	r := startReal(t)
	ticket := r.ticket(tokenOf(t, "anna", 3*time.Second)).Ticket
	answer, body := r.do(http.MethodGet, r.public+"/sse?ticket="+ticket, "") // until the token ends
	if answer.StatusCode != http.StatusOK || !strings.Contains(body, `"user":"anna"`) || !strings.Contains(body, `"code":4401`) {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
	if answer, body = r.do(http.MethodGet, r.public+"/sse?ticket="+ticket, ""); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
}

func TestWhoGetsNoTicket(t *testing.T) {
	r := startReal(t)
	anna := tokenOf(t, "anna", time.Hour)
	for name, c := range map[string]struct {
		body    string
		headers []string
		status  int
		code    string
	}{
		"nobody":           {"", nil, http.StatusUnauthorized, codeUnauthorized},
		"cookie":           {"", []string{"Cookie: session=x"}, http.StatusUnauthorized, codeUnauthorized},
		"subprotocol":      {"", []string{"Sec-WebSocket-Protocol: " + hub.Subprotocol + ", bearer.x"}, http.StatusUnauthorized, codeUnauthorized},
		"publisher":        {"", []string{asBilling}, http.StatusForbidden, codeForbidden},
		"expired":          {"", []string{tokenOf(t, "anna", -time.Minute)}, http.StatusUnauthorized, codeUnauthorized},
		"a body":           {"{}", []string{anna, asJSON}, http.StatusBadRequest, codeBadRequest},
		"a ticket for one": {"", []string{"Authorization: Bearer " + r.ticket(anna).Ticket}, http.StatusUnauthorized, codeUnauthorized},
	} {
		answer, body := r.do(http.MethodPost, r.public+"/v1/tickets", c.body, c.headers...)
		isProblem(t, name, answer, body, c.status, c.code)
	}
	answer, body := r.do(http.MethodGet, r.public+"/v1/tickets", "", anna)
	isProblem(t, "GET", answer, body, http.StatusMethodNotAllowed, "method_not_allowed")
}

func TestTicketsWithoutRedis(t *testing.T) {
	r := startReal(t)
	anna := tokenOf(t, "anna", time.Hour)
	ticket := r.ticket(anna).Ticket
	r.redis.Kill()
	answer, body := r.do(http.MethodPost, r.public+"/v1/tickets", "", anna)
	isProblem(t, "to get one", answer, body, http.StatusServiceUnavailable, codeUnavailable)
	frame, status := r.present("ticket="+ticket, nil)
	if status != http.StatusServiceUnavailable || frame["code"] != codeUnavailable || frame["retry_after"] == nil {
		t.Errorf("%d %v", status, frame)
	}
}
