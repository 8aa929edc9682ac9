package hub

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// refused expects an HTTP refusal and returns its body.
func (w *world) refused(status int, code string, token string, change ...func(*websocket.Dialer, http.Header)) *http.Response {
	w.t.Helper()
	conn, resp, err := w.dial(token, change...)
	if err == nil {
		conn.Close()
		w.t.Fatalf("connected, want %d %s", status, code)
	}
	if resp == nil {
		w.t.Fatal(err)
	}
	var a answer
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		w.t.Fatalf("the refusal is not JSON: %v", err)
	}
	if resp.StatusCode != status || a.Code != code || a.Type != "error" || a.Message == "" {
		w.t.Fatalf("refused with %d %+v, want %d %s", resp.StatusCode, a, status, code)
	}
	if a.RetryAfter > 0 && resp.Header.Get("Retry-After") == "" {
		w.t.Error("Retry-After is missing")
	}
	return resp
}

func header(key, value string) func(*websocket.Dialer, http.Header) {
	return func(_ *websocket.Dialer, h http.Header) { h.Set(key, value) }
}

func subprotocols(p ...string) func(*websocket.Dialer, http.Header) {
	return func(d *websocket.Dialer, h http.Header) {
		h.Del("Authorization")
		d.Subprotocols = p
	}
}

func TestNoTokenNoUpgrade(t *testing.T) {
	w := newWorld(t)
	resp := w.refused(401, "unauthorized", "", func(_ *websocket.Dialer, h http.Header) { h.Del("Authorization") })
	if resp.Header.Get("WWW-Authenticate") == "" {
		t.Error("WWW-Authenticate is missing")
	}
	w.refused(401, "unauthorized", "x.y.z")
	w.refused(401, "unauthorized", w.token("ann", in(-time.Hour)))
	w.refused(401, "unauthorized", strings.Repeat(".", 100<<10))
}

func TestTokenAsSubprotocolIsNotEchoed(t *testing.T) {
	w := newWorld(t)
	conn, resp, err := w.dial("", subprotocols("aldaba.v1", "bearer."+w.token("ann", nil)))
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get("Sec-WebSocket-Protocol"); got != "aldaba.v1" {
		t.Errorf("subprotocol %q", got)
	}
	w.read(conn).expect("welcome")
	w.refused(401, "unauthorized", "", subprotocols("bearer."+w.token("ann", nil)))
}

func TestCookieFromAForeignPage(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Cookie, o.AllowedOrigins = "session", []string{"https://app.example"} })
	cookie := func(origin string) func(*websocket.Dialer, http.Header) {
		return func(_ *websocket.Dialer, h http.Header) {
			h.Del("Authorization")
			h.Set("Cookie", "session="+w.token("ann", nil))
			if origin != "" {
				h.Set("Origin", origin)
			}
		}
	}
	w.refused(403, "origin_not_allowed", "", cookie("https://evil.example"))
	w.refused(403, "origin_not_allowed", "", cookie(""))
	conn, _, err := w.dial("", cookie("https://app.example"))
	if err != nil {
		t.Fatal(err)
	}
	w.read(conn).expect("welcome")
}

func TestForeignOrigins(t *testing.T) {
	same := newWorld(t)
	listed := newWorld(t, func(o *Options) { o.AllowedOrigins = []string{"https://app.example"} })
	for _, origin := range []string{
		"null", "https://evil.example", "https://app.example.evil.example", "https://app.example:8443", "http://app.example",
		"https://app.example/", "https://app.example@evil.example", "file://", "https://xapp.example", "",
	} {
		listed.refused(403, "origin_not_allowed", listed.token("ann", nil), header("Origin", origin))
		same.refused(403, "origin_not_allowed", same.token("ann", nil), header("Origin", origin))
	}
	for w, origin := range map[*world]string{same: same.server.URL, listed: "https://APP.example"} {
		conn, _, err := w.dial(w.token("ann", nil), header("Origin", origin))
		if err != nil {
			t.Fatalf("%s: %v", origin, err)
		}
		w.read(conn).expect("welcome")
	}
}

// rawRequest sends text as it is and returns the answer.
func (w *world) rawRequest(text string) *http.Response {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.server.URL, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp
}

func TestUpgradeThatIsNone(t *testing.T) {
	w := newWorld(t)
	token := "Authorization: Bearer " + w.token("ann", nil) + "\r\n"
	upgrade := "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + token
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"HTTP/1.0":        {"GET /ws HTTP/1.0\r\n" + upgrade + "\r\n", 426},
		"no upgrade":      {"GET /ws HTTP/1.1\r\nHost: x\r\n" + token + "\r\n", 426},
		"no key":          {"GET /ws HTTP/1.1\r\n" + strings.Replace(upgrade, "dGhlIHNhbXBsZSBub25jZQ==", "", 1) + "\r\n", 400},
		"wrong version":   {"GET /ws HTTP/1.1\r\n" + strings.Replace(upgrade, ": 13", ": 8", 1) + "\r\n", 400},
		"not a GET":       {"POST /ws HTTP/1.1\r\n" + upgrade + "Content-Length: 0\r\n\r\n", 405},
		"token in URL":    {"GET /ws?token=x HTTP/1.1\r\n" + upgrade + "\r\n", 401},
		"no such key":     {"GET /ws HTTP/1.1\r\n" + strings.Replace(upgrade, "dGhl", "!!!!", 1) + "\r\n", 400},
		"two Origins":     {"GET /ws HTTP/1.1\r\nOrigin: http://x\r\nOrigin: http://x\r\n" + upgrade + "\r\n", 403},
		"two tokens":      {"GET /ws HTTP/1.1\r\n" + token + upgrade + "\r\n", 401},
		"no token at all": {"GET /ws HTTP/1.1\r\n" + strings.Replace(upgrade, token, "", 1) + "\r\n", 401},
	} {
		resp := w.rawRequest(c.request)
		var a answer
		if err := json.NewDecoder(resp.Body).Decode(&a); err != nil || resp.StatusCode != c.status || a.Code == "" {
			t.Errorf("%s: %d %+v %v, want %d", name, resp.StatusCode, a, err, c.status)
		}
	}
	w.eventually("no session is left", func() bool { return w.hub.Sessions() == 0 })
}

func TestFramesBeforeTheHandshakeEnds(t *testing.T) {
	w := newWorld(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer "+w.token("ann", nil)+"\r\n\r\n\x81\x80\x00\x00\x00\x00")
	if err != nil {
		t.Fatal(err)
	}
	// The connection ends, whatever is answered, and leaves nothing behind.
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	// It may be reset, since bytes of it are left unread.
	if b, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(string(b), "welcome") {
		t.Errorf("read %q, %v", b, err)
	}
	w.eventually("no session is left", func() bool { return w.hub.Sessions() == 0 })
}

func TestSessionsPerUserAndAddress(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.SessionsPerUser, o.Limits.SessionsPerAddress = 2, 3 })
	first := w.login("ann", nil)
	w.login("ann", nil)
	w.refused(429, "too_many_sessions", w.token("ann", nil))
	w.login("ben", nil)
	w.refused(429, "too_many_sessions", w.token("carl", nil))
	first.Close()
	w.eventually("a place is free again", func() bool { return w.hub.Sessions() == 2 })
	w.login("ann", nil)
}

func TestConnectsPerSecond(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.ConnectsPerSecond = 1 })
	w.login("ann", nil)
	w.refused(429, "too_many_connects", w.token("ann", nil))
}

func TestAddressesCountByTheirNetwork(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "192.0.2.7:80": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7",
		"2001:db8::1": "2001:db8::/64", "[2001:db8::2]:443": "2001:db8::/64", "fe80::1%eth0": "fe80::/64", "@": "@",
	} {
		if got := limitAddress(address); got != want {
			t.Errorf("%s counts as %s, want %s", address, got, want)
		}
	}
}

func TestChannelsPerSession(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.ChannelsPerSession = 4 })
	w.refused(403, "too_many_channels", w.token("ann", claims{"rooms": []string{"1", "2", "3"}}))
	c := w.login("ann", claims{"rooms": []string{"1"}, "teams": []string{"a", "b"}})
	c.ask(`{"type":"subscribe","channel":"team:a"}`, "joined")
	if f := c.ask(`{"type":"subscribe","channel":"team:b"}`, "error"); f["code"] != "too_many_channels" {
		t.Errorf("got %v", f)
	}
	f := c.ask(`{"type":"refresh","token":"`+w.token("ann", claims{"rooms": []string{"1", "2", "3"}})+`"}`, "error")
	if f["code"] != "too_many_channels" || f["retry_after"] == nil {
		t.Errorf("got %v", f)
	}
}

func TestBadFrames(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.FramesPerSecond = 1000 })
	c := w.login("ann", nil)
	for frame, code := range map[string]string{
		``: "bad_frame", `[]`: "bad_frame", `null`: "bad_frame", `{`: "bad_frame", `{}`: "bad_frame", `{"id":1}`: "bad_frame",
		`{"type":7}`: "bad_frame", `{"type":"ping","id":{}}`: "bad_frame", `{"type":"ping","id":true}`: "bad_frame",
		`{"type":"ping","id":"` + strings.Repeat("x", 65) + `"}`: "bad_frame", `{"TYPE":"ping"}`: "bad_frame",
		`{"type":"ping","id":` + strings.Repeat("1", 65) + `}`: "bad_frame", `{"type":"ping"}{"type":"ping"}`: "bad_frame",
		`{"type":"fly"}`: "unknown_type", `{"type":"message"}`: "unknown_type", `{"type":"subscribe"}`: "forbidden",
		`{"type":"subscribe","channel":["a"]}`: "bad_frame", `{"type":"refresh","token":1}`: "bad_frame",
		`{"type":"publish","data":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`: "bad_frame",
	} {
		if f := c.ask(frame, "error"); f["code"] != code {
			t.Errorf("%.60q: %v, want %s", frame, f, code)
		}
	}
	for _, id := range []string{`"` + strings.Repeat("x", 64) + `"`, strings.Repeat("1", 64), `"<&>"`, `"\u00e9\ud83d\ude00"`, `""`, "-0"} {
		for len(c.texts) > 0 {
			<-c.texts
		}
		c.ask(`{"type":"ping","id":`+id+`}`, "pong")
		if got := <-c.texts; got != `{"type":"pong","id":`+id+`}` {
			t.Errorf("%s is repeated in %s", id, got)
		}
	}
	if f := c.ask(`{"type":"subscribe","id":7,"channel":5}`, "error"); f["code"] != "bad_frame" || f["id"] != 7.0 {
		t.Errorf("got %v", f)
	}
	if f := c.ask(` {"type":"ping","id":-1.5e3,"further":{"field":[]}} `, "pong"); f["id"] != -1500.0 {
		t.Errorf("got %v", f)
	}
}

func TestFramesThatCostTheSession(t *testing.T) {
	w := newWorld(t)
	send := func(kind int, b []byte) *client {
		c := w.login("ann", nil)
		// The hub may close before it has read all; the close code tells.
		if err := c.WriteMessage(kind, b); err != nil && !errors.Is(err, websocket.ErrCloseSent) {
			t.Fatal(err)
		}
		return c
	}
	send(websocket.BinaryMessage, []byte("{}")).expectClose(CloseUnsupportedData)
	send(websocket.TextMessage, []byte("{\"type\":\"\xff\"}")).expectClose(CloseInvalidUTF8)
	large := send(websocket.TextMessage, []byte(strings.Repeat(" ", 1<<20)))
	if f := large.expect("error"); f["code"] != "too_large" {
		t.Errorf("got %v", f)
	}
	large.expectClose(CloseTooBig)
	for name, frame := range map[string]string{
		"unmasked":           "\x81\x02{}",
		"reserved bit 1":     "\xc1\x80\x00\x00\x00\x00",
		"reserved bit 2":     "\xa1\x80\x00\x00\x00\x00",
		"reserved bit 3":     "\x91\x80\x00\x00\x00\x00",
		"reserved opcode":    "\x83\x80\x00\x00\x00\x00",
		"fragmented ping":    "\x09\x80\x00\x00\x00\x00",
		"long ping":          "\x89\xfe\x00\x7e\x00\x00\x00\x00",
		"stray continuation": "\x80\x80\x00\x00\x00\x00",
		"text in fragments":  "\x01\x80\x00\x00\x00\x00\x81\x80\x00\x00\x00\x00",
		"fragmented close":   "\x08\x80\x00\x00\x00\x00",
		"close code 999":     "\x88\x82\x00\x00\x00\x00\x03\xe7",
		"close code 1005":    "\x88\x82\x00\x00\x00\x00\x03\xed",
		"close not UTF-8":    "\x88\x83\x00\x00\x00\x00\x03\xe8\xff",
	} {
		t.Log(name)
		w.login("ann", nil).raw(frame).expectClose(websocket.CloseProtocolError)
	}
	w.login("ann", nil).raw("\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00").expectClose(websocket.CloseMessageTooBig)
	w.login("ann", nil).raw("\x01\x81\x00\x00\x00\x00\xff\x80\x80\x00\x00\x00\x00").expectClose(CloseInvalidUTF8)
	w.login("ann", nil).raw("\x02\x81\x00\x00\x00\x00x\x80\x80\x00\x00\x00\x00").expectClose(CloseUnsupportedData)
	w.eventually("no session is left", func() bool { return w.hub.Sessions() == 0 })
	for code, n := range map[string]float64{"1002": 13, "1003": 2, "1007": 2, "1009": 2} {
		if got := w.metric("aldaba_cuts_total", code); got != n {
			t.Errorf("%v cuts with %s are counted, there were %v", got, code, n)
		}
	}
}

func TestCompressionIsNotSpoken(t *testing.T) {
	w := newWorld(t)
	conn, resp, err := w.dial(w.token("ann", nil), func(d *websocket.Dialer, _ http.Header) { d.EnableCompression = true })
	if err != nil {
		t.Fatal(err)
	}
	if ext := resp.Header.Get("Sec-WebSocket-Extensions"); ext != "" {
		t.Errorf("extensions %q", ext)
	}
	w.read(conn).expect("welcome")
}

func TestSecretsAreNotLogged(t *testing.T) {
	w := newWorld(t)
	good, bad := w.token("ann", nil), w.token("ann", in(-time.Hour))
	c := w.login("ann", nil)
	w.refused(401, "unauthorized", bad)
	c.ask(`{"type":"refresh","token":"`+bad+`"}`, "error")
	c.ask(`{"type":"refresh","token":"`+good+`"}`, "refreshed")
	for _, secret := range append(strings.Split(good, "."), strings.Split(bad, ".")...) {
		if strings.Contains(w.logs.String(), secret) {
			t.Errorf("part of a token is in the log: %s", w.logs)
		}
	}
}

func TestOverTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.Queue = 64 << 10 })
	secure := httptest.NewTLSServer(w.hub)
	defer secure.Close()
	w.server.Close()
	w.server = secure
	insecure := func(d *websocket.Dialer, _ http.Header) {
		d.TLSClientConfig = &tls.Config{RootCAs: secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	}
	dial := func(user string) *websocket.Conn {
		conn, _, err := w.dial(w.token(user, claims{"rooms": []string{"1"}}), insecure)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	c := w.read(dial("ann"))
	c.expect("welcome")
	for i := range 500 {
		w.hub.Deliver("room:1", Position{}, fmt.Append(nil, i))
		if f := c.expect("message"); f["data"] != float64(i) {
			t.Fatalf("got %v, want %d", f, i)
		}
	}
	slow := dial("slow")
	w.eventually("the slow one is cut", func() bool {
		w.hub.Deliver("room:1", Position{}, []byte(`"`+strings.Repeat("x", 2000)+`"`))
		c.expect("message")
		return w.hub.index.lookup("user:slow") == nil
	})
	slow.Close()
	c.Close()
	w.eventually("all are gone", func() bool { return w.hub.Sessions() == 0 })
}

func TestDrainSpreadsTheClosing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	clients := make([]*client, 40)
	for i := range clients {
		clients[i] = w.login("u"+fmt.Sprint(i), nil)
	}
	begin := time.Now()
	done := make(chan error, 1)
	go func() { done <- w.hub.Drain(t.Context(), 2*time.Second) }()
	w.eventually("upgrades are refused", func() bool {
		w.hub.roster.mu.Lock()
		defer w.hub.roster.mu.Unlock()
		return w.hub.roster.refusing
	})
	w.refused(503, "draining", w.token("late", nil))
	early := 0
	for _, c := range clients {
		c.expectClose(CloseRestarting)
		if time.Since(begin) < time.Second {
			early++
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took < time.Second || early == len(clients) {
		t.Errorf("all closed within %v", took)
	}
	if w.hub.Sessions() != 0 {
		t.Error("sessions are left")
	}
}

func TestDrainEndsEvenIfPeersDoNotAnswer(t *testing.T) {
	w := newWorld(t)
	conn, _, err := w.dial(w.token("ann", nil)) // never reads, so never answers a close
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := w.hub.Drain(ctx, 0); err == nil {
		t.Error("the peer has answered?")
	}
	if w.hub.Sessions() != 0 {
		t.Error("sessions are left")
	}
}

func TestPeerThatNeverAnswersACloseIsHungUpOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	conn, _, err := w.dial(w.token("ann", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w.eventually("it is there", func() bool { return w.hub.Sessions() == 1 })
	w.session("ann").cut(CloseInternalError)
	w.eventually("it is hung up on", func() bool { return w.hub.Sessions() == 0 })
}
