package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"aldaba/auth"
	"aldaba/hub/broker"

	"github.com/gorilla/websocket"
)

const testSecret = "the-tests-sign-with-these-32-bytes!"

// replica is a program that runs, and what it logs.
type replica struct {
	*program

	t    *testing.T
	logs *bytes.Buffer // to be read after stop
	stop func()        // asks to finish, waits for it, and may be called twice
	ask  func()        // only asks
	done chan struct{}
}

func startReplica(t *testing.T, edit func(*Config)) *replica {
	t.Helper()
	c := defaultConfig()
	c.Listen, c.AdminListen = "127.0.0.1:0", "127.0.0.1:0"
	issuer := newIssuer()
	issuer.Secret = testSecret
	c.Auth.Issuers = []auth.Issuer{issuer}
	c.Channels = []auth.Pattern{{Name: "user:{sub}"}}
	c.Drain = DrainConfig{}
	c.Log.Level = "debug"
	if edit != nil {
		edit(&c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	checked, all := check(&settings{Config: c, origins: newOrigins("test")})
	if len(all) > 0 {
		checked.close()
		t.Fatal(all)
	}
	logs := new(bytes.Buffer)
	p := plan{config: &checked.Config, judge: checked.judge, log: newLogger(logs, c.Log)}
	err := p.listen(ctx)
	if err == nil {
		p.embedded, err = broker.StartEmbedded("127.0.0.1:0")
	}
	if err != nil {
		p.abandon()
		t.Fatal(err)
	}
	one, err := newProgram(p)
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{program: one, t: t, logs: logs, ask: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		if err := one.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	r.stop = func() { cancel(); <-r.done }
	t.Cleanup(r.stop)
	r.eventually("ready", func() bool { return r.get(r.admin, "/readyz").status == http.StatusOK })
	return r
}

// eventually waits until ok holds.
func (r *replica) eventually(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			r.t.Fatalf("not %s in %v", what, patience)
		case <-tick.C:
		}
	}
}

type answer struct {
	status int
	kind   string
	body   string
}

func (r *replica) get(l net.Listener, path string) answer {
	r.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, pageURL(l)+path, http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	got, err := client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{got.StatusCode, got.Header.Get("Content-Type"), string(body)}
}

func (r *replica) token(user string) string {
	r.t.Helper()
	token, _, err := signToken(r.config.Auth.Issuers[0], map[string]any{"sub": user}, time.Hour)
	if err != nil {
		r.t.Fatal(err)
	}
	return token
}

// dial connects and returns the status; conn is nil unless that is 101. The
// session has been welcomed then.
func (r *replica) dial(path string, header http.Header) (*websocket.Conn, int) {
	r.t.Helper()
	d := websocket.Dialer{HandshakeTimeout: patience, Subprotocols: []string{"aldaba.v1"}}
	conn, got, err := d.DialContext(r.t.Context(), "ws://"+r.public.Addr().String()+path, header)
	if got == nil {
		r.t.Fatal(err)
	}
	defer got.Body.Close()
	if err != nil {
		return nil, got.StatusCode
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	if welcome := r.frame(conn); welcome["type"] != "welcome" {
		r.t.Fatalf("first frame is %v", welcome)
	}
	return conn, got.StatusCode
}

func (r *replica) frame(conn *websocket.Conn) map[string]any {
	r.t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	var frame map[string]any
	if err := conn.ReadJSON(&frame); err != nil {
		r.t.Fatal(err)
	}
	return frame
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func TestPublicAndAdminAddress(t *testing.T) {
	r := startReplica(t, nil)
	for _, l := range []net.Listener{r.public, r.admin} {
		for _, path := range []string{"/healthz", "/readyz"} {
			if got := r.get(l, path); got.status != http.StatusOK {
				t.Errorf("%s: %+v", path, got)
			}
		}
	}
	if got := r.get(r.admin, "/metrics"); got.status != http.StatusOK || !strings.Contains(got.body, "aldaba_build_info{") {
		t.Errorf("admin /metrics: %+v", got)
	}
	for _, path := range []string{"/metrics", "/", "/demo/users", "/nowhere"} {
		got := r.get(r.public, path)
		var body struct{ Type, Code, Message string }
		if err := json.Unmarshal([]byte(got.body), &body); err != nil {
			t.Errorf("%s: %v in %q", path, err, got.body)
		}
		if got.status != http.StatusNotFound || body.Type != "error" || body.Code != "not_found" || !strings.HasPrefix(got.kind, "application/json") {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

func TestPublishedMessageArrives(t *testing.T) {
	r := startReplica(t, nil)
	conn, status := r.dial("/ws", bearer(r.token("anna")))
	if status != http.StatusSwitchingProtocols {
		t.Fatal(status)
	}
	var out, errs bytes.Buffer
	sh := &shell{in: strings.NewReader(""), out: &out, err: &errs}
	code := run(t.Context(), []string{"publish", "user:anna", `{"title":"hello"}`, "--redis", r.embedded.URL()}, sh)
	if code != exitDone || out.Len()+errs.Len() > 0 {
		t.Fatalf("publish: %d, %q, %q", code, out.String(), errs.String())
	}
	got := r.frame(conn)
	data, _ := got["data"].(map[string]any)
	if got["type"] != "message" || got["channel"] != "user:anna" || data["title"] != "hello" {
		t.Errorf("got %v", got)
	}
}

func from(token string, lines ...string) http.Header {
	h := bearer(token)
	h["X-Forwarded-For"] = lines
	return h
}

func TestForwardedForOfStrangersIsNotBelieved(t *testing.T) {
	r := startReplica(t, func(c *Config) { c.Limits.SessionsPerAddress = 1 })
	if _, status := r.dial("/ws", from(r.token("anna"), "192.0.2.1")); status != http.StatusSwitchingProtocols {
		t.Fatal(status)
	}
	if _, status := r.dial("/ws", from(r.token("ben"), "192.0.2.2")); status != http.StatusTooManyRequests {
		t.Errorf("a spoofed address makes a new client: %d", status)
	}
}

func TestForwardedForOfProxiesIsBelieved(t *testing.T) {
	r := startReplica(t, func(c *Config) {
		c.Limits.SessionsPerAddress = 1
		c.TrustedProxies = []string{"127.0.0.1"}
	})
	for _, c := range []struct {
		name  string
		lines []string
		want  int
	}{
		{"one client", []string{"192.0.2.1"}, http.StatusSwitchingProtocols},
		{"another", []string{"192.0.2.2"}, http.StatusSwitchingProtocols},
		{"the first again", []string{"192.0.2.1"}, http.StatusTooManyRequests},
		{"spoofed before the proxy's own", []string{"192.0.2.9, 192.0.2.1"}, http.StatusTooManyRequests},
		{"spoofed in a line of its own", []string{"192.0.2.9", "192.0.2.1"}, http.StatusTooManyRequests},
	} {
		if _, status := r.dial("/ws", from(r.token("anna"), c.lines...)); status != c.want {
			t.Errorf("%s: %d, want %d", c.name, status, c.want)
		}
	}
}

func TestTokensAreNotLogged(t *testing.T) {
	r := startReplica(t, nil)
	token := r.token("anna")
	conn, _ := r.dial("/ws", bearer(token))
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	for name, status := range map[string]func() int{
		"in a header, forged": func() int { _, status := r.dial("/ws", bearer(token+"x")); return status },
		"in the query":        func() int { _, status := r.dial("/ws?token="+token, nil); return status },
		"in a cookie":         func() int { _, status := r.dial("/ws", http.Header{"Cookie": {"session=" + token}}); return status },
	} {
		if got := status(); got != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, got)
		}
	}
	for _, path := range []string{"/ws/" + token, "/nowhere?access_token=" + token} {
		if got := r.get(r.public, path).status; got != http.StatusNotFound {
			t.Errorf("%s: %d", path, got)
		}
	}
	r.stop()
	logs := r.logs.String()
	if !strings.Contains(logs, `route="(no such route)"`) || !strings.Contains(logs, "route=/ws ") {
		t.Errorf("requests are not logged at all:\n%s", logs)
	}
	for part := range strings.SplitSeq(token, ".") {
		if strings.Contains(logs, part) {
			t.Errorf("the log has a part of the token:\n%s", logs)
		}
	}
	if strings.Contains(logs, testSecret) {
		t.Error("the log has the secret")
	}
}

func TestDrain(t *testing.T) {
	r := startReplica(t, func(c *Config) { c.Drain.Delay = time.Second })
	conn, _ := r.dial("/ws", bearer(r.token("anna")))
	r.ask()
	r.eventually("unready", func() bool { return r.get(r.public, "/readyz").status == http.StatusServiceUnavailable })
	if got := r.get(r.public, "/healthz"); got.status != http.StatusOK {
		t.Errorf("a draining replica lives: %+v", got)
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	_, _, err := conn.ReadMessage()
	var closed *websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != 4001 {
		t.Errorf("the session ended with %v, want 4001", err)
	}
	select {
	case <-r.done:
	case <-time.After(patience):
		t.Error("the program does not end")
	}
}

// A request that goes on is cut in the end, which is not the program's failure.
func TestShutDoesNotWaitForever(t *testing.T) {
	r := startReplica(t, nil)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, pageURL(r.public)+"/sse", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = bearer(r.token("anna"))
	got, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	over, end := context.WithCancel(t.Context())
	end()
	if err := r.shut(over); err != nil {
		t.Error(err)
	}
	r.eventually("cut", func() bool { return r.hub.Sessions() == 0 })
}
