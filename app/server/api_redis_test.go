package server

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"aldaba/hub"
	"aldaba/hub/broker"
	"aldaba/internal/redistest"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
)

// realSite is a site on a real hub and a real Redis.
type realSite struct {
	*site

	redis  *redistest.Server
	broker *broker.Broker
}

func startReal(t *testing.T) *realSite {
	t.Helper()
	return startReplica(t, redistest.Start(t))
}

// startReplica starts another site on the same Redis.
func startReplica(t *testing.T, redis *redistest.Server) *realSite {
	t.Helper()
	r := &realSite{redis: redis}
	log, policy := slog.New(slog.DiscardHandler), testPolicy(t)
	var err error
	if r.broker, err = broker.Open(broker.Options{URL: r.redis.URL(), Histories: policy.Histories(), Logger: log}); err != nil {
		t.Fatal(err)
	}
	h, err := hub.New(hub.Options{Verifier: testVerifier(t), Policy: policy, Broker: r.broker, Tickets: r.broker, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = r.broker.Run(ctx, h) })
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		cancel()
		running.Wait()
		if err := r.broker.Close(); err != nil {
			t.Error(err)
		}
	})
	r.site = start(t, func(o *Options) { o.Hub, o.API = h, testAPI(t, r.broker); o.API.Tickets = h })
	eventually(t, "ready", func() bool { return r.broker.Ready() == nil })
	return r
}

// connect returns a welcomed session, or the status of its refusal.
func (r *realSite) connect(authorization string) (conn *websocket.Conn, status int) {
	r.t.Helper()
	d := websocket.Dialer{HandshakeTimeout: patience, Subprotocols: []string{hub.Subprotocol}}
	conn, answer, err := d.DialContext(r.t.Context(), "ws://"+r.public+"/ws", http.Header{"Authorization": {strings.TrimPrefix(authorization, "Authorization: ")}})
	if answer == nil {
		r.t.Fatal(err)
	}
	if err != nil {
		return nil, answer.StatusCode
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	if f := r.frame(conn); f["type"] != "welcome" {
		r.t.Fatal(f)
	}
	return conn, answer.StatusCode
}

func (r *realSite) frame(conn *websocket.Conn) map[string]any {
	r.t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	var f map[string]any
	if err := conn.ReadJSON(&f); err != nil {
		r.t.Fatal(err)
	}
	return f
}

func TestPublishedByHTTPArrives(t *testing.T) {
	r := startReal(t)
	conn, _ := r.connect(tokenOf(t, "anna", time.Hour))
	answer, body := r.do(http.MethodPost, r.public+"/v1/publish", `{"channels":["user:anna","user:ben"],"data":{"n":1}}`, asJSON, asBilling)
	var got struct{ Results []result }
	if err := json.Unmarshal([]byte(body), &got); err != nil || answer.StatusCode != http.StatusOK || len(got.Results) != 2 {
		t.Fatalf("%d %s", answer.StatusCode, body)
	}
	f := r.frame(conn)
	if f["type"] != "message" || f["channel"] != "user:anna" || f["position"] != got.Results[0].Position || got.Results[0].Position == "" {
		t.Errorf("%v, but the answer was %s", f, body)
	}
	if diff := cmp.Diff(map[string]any{"n": 1.0}, f["data"]); diff != "" {
		t.Error(diff)
	}
}

func TestSameKeyTwiceInParallelIsDeliveredOnce(t *testing.T) {
	r := startReal(t)
	conn, _ := r.connect(tokenOf(t, "anna", time.Hour))
	const tries = 8
	var asking sync.WaitGroup
	results := make([]result, tries)
	for i := range tries {
		asking.Go(func() {
			_, body := r.do(http.MethodPost, r.public+"/v1/publish", `{"channel":"user:anna","data":"once","key":"k"}`, asJSON, asBilling)
			if err := json.Unmarshal([]byte(body), &results[i]); err != nil {
				t.Error(err, body)
			}
		})
	}
	asking.Wait()
	first := 0
	for _, got := range results {
		if !got.Duplicate {
			first++
		}
		if got.Position == "" || got.Position != results[0].Position {
			t.Errorf("%+v and %+v", got, results[0])
		}
	}
	if first != 1 {
		t.Errorf("%d were not duplicates", first)
	}
	r.do(http.MethodPost, r.public+"/v1/publish", `{"channel":"user:anna","data":"end"}`, asJSON, asBilling)
	for _, want := range []string{"once", "end"} {
		if f := r.frame(conn); f["data"] != want {
			t.Errorf("%v, want %s", f, want)
		}
	}
}

// TestBatchSentAgainIsDeliveredOnce has a client that did not hear the answer.
func TestBatchSentAgainIsDeliveredOnce(t *testing.T) {
	r := startReal(t)
	const batch = `{"messages":[{"channel":"user:anna","data":1},{"channel":"user:anna","data":2}]}`
	for _, duplicate := range []bool{false, true} {
		_, body := r.do(http.MethodPost, r.public+"/v1/publish", batch, asJSON, asBilling, "Idempotency-Key: b")
		var got struct{ Results []result }
		if err := json.Unmarshal([]byte(body), &got); err != nil || len(got.Results) != 2 {
			t.Fatal(body)
		}
		for _, one := range got.Results {
			if one.Duplicate != duplicate || one.Error != nil {
				t.Errorf("%s", body)
			}
		}
	}
	_, body := r.do(http.MethodGet, r.public+"/v1/channels/user:anna/history", "", asBilling)
	if strings.Count(body, `"data":`) != 2 {
		t.Errorf("%s", body)
	}
}

// TestUserCannotUseUpTheKeyOfAnother has users who guess what a backend will send.
func TestUserCannotUseUpTheKeyOfAnother(t *testing.T) {
	r := startReal(t)
	for _, c := range []struct {
		name, header string
		duplicate    bool
	}{
		{"anna", tokenOf(t, "anna", time.Hour), false},
		{"ben", tokenOf(t, "ben", time.Hour), false},
		{"the backend", "Authorization: Bearer " + chatKey, false},
		{"anna again, with another token", tokenOf(t, "anna", 2*time.Hour), true},
		{"the backend again", "Authorization: Bearer " + chatKey, true},
	} {
		_, body := r.do(http.MethodPost, r.public+"/v1/publish", `{"channel":"room:lobby","data":1,"key":"k"}`, asJSON, c.header)
		var got result
		if err := json.Unmarshal([]byte(body), &got); err != nil || got.Channel != "room:lobby" || got.Duplicate != c.duplicate {
			t.Errorf("%s: %s", c.name, body)
		}
	}
}

func TestPagesOfAHistory(t *testing.T) {
	r := startReal(t)
	r.do(http.MethodPost, r.public+"/v1/publish",
		`{"messages":[{"channel":"user:anna","data":1},{"channel":"user:anna","data":2},{"channel":"user:anna","data":{ "n":3 }}]}`, asJSON, asBilling)
	type page struct {
		Channel  string
		Messages []struct {
			Position string
			Data     json.RawMessage
		}
		More bool
	}
	read := func(query string, want string, more bool) page {
		t.Helper()
		answer, body := r.do(http.MethodGet, r.public+"/v1/channels/user:anna/history"+query, "", tokenOf(t, "anna", time.Hour))
		var got page
		if err := json.Unmarshal([]byte(body), &got); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", answer.StatusCode, body)
		}
		data := ""
		for _, m := range got.Messages {
			data += string(m.Data) + ";"
		}
		if data != want || got.More != more || got.Channel != "user:anna" {
			t.Errorf("%s: %s", query, body)
		}
		return got
	}
	all := read("", `1;2;{ "n":3 };`, false)
	read("?limit=2", `2;{ "n":3 };`, true)
	read("?limit=1&after="+all.Messages[0].Position, `2;`, true)
	read("?before="+all.Messages[1].Position, `1;`, false)
	read("?after="+all.Messages[2].Position, ``, false)

	answer, body := r.do(http.MethodGet, r.public+"/v1/channels/user:anna/history?after=0"+all.Messages[0].Position, "", asBilling)
	isProblem(t, "another epoch", answer, body, http.StatusGone, codeGone)
	answer, body = r.do(http.MethodGet, r.public+"/v1/channels/broadcast/history", "", asBilling)
	isProblem(t, "no history", answer, body, http.StatusNotFound, codeNoHistory)
}

func TestBadMessagesReachNobody(t *testing.T) {
	r := startReal(t)
	deep := strings.Repeat("[", 129) + strings.Repeat("]", 129)
	answer, body := r.do(http.MethodPost, r.public+"/v1/publish", `{"channel":"user:anna","data":`+deep+`}`, asJSON, asBilling)
	isProblem(t, "nested too deep", answer, body, http.StatusBadRequest, codeInvalidMessage)
	_, body = r.do(http.MethodPost, r.public+"/v1/publish",
		`{"messages":[{"channel":"user:anna","data":`+deep+`},{"channel":"user:anna","data":2},{"channel":"user:ben","data":"`+strings.Repeat("x", 64<<10)+`"}]}`, asJSON, asBilling)
	var got struct{ Results []result }
	if err := json.Unmarshal([]byte(body), &got); err != nil || len(got.Results) != 3 {
		t.Fatal(body)
	}
	if got.Results[0].Error == nil || got.Results[1].Error != nil || got.Results[2].Error == nil || got.Results[2].Error.Code != codeTooLarge {
		t.Errorf("%s", body)
	}
}

func TestRedisIsAway(t *testing.T) {
	r := startReal(t)
	r.redis.Kill()
	for _, body := range []string{`{"channel":"broadcast","data":1}`, `{"channels":["user:1","broadcast"],"data":1}`} {
		answer, got := r.do(http.MethodPost, r.public+"/v1/publish", body, asJSON, asBilling)
		isProblem(t, body, answer, got, http.StatusServiceUnavailable, codeUnavailable)
		if answer.Header.Get("Retry-After") == "" || strings.Contains(got, r.redis.Addr()) {
			t.Errorf("%v %s", answer.Header, got)
		}
	}
	answer, got := r.do(http.MethodGet, r.public+"/v1/channels/user:anna/history", "", asBilling)
	isProblem(t, "history", answer, got, http.StatusServiceUnavailable, codeUnavailable)
}

func TestPublisherKeyDoesNotConnect(t *testing.T) {
	r := startReal(t)
	if _, status := r.connect(asBilling); status != http.StatusUnauthorized {
		t.Errorf("%d", status)
	}
	if _, status := r.connect(tokenOf(t, "anna", time.Hour)); status != http.StatusSwitchingProtocols {
		t.Errorf("%d", status)
	}
}
