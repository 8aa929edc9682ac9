package server

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// brokenHub panics whenever it is asked.
type brokenHub struct{}

func (brokenHub) Serve(http.ResponseWriter, *http.Request, string) { panic("broken") }

func TestRefusalsAreJSON(t *testing.T) {
	s, err := New(Options{
		Hub:     brokenHub{},
		Ready:   func() error { return nil },
		Metrics: prometheus.NewRegistry(),
		Logger:  slog.New(slog.DiscardHandler),
		Demo:    &Demo{},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, host, path string
		status             int
		code               string
	}{
		{http.MethodGet, "127.0.0.1", "/nowhere", http.StatusNotFound, "not_found"},
		{http.MethodGet, "127.0.0.1", "/metrics", http.StatusNotFound, "not_found"},
		{http.MethodGet, "127.0.0.1", "/debug/pprof/heap", http.StatusNotFound, "not_found"},
		{http.MethodPost, "127.0.0.1", "/healthz", http.StatusMethodNotAllowed, "method_not_allowed"},
		{http.MethodGet, "127.0.0.1", "/ws", http.StatusInternalServerError, "internal"},
		{http.MethodGet, "rebound.example", "/demo/users", http.StatusForbidden, "host_not_allowed"},
	} {
		w := httptest.NewRecorder()
		s.public.Handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), c.method, "http://"+c.host+c.path, http.NoBody))
		if w.Code != c.status || !strings.Contains(w.Body.String(), `"code":"`+c.code+`"`) ||
			!strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.Code, w.Body)
		}
	}
}

func (brokenHub) ServeEvents(http.ResponseWriter, *http.Request, string) { panic("broken") }
