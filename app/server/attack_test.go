package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

// TestMain proves that everything ends. go-redis tries to dial once more in the
// second after its pool was closed.
func TestMain(m *testing.M) {
	code := m.Run()
	for deadline := time.Now().Add(patience); code == 0; {
		err := goleak.Find() // retries by itself
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// greetingHub upgrades everyone, says who they are, and hangs up.
type greetingHub struct{}

func (greetingHub) ServeEvents(w http.ResponseWriter, _ *http.Request, _ string) {
	w.WriteHeader(http.StatusNoContent)
}

func (greetingHub) Serve(w http.ResponseWriter, r *http.Request, address string) {
	u := websocket.Upgrader{}
	conn, err := u.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.WriteMessage(websocket.TextMessage, []byte(address))
}

// site is a server that answers on real listeners, and what it logs.
type site struct {
	*Server

	t             *testing.T
	public, admin string // addresses
	client        *http.Client

	mu   sync.Mutex
	logs bytes.Buffer
}

func (s *site) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logs.Write(b)
}

func (s *site) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logs.String()
}

func start(t *testing.T, edit func(*Options)) *site {
	t.Helper()
	s := &site{t: t, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}}
	o := Options{
		Hub:     greetingHub{},
		Ready:   func() error { return nil },
		Metrics: prometheus.NewRegistry(),
		Logger:  slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if edit != nil {
		edit(&o)
	}
	var err error
	if s.Server, err = New(o); err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	for address, serve := range map[*string]func(net.Listener) error{&s.public: s.Serve, &s.admin: s.ServeAdmin} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*address = l.Addr().String()
		serving.Go(func() {
			if err := serve(l); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		serving.Wait()
	})
	return s
}

// do sends a request with further headers ("Name: value") and returns the answer
// with its body read.
func (s *site) do(method, url, body string, headers ...string) (*http.Response, string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
		if name == "Host" {
			r.Host = value
		}
	}
	answer, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer, string(text)
}

// raw writes bytes and returns what comes back until the server ends the
// connection, and how long that took. It fails the test of a server that does not.
func (s *site) raw(text string) (answer string, took time.Duration) {
	s.t.Helper()
	begin := time.Now() // before the server's own clock can
	conn, err := net.Dial("tcp", s.public)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := conn.SetDeadline(begin.Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	var writing sync.WaitGroup
	writing.Go(func() { _, _ = io.WriteString(conn, text) }) // a server may have heard enough
	defer writing.Wait()
	defer conn.Close()
	heard, err := io.ReadAll(conn) // a reset ends it as well
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Fatalf("not cut within %v; it answered %.100q", patience, heard)
	}
	return string(heard), time.Since(begin)
}

// hurry lets the public's server, as edit changes it, answer on a listener of its
// own, where do and raw ask from then on.
func (s *site) hurry(edit func(*http.Server)) {
	s.t.Helper()
	h := s.newHTTPServer(s.Server.public.Handler)
	edit(h)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = h.Serve(l) })
	s.t.Cleanup(func() { h.Close(); serving.Wait() })
	s.public = l.Addr().String()
}

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}

func TestLongestTokenFitsTheHeader(t *testing.T) {
	s := start(t, nil)
	token := strings.Repeat("x", 16<<10)
	if answer, _ := s.do(http.MethodGet, s.public+"/healthz", "", "Authorization: Bearer "+token, "Cookie: session="+strings.Repeat("y", 8<<10)); answer.StatusCode != http.StatusOK {
		t.Error(answer.Status)
	}
}

func TestMegabyteOfHeaderIsRefused(t *testing.T) {
	s := start(t, nil)
	answer, took := s.raw("GET /healthz HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + strings.Repeat(".", 1<<20))
	if !strings.HasPrefix(answer, "HTTP/1.1 431 ") { // a header that is merely late gets no answer
		t.Errorf("%.100q", answer)
	}
	if took > headerWait/2 {
		t.Errorf("it took %v", took)
	}
}

// soon is how many times shorter the waits of production are in the tests below:
// no wait at all stays none.
const soon = 100

func TestSlowHeadersAreCutOff(t *testing.T) {
	s := start(t, nil)
	s.hurry(func(h *http.Server) { h.ReadHeaderTimeout /= soon })
	answer, took := s.raw("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	if answer != "" && !strings.HasPrefix(answer, "HTTP/1.1 408 ") {
		t.Errorf("%q", answer)
	}
	if took < headerWait/soon || took > patience/2 {
		t.Errorf("it took %v", took)
	}
}

func TestSlowBodyIsCutOff(t *testing.T) {
	const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for _, c := range []struct{ name, head string }{
		{"a demo user's", "POST /demo/token HTTP/1.1\r\nContent-Type: application/json\r\n"},
		{"of a handshake", "GET /ws HTTP/1.1\r\n"},
		{"of a page that is not", "GET /nowhere HTTP/1.1\r\n"},
		{"of a refused handshake", "GET /ws HTTP/1.1\r\nOrigin: https://evil.example\r\n" + upgrade},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, func(o *Options) { o.Demo = demo() })
			s.hurry(func(h *http.Server) { h.ReadTimeout /= soon; h.WriteTimeout /= soon })
			answer, took := s.raw(c.head + "Host: localhost\r\nContent-Length: 100\r\n\r\n{")
			if !strings.HasPrefix(answer, "HTTP/1.1 4") || strings.Count(answer, "HTTP/1.1 ") != 1 {
				t.Errorf("%q", answer)
			}
			if took < bodyWait/soon || took > patience/2 {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestIdleConnectionIsCutOff(t *testing.T) {
	s := start(t, nil)
	s.hurry(func(h *http.Server) { h.IdleTimeout /= soon })
	answer, took := s.raw("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	if !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
		t.Errorf("%q", answer)
	}
	if took < idleWait/soon || took > patience/2 {
		t.Errorf("it took %v", took)
	}
}

func TestTimeoutsOfBothServers(t *testing.T) {
	s := start(t, nil)
	for _, h := range []*http.Server{s.Server.public, s.Server.admin} {
		if h.ReadHeaderTimeout != headerWait || h.ReadTimeout != bodyWait || h.WriteTimeout < bodyWait || h.IdleTimeout != idleWait {
			t.Errorf("head %v, read %v, write %v, idle %v", h.ReadHeaderTimeout, h.ReadTimeout, h.WriteTimeout, h.IdleTimeout)
		}
	}
}

// TestTokenIsNotLogged sends one wherever a client may write it by mistake.
func TestTokenIsNotLogged(t *testing.T) {
	const token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm5hIn0.c2lnbmF0dXJl"
	s := start(t, func(o *Options) { o.Demo = demo() })
	for _, c := range []struct {
		method, url string
		headers     []string
		status      int
		logged      string
	}{
		{http.MethodGet, s.public + "/ws/" + token, nil, http.StatusNotFound, `method=GET route="(no such route)" status=404`},
		{http.MethodGet, s.public + "/" + token + "/ws", nil, http.StatusNotFound, `method=GET route="(no such route)" status=404`},
		{http.MethodGet, s.admin + "/metrics/" + token, nil, http.StatusNotFound, `method=GET route="(no such route)" status=404`},
		{http.MethodPut, s.public + "/demo/" + token, nil, http.StatusMethodNotAllowed, `method=PUT route="(no such route)" status=405`},
		{http.MethodGet, s.public + "/demo/" + token, nil, http.StatusNotFound, `method=GET route=/demo/*file status=404`},
		{http.MethodGet, s.public + "/ws?access_token=" + token, nil, http.StatusBadRequest, `method=GET route=/ws status=400`},
		{http.MethodGet, s.public + "/ws", []string{"Authorization: Bearer " + token}, http.StatusBadRequest, `method=GET route=/ws status=400`},
		{http.MethodGet, s.public + "/ws", []string{"Sec-WebSocket-Protocol: aldaba.v1, " + token}, http.StatusBadRequest, `method=GET route=/ws status=400`},
		{http.MethodGet, s.public + "/ws", []string{"Cookie: session=" + token}, http.StatusBadRequest, `method=GET route=/ws status=400`},
		{token, s.public + "/ws", nil, http.StatusMethodNotAllowed, `method="(no such method)" route="(no such route)" status=405`},
	} {
		before := len(s.logged())
		answer, body := s.do(c.method, c.url, "", c.headers...)
		if answer.StatusCode != c.status || strings.Contains(body, token) {
			t.Errorf("%s %s %v: %d %s", c.method, c.url, c.headers, answer.StatusCode, body)
		}
		eventually(t, c.logged, func() bool { return strings.Contains(s.logged()[before:], c.logged) })
	}
	for part := range strings.SplitSeq(token, ".") {
		if logs := s.logged(); strings.Contains(logs, part) {
			t.Errorf("%s is in the log:\n%s", part, logs)
		}
	}
}

func TestLineFeedInPathIsNotEchoed(t *testing.T) {
	s := start(t, nil)
	for _, path := range []string{"/%0d%0aX-Evil:%201", "/ws%0d%0alevel=ERROR%20msg=forged", "//evil.example/%2e%2e", "/<script>"} {
		answer, body := s.do(http.MethodGet, s.public+path, "")
		if answer.StatusCode != http.StatusNotFound || answer.Header.Get("X-Evil") != "" || answer.Header.Get("Location") != "" {
			t.Errorf("%s: %d %v", path, answer.StatusCode, answer.Header)
		}
		if strings.Contains(body, "evil") || strings.Contains(body, "script") || strings.Contains(body, "forged") {
			t.Errorf("%s is repeated: %s", path, body)
		}
	}
	for line := range strings.Lines(s.logged()) {
		if !strings.HasPrefix(line, "time=") || strings.Contains(line, "\nlevel=ERROR") {
			t.Errorf("a forged line in the log: %q", line)
		}
	}
}

func TestPageHeadersStayOutOfTheUpgrade(t *testing.T) {
	s := start(t, func(o *Options) { o.Demo = demo() })
	conn, answer, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+s.public+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, name := range []string{"Content-Security-Policy", "Referrer-Policy", "X-Content-Type-Options", "Access-Control-Allow-Origin", "Cache-Control"} {
		if v := answer.Header.Get(name); v != "" {
			t.Errorf("the 101 has %s: %s", name, v)
		}
	}
}

func TestPanicCostsOneRequest(t *testing.T) {
	s := start(t, func(o *Options) { o.Hub = brokenHub{} })
	if answer, body := s.do(http.MethodGet, s.public+"/ws", "", "Authorization: Bearer s3cret"); answer.StatusCode != http.StatusInternalServerError || strings.Contains(body, "broken") {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
	if answer, _ := s.do(http.MethodGet, s.public+"/healthz", ""); answer.StatusCode != http.StatusOK {
		t.Error(answer.Status)
	}
	if logs := s.logged(); !strings.Contains(logs, "handler panicked") || strings.Contains(logs, "s3cret") {
		t.Error(logs)
	}
}

func TestReadyTellsWhyNot(t *testing.T) {
	wrong := fmt.Errorf("redis at 127.0.0.1:6379 does not answer: connection refused")
	s := start(t, func(o *Options) { o.Ready = func() error { return wrong } })
	s.Drain()
	for _, address := range []string{s.public, s.admin} {
		answer, body := s.do(http.MethodGet, address+"/readyz", "")
		var got readiness
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != http.StatusServiceUnavailable || got.Status != "not ready" || len(got.Reasons) != 2 || got.Reasons[1] != wrong.Error() {
			t.Errorf("%d %+v", answer.StatusCode, got)
		}
	}
	if answer, _ := s.do(http.MethodGet, s.public+"/healthz", ""); answer.StatusCode != http.StatusOK {
		t.Error(answer.Status)
	}
}

func TestHeadHasTheHeadersOfGet(t *testing.T) {
	s := start(t, func(o *Options) { o.Demo = demo() })
	for _, path := range []string{"/healthz", "/readyz", "/aldaba.js", "/", "/demo/users"} {
		head, body := s.do(http.MethodHead, s.public+path, "")
		get, _ := s.do(http.MethodGet, s.public+path, "")
		if head.StatusCode != http.StatusOK || body != "" || head.Header.Get("Content-Type") != get.Header.Get("Content-Type") {
			t.Errorf("%s: %d %q %v", path, head.StatusCode, body, head.Header)
		}
	}
	if answer, _ := s.do(http.MethodHead, s.public+"/ws", ""); answer.StatusCode != http.StatusMethodNotAllowed || answer.Header.Get("Allow") != "GET" {
		t.Errorf("HEAD /ws: %d %v", answer.StatusCode, answer.Header)
	}
}

func TestPipelinedRequestsAreBothAnswered(t *testing.T) {
	s := start(t, nil)
	answers, _ := s.raw("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	r := bufio.NewReader(strings.NewReader(answers))
	for _, want := range []int{http.StatusOK, http.StatusNotFound} {
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%d, want %d", answer.StatusCode, want)
		}
	}
}
