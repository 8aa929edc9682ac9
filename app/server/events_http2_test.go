package server

import (
	"bufio"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"aldaba/auth"
	"aldaba/hub"
	"aldaba/internal/deaftest"
)

// silentBroker confirms every subscription, and is asked for nothing else.
type silentBroker struct{ hub.Broker }

func (silentBroker) Subscribe(string) bool { return true }
func (silentBroker) Unsubscribe(string)    {}

// eventSite is a hub behind a server that speaks TLS.
type eventSite struct {
	*tlsServer

	hub *hub.Hub
}

// startEvents starts a site whose connections are soon full, and given up when they take
// nothing for stall.
func startEvents(t *testing.T, stall time.Duration) *eventSite {
	t.Helper()
	policy, err := auth.NewPolicy([]auth.Pattern{{Name: "user:{sub}"}})
	if err != nil {
		t.Fatal(err)
	}
	h, err := hub.New(hub.Options{
		Verifier: testVerifier(t), Policy: policy, Broker: silentBroker{}, Logger: slog.New(slog.DiscardHandler),
		Limits: hub.Limits{Queue: 4 << 20},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &eventSite{hub: h}
	s.tlsServer = startTLS(t, "hub.example", func(one *Server) {
		if got := one.public.HTTP2.WriteByteTimeout; got != stallWait {
			t.Errorf("a connection may take nothing for %v", got)
		}
		one.public.HTTP2.WriteByteTimeout = stall
		one.public.ConnContext = deaftest.Narrow
		one.options.Hub = h
	})
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *eventSite) client() *deaftest.Client {
	return deaftest.New(s.t, &tls.Config{InsecureSkipVerify: true})
}

// listen begins a session of user's.
func (s *eventSite) listen(client http.RoundTripper, user string) io.ReadCloser {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "https://"+s.address+"/sse", http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", strings.TrimPrefix(tokenOf(s.t, user, time.Hour), "Authorization: "))
	answer, err := client.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = answer.Body.Close() })
	if answer.StatusCode != http.StatusOK || answer.ProtoMajor != 2 {
		s.t.Fatalf("%s %s", answer.Proto, answer.Status)
	}
	return answer.Body
}

// TestEventsOverHTTP2ThatAreNotTaken cost the session that they are for, and no other.
func TestEventsOverHTTP2ThatAreNotTaken(t *testing.T) {
	for name, c := range map[string]struct {
		stall time.Duration
		begin func(*eventSite) (quick io.Reader)
	}{
		"a connection takes nothing": {100 * time.Millisecond, func(s *eventSite) io.Reader {
			slow := s.client()
			s.listen(slow, "slow")
			s.listen(slow, "slow")
			slow.Deafen()
			return s.listen(s.client(), "quick")
		}},
		"a stream's window is not enlarged (RFC 9113, section 5.2)": {stallWait, func(s *eventSite) io.Reader {
			both := s.client()
			s.listen(both, "slow") // is not read
			return s.listen(both, "quick")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startEvents(t, c.stall)
			quick := c.begin(s)
			data := []byte(`"` + strings.Repeat("x", 60<<10) + `"`)
			s.eventually("gone", func() bool {
				s.hub.Deliver("user:slow", hub.Position{}, data)
				return s.hub.Sessions() == 1
			})
			s.hub.Deliver("user:quick", hub.Position{}, []byte(`"still here"`))
			lines := bufio.NewScanner(quick)
			for lines.Scan() {
				if strings.Contains(lines.Text(), "still here") {
					return
				}
			}
			t.Errorf("the other session ended: %v", lines.Err())
		})
	}
}
