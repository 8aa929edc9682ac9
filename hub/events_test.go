package hub

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// event is one Server-Sent Event.
type event struct {
	id    string
	frame map[string]any
}

// stream is a client of events.
type stream struct {
	t        testing.TB
	answer   *http.Response
	events   chan event
	comments chan struct{}
	done     chan error
}

// eventServer serves the hub's events at the root.
func (w *world) eventServer() *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.hub.ServeEvents(rw, r, r.RemoteAddr) }))
	w.t.Cleanup(s.Close)
	return s
}

// get asks for events.
func (w *world) get(url string, header http.Header) *http.Response {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	w.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header = header
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = answer.Body.Close() })
	return answer
}

// listen reads events, as the HTML standard has it.
func (w *world) listen(url string, header http.Header) *stream {
	w.t.Helper()
	return w.follow(w.get(url, header))
}

// follow reads the events of an answer.
func (w *world) follow(answer *http.Response) *stream {
	w.t.Helper()
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream" {
		body, _ := io.ReadAll(answer.Body)
		w.t.Fatalf("%s: %s", answer.Status, body)
	}
	s := &stream{t: w.t, answer: answer, events: make(chan event, 10_000), comments: make(chan struct{}, 100), done: make(chan error, 1)}
	go s.read()
	return s
}

func (s *stream) read() {
	var e event
	var data []string
	lines := bufio.NewScanner(s.answer.Body)
	lines.Buffer(nil, 10<<20)
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case lines.Text() == ":":
			s.comments <- struct{}{}
		case lines.Text() == "" && data != nil:
			if err := json.Unmarshal([]byte(strings.Join(data, "\n")), &e.frame); err != nil {
				s.t.Error(err)
			}
			s.events <- e
			e, data = event{}, nil
		case field == "id":
			e.id = value
		case field == "data":
			data = append(data, value)
		}
	}
	s.done <- lines.Err()
	close(s.events)
}

func (s *stream) next() event {
	s.t.Helper()
	select {
	case e, ok := <-s.events:
		if !ok {
			s.t.Fatal("the stream has ended")
		}
		return e
	case <-time.After(patience):
		s.t.Fatal("no event came")
		return event{}
	}
}

func (s *stream) expect(kind string) event {
	s.t.Helper()
	e := s.next()
	if e.frame["type"] != kind {
		s.t.Fatalf("got %v, want %s", e.frame, kind)
	}
	return e
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func TestEventsResume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.eventServer().URL
	w.broker.write("inbox:a", numbers(1, 3)...)
	w.broker.write("feed:x", numbers(1, 2)...)
	c := claims{"inboxes": []string{"a"}, "feeds": []string{"x"}}
	s := w.listen(url+"?channel=feed:x&channel=feed:x", bearer(w.token("ann", c)))
	welcome := s.expect("welcome")
	if welcome.id != "inbox:a=e0:3-1003,feed:x=e0:2-1002" {
		t.Errorf("id is %q", welcome.id)
	}
	if _, err := w.broker.Publish(t.Context(), "inbox:a", []byte("{\"a\":\r\n 4}"), PublishOptions{}); err != nil {
		t.Fatal(err)
	}
	w.hub.Deliver("user:ann", Position{}, []byte("1"))
	m := s.expect("message")
	if m.id != "inbox:a=e0:4-1004,feed:x=e0:2-1002" || fmt.Sprint(m.frame["data"]) != "map[a:4]" {
		t.Errorf("got %v", m)
	}
	if m := s.expect("message"); m.id != "" {
		t.Errorf("a message without position has the id %q", m.id)
	}
	_ = s.answer.Body.Close()

	w.broker.write("inbox:a", numbers(5, 6)...)
	w.broker.write("feed:x", numbers(3, 3)...)
	h := bearer(w.token("ann", c))
	h.Set("Last-Event-ID", m.id)
	again := w.listen(url+"?channel=feed:x", h)
	if welcome := again.expect("welcome"); !strings.Contains(fmt.Sprint(welcome.frame), "recovered:true") || welcome.id != m.id {
		t.Errorf("got %v", welcome)
	}
	last := map[string]string{}
	for range 3 {
		e := again.expect("message")
		last[e.frame["channel"].(string)] = e.id
	}
	if got := last["inbox:a"]; !strings.Contains(got, "inbox:a=e0:6-1006") {
		t.Errorf("ids end at %v", last)
	}
}

// TestEventsOfManyChannelsCanComeBack has more channels with history than a header has
// room for.
func TestEventsOfManyChannelsCanComeBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.eventServer().URL
	var names []string
	for n := range 50 {
		names = append(names, fmt.Sprintf("%0200d", n))
		w.broker.write("inbox:"+names[n], "1")
	}
	c := claims{"inboxes": names}
	s := w.listen(url, bearer(w.token("ann", c)))
	s.expect("welcome")
	busy := "inbox:" + names[49]
	if _, err := w.broker.Publish(t.Context(), busy, []byte("2"), PublishOptions{}); err != nil {
		t.Fatal(err)
	}
	id := s.expect("message").id
	_ = s.answer.Body.Close()
	if len(id) > idBound || len(id) < idBound/2 {
		t.Errorf("an id of %d bytes", len(id))
	}
	w.broker.write(busy, "3")
	h := bearer(w.token("ann", c))
	h.Set("Last-Event-ID", id)
	again := w.listen(url, h)
	recovered := 0
	for _, one := range again.expect("welcome").frame["channels"].([]any) {
		if state, _ := one.(map[string]any); state["recovered"] == true {
			recovered++
		}
	}
	if n := strings.Count(id, "="); recovered != n {
		t.Errorf("%d are recovered of the %d in the id", recovered, n)
	}
	if e := again.expect("message"); e.frame["channel"] != busy || e.frame["data"] != 3.0 {
		t.Errorf("got %v", e)
	}
}

func TestEventsEndWithTheirCode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.eventServer().URL
	s := w.listen(url, bearer(w.token("ann", claims{"exp": time.Now().Add(2 * time.Second).Unix()})))
	s.expect("welcome")
	s.expect("expiring")
	if e := s.expect("close"); e.frame["code"] != 4401.0 {
		t.Errorf("got %v", e)
	}
	if err := <-s.done; err != nil {
		t.Errorf("the stream ends with %v", err)
	}
	drained := w.listen(url, bearer(w.token("ben", nil)))
	drained.expect("welcome")
	if err := w.hub.Drain(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if e := drained.expect("close"); e.frame["code"] != 4001.0 {
		t.Errorf("got %v", e)
	}
}

func TestEventsRefuse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		o.Cookie, o.AllowedOrigins = "session", []string{"https://app.example"}
	})
	url := w.eventServer().URL
	token := w.token("ann", nil)
	cookie := func(more ...string) http.Header {
		h := http.Header{"Cookie": {"session=" + token}}
		for i := 0; i < len(more); i += 2 {
			h.Set(more[i], more[i+1])
		}
		return h
	}
	for name, c := range map[string]struct {
		url    string
		header http.Header
		status int
	}{
		"no token":                           {url, http.Header{}, 401},
		"a forged one":                       {url, bearer(token + "x"), 401},
		"in the URL":                         {url + "?token=" + token, http.Header{}, 401},
		"cookie, said by nobody":             {url, cookie(), 403},
		"cookie, another site":               {url, cookie("Sec-Fetch-Site", "cross-site"), 403},
		"cookie, foreign origin":             {url, cookie("Origin", "https://evil.example"), 403},
		"cookie, foreign origin in disguise": {url, cookie("Origin", "https://evil.example", "Sec-Fetch-Site", "same-origin"), 403},
		"cookie, the page's own":             {url, cookie("Sec-Fetch-Site", "same-origin"), 200},
		"cookie, allowed origin":             {url, cookie("Origin", "https://app.example"), 200},
	} {
		answer := w.get(c.url, c.header)
		if answer.StatusCode != c.status {
			t.Errorf("%s: %s", name, answer.Status)
		}
		if want := map[bool]string{true: c.header.Get("Origin")}[c.status == 200]; answer.Header.Get("Access-Control-Allow-Origin") != want {
			t.Errorf("%s: allows %q", name, answer.Header.Get("Access-Control-Allow-Origin"))
		}
		_ = answer.Body.Close()
	}
}

func TestEventsOfForeignChannels(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.listen(w.eventServer().URL+"?channel=user:ben&channel=*&channel=a%0Ab", bearer(w.token("ann", nil)))
	s.expect("welcome")
	for _, channel := range []any{"user:ben", nil, nil} {
		if e := s.expect("error"); e.frame["code"] != "forbidden" || e.frame["channel"] != channel {
			t.Errorf("got %v, want %v", e, channel)
		}
	}
	w.hub.Deliver("user:ben", Position{}, []byte("1"))
	w.hub.Deliver("user:ann", Position{}, []byte("2"))
	if e := s.expect("message"); e.frame["data"] != 2.0 {
		t.Errorf("got %v", e)
	}
}

func TestEventsToAReaderThatNeverReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.Queue = 128 << 10 })
	s := w.get(w.eventServer().URL, bearer(w.token("ann", claims{"rooms": []string{"1"}})))
	data := []byte(`"` + strings.Repeat("x", 60<<10) + `"`)
	w.eventually("it is cut", func() bool {
		w.hub.Deliver("room:1", Position{}, data)
		return w.metric("aldaba_cuts_total", "4002") == 1
	})
	w.eventually("it is gone", func() bool { return w.hub.Sessions() == 0 })
	_ = s.Body.Close()
}

func TestEventsBeatWhileNothingHappens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.listen(w.eventServer().URL, bearer(w.token("ann", nil)))
	s.expect("welcome")
	select {
	case <-s.comments:
	case <-time.After(2 * heartbeat):
		t.Error("no comment came")
	}
}

func TestEventsOfAPeerThatLeaves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.listen(w.eventServer().URL, bearer(w.token("ann", nil)))
	s.expect("welcome")
	_ = s.answer.Body.Close()
	w.eventually("the session is gone", func() bool { return w.hub.Sessions() == 0 })
}

func TestEventsAreHeldToTheLimitsOfSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.SessionsPerUser, o.Limits.ChannelsPerSession = 2, 3 })
	url := w.eventServer().URL
	s := w.listen(url+"?channel=team:1&channel=team:2", bearer(w.token("ann", claims{"teams": []string{"1", "2"}})))
	if n := len(s.expect("welcome").frame["channels"].([]any)); n != 3 {
		t.Errorf("%d channels", n)
	}
	if e := s.expect("error").frame; e["code"] != "too_many_channels" || e["channel"] != "team:2" {
		t.Errorf("got %v", e)
	}
	w.login("ann", nil)
	answer := w.get(url, bearer(w.token("ann", nil)))
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusTooManyRequests || !strings.Contains(string(body), "too_many_sessions") || answer.Header.Get("Retry-After") == "" {
		t.Errorf("%s %s", answer.Status, body)
	}
}
