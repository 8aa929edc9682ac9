package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"aldaba/internal/deaftest"
)

// http2Server serves the hub's events over TLS, to clients that speak HTTP/2, with the
// deadlines that a server has.
func (w *world) http2Server() *httptest.Server {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			w.t.Errorf("%s", r.Proto)
		}
		w.hub.ServeEvents(rw, r, r.RemoteAddr)
	}))
	s.EnableHTTP2 = true
	s.Config.ConnContext = deaftest.Narrow
	s.Config.ReadTimeout, s.Config.WriteTimeout = 500*time.Millisecond, 500*time.Millisecond
	s.StartTLS()
	w.t.Cleanup(s.Close)
	return s
}

// over asks for events with the server's own client.
func (w *world) over(s *httptest.Server, h http.Header) *http.Response {
	w.t.Helper()
	return w.overWith(s.Client().Transport, s, h)
}

// overWith asks for events with another client.
func (w *world) overWith(client http.RoundTripper, s *httptest.Server, h http.Header) *http.Response {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	w.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header = h
	answer, err := client.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = answer.Body.Close() })
	return answer
}

// TestEventsOutliveTheDeadlinesOfHTTP2 is quiet for longer than an answer may take.
func TestEventsOutliveTheDeadlinesOfHTTP2(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.follow(w.over(w.http2Server(), bearer(w.token("ann", nil))))
	s.expect("welcome")
	quiet := time.NewTimer(1500 * time.Millisecond)
	defer quiet.Stop()
	select {
	case <-quiet.C:
	case err := <-s.done:
		t.Fatalf("the stream has ended: %v", err)
	}
	w.hub.Deliver("user:ann", Position{}, []byte("1"))
	if e := s.expect("message"); e.frame["data"] != 1.0 {
		t.Errorf("got %v", e)
	}
}

// TestEventsToAReaderThatNeverReadsOverHTTP2 is cut, and the streams beside it on the same
// connection go on.
func TestEventsToAReaderThatNeverReadsOverHTTP2(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.Queue = 128 << 10 })
	server := w.http2Server()
	other := w.follow(w.over(server, bearer(w.token("ben", nil))))
	other.expect("welcome")
	slow := w.over(server, bearer(w.token("ann", claims{"rooms": []string{"1"}})))
	data := []byte(`"` + strings.Repeat("x", 60<<10) + `"`)
	w.eventually("it is cut", func() bool {
		w.hub.Deliver("room:1", Position{}, data)
		return w.metric("aldaba_cuts_total", "4002") == 1
	})
	w.eventually("it is gone", func() bool { return w.hub.Sessions() == 1 })
	_ = slow.Body.Close()
	w.hub.Deliver("user:ben", Position{}, []byte("2"))
	if e := other.expect("message"); e.frame["data"] != 2.0 {
		t.Errorf("got %v", e)
	}
}

// TestCloseEndsEvenIfAConnectionTakesNothing has a server that does not give up such a
// connection: no session on it can be cut before that is closed.
func TestCloseEndsEvenIfAConnectionTakesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.Queue = 4 << 20 })
	server := w.http2Server()
	client := deaftest.New(t, &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, MinVersion: tls.VersionTLS12})
	w.overWith(client, server, bearer(w.token("ann", claims{"rooms": []string{"1"}})))
	client.Deafen()
	data := []byte(`"` + strings.Repeat("x", 60<<10) + `"`)
	w.eventually("it is cut", func() bool {
		w.hub.Deliver("room:1", Position{}, data)
		return w.metric("aldaba_cuts_total", "4002") == 1
	})
	closed := make(chan error, 1)
	go func() { closed <- w.hub.Close() }()
	select {
	case err := <-closed:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("closed with %v", err)
		}
	case <-time.After(patience):
		t.Error("the hub does not close")
	}
	if n := w.hub.Sessions(); n != 1 {
		t.Errorf("%d sessions: the connection has taken what it was sent", n)
	}
	server.CloseClientConnections()
	w.eventually("it is gone", func() bool { return w.hub.Sessions() == 0 })
}
