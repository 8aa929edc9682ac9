package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"aldaba/auth"
	"aldaba/hub"

	"github.com/gin-gonic/gin"
	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

const (
	billingKey = "billing-0123456789abcdef0123456789abcdef"
	chatKey    = "chat-0123456789abcdef0123456789abcdef"
	apiSecret  = "the-tests-sign-with-these-32-bytes!"

	asJSON    = "Content-Type: application/json"
	asBilling = "Authorization: Bearer " + billingKey
)

// notedBroker remembers what it is given.
type notedBroker struct {
	mu        sync.Mutex
	published []string // "channel key data"

	fail func(channel string) error
	page hub.Page
	err  error
	read hub.Query
}

func (b *notedBroker) Publish(_ context.Context, channel string, data []byte, o hub.PublishOptions) (hub.Published, error) {
	if b.fail != nil {
		if err := b.fail(channel); err != nil {
			return hub.Published{}, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.published = append(b.published, channel+" "+o.Key+" "+string(data))
	return hub.Published{}, nil
}

func (b *notedBroker) Read(_ context.Context, q hub.Query) (hub.Page, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read = q
	return b.page, b.err
}

// noted returns what was published, and forgets it.
func (b *notedBroker) noted() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.published
	b.published = nil
	return all
}

func testIssuer() auth.Issuer {
	return auth.Issuer{Algorithm: "HS256", Secret: apiSecret, UserClaim: "sub"}
}

func testPolicy(t *testing.T) *auth.Policy {
	t.Helper()
	policy, err := auth.NewPolicy([]auth.Pattern{
		{Name: "user:{sub}", History: &auth.History{Size: 100, TTL: time.Hour}},
		{Name: "room:{rooms}", Publish: true},
		{Name: "path:a/b+c%2F:{sub}", History: &auth.History{Size: 100, TTL: time.Hour}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

func testVerifier(t *testing.T) *auth.Verifier {
	t.Helper()
	v, err := auth.NewVerifier(t.Context(), []auth.Issuer{testIssuer()}, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Wait)
	return v
}

// tokenOf is a header with a token of user, who is in the room "lobby".
func tokenOf(t *testing.T, user string, ttl time.Duration) string {
	t.Helper()
	token, err := auth.Sign(testIssuer(), map[string]any{"sub": user, "rooms": []string{"lobby"}, "exp": time.Now().Add(ttl).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	return "Authorization: Bearer " + token
}

func testAPI(t *testing.T, b Broker) *API {
	t.Helper()
	return &API{
		Broker:   b,
		Verifier: testVerifier(t),
		Policy:   testPolicy(t),
		Publishers: []Publisher{
			{Name: "billing", Key: billingKey, Channels: []string{"user:*", "org:*:news", "broadcast"}},
			{Name: "chat", Key: chatKey, Channels: []string{"room:*"}},
		},
		Message:   64 << 10,
		PerSecond: 1000,
	}
}

func startAPI(t *testing.T) (*site, *notedBroker) {
	t.Helper()
	b := new(notedBroker)
	return start(t, func(o *Options) { o.API = testAPI(t, b) }), b
}

// isProblem fails the test unless answer is a whole problem with code.
func isProblem(t *testing.T, name string, answer *http.Response, body string, status int, code string) {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Errorf("%s: %d %v in %.200q", name, answer.StatusCode, err, body)
		return
	}
	if answer.StatusCode != status || p.Status != status || p.Code != code || p.Type != "about:blank" || p.Title != http.StatusText(status) || p.Detail == "" {
		t.Errorf("%s: %d %.300s, want %d %s", name, answer.StatusCode, body, status, code)
	}
	if kind := answer.Header.Get("Content-Type"); kind != "application/problem+json" {
		t.Errorf("%s: Content-Type %q", name, kind)
	}
	if cache := answer.Header.Get("Cache-Control"); cache != "no-store" {
		t.Errorf("%s: Cache-Control %q", name, cache)
	}
}

func TestPublishForms(t *testing.T) {
	s, b := startAPI(t)
	for _, c := range []struct {
		name, body string
		headers    []string
		want       string
		published  []string
	}{
		{
			"one channel", `{"channel":"user:42","data":{"a": 1}}`, nil,
			`{"channel":"user:42"}`,
			[]string{`user:42  {"a": 1}`},
		},
		{
			"byte for byte", `{"data": { "x" :[ 1.0, "<\u00e9>" ,1e400]} ,"channel":"user:42"}`, nil,
			`{"channel":"user:42"}`,
			[]string{`user:42  { "x" :[ 1.0, "<\u00e9>" ,1e400]}`},
		},
		{"null", `{"channel":"user:42","data":null}`, nil, `{"channel":"user:42"}`, []string{`user:42  null`}},
		{"a pattern of several segments", `{"channel":"org:7:news","data":1}`, nil, `{"channel":"org:7:news"}`, []string{`org:7:news  1`}},
		{"key in the body", `{"channel":"user:42","data":1,"key":"k1"}`, nil, `{"channel":"user:42"}`, []string{`user:42 k1 1`}},
		{"key in the header", `{"channel":"user:42","data":1}`, []string{"Idempotency-Key: k2"}, `{"channel":"user:42"}`, []string{`user:42 k2 1`}},
		{"the same in both", `{"channel":"user:42","data":1,"key":"k3"}`, []string{"Idempotency-Key: k3"}, `{"channel":"user:42"}`, []string{`user:42 k3 1`}},
		{
			"one among channels is a list", `{"channels":["user:1"],"data":1,"key":"k"}`, nil,
			`{"results":[{"channel":"user:1"}]}`,
			[]string{`user:1 k 1`},
		},
		{
			"one channel's messages in order", `{"messages":[{"channel":"user:1","data":1},{"channel":"user:1","data":2,"key":"own"},{"channel":"user:1","data":3}]}`,
			[]string{"Idempotency-Key: all"},
			`{"results":[{"channel":"user:1"},{"channel":"user:1"},{"channel":"user:1"}]}`,
			[]string{`user:1 all/0 1`, `user:1 own 2`, `user:1 all/2 3`},
		},
	} {
		answer, body := s.do(http.MethodPost, s.public+"/v1/publish", c.body, append(c.headers, asJSON, asBilling)...)
		if answer.StatusCode != http.StatusOK || body != c.want {
			t.Errorf("%s: %d %s", c.name, answer.StatusCode, body)
		}
		if answer.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", c.name, answer.Header)
		}
		if diff := cmp.Diff(c.published, b.noted()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestFullBatchIsAnsweredInItsOrder(t *testing.T) {
	s, b := startAPI(t)
	b.fail = func(channel string) error {
		if channel == "user:3" {
			return hub.ErrInvalidMessage
		}
		return nil
	}
	var list, want strings.Builder
	for i := range maxMessages {
		channel := "user:" + string(rune('0'+i%10))
		list.WriteString(`,{"channel":"` + channel + `","data":0}`)
		want.WriteString(`,{"channel":"` + channel + `"`)
		if channel == "user:3" {
			want.WriteString(`,"error":{"code":"invalid_message","message":"message cannot be published"}`)
		}
		want.WriteString("}")
	}
	answer, body := s.do(http.MethodPost, s.public+"/v1/publish", `{"messages":[`+list.String()[1:]+`]}`, asJSON, asBilling)
	if answer.StatusCode != http.StatusOK || body != `{"results":[`+want.String()[1:]+`]}` {
		t.Errorf("%d %.500s", answer.StatusCode, body)
	}
	if n := len(b.noted()); n != maxMessages-maxMessages/10 {
		t.Errorf("%d published", n)
	}
}

func TestPublishRefusals(t *testing.T) {
	s, b := startAPI(t)
	const fine = `{"channel":"user:42","data":1}`
	expired := tokenOf(t, "anna", -time.Hour)
	for _, c := range []struct {
		name, body string
		headers    []string
		status     int
		code       string
	}{
		{"no key", fine, []string{asJSON}, 401, codeUnauthorized},
		{"empty key", fine, []string{asJSON, "Authorization: Bearer "}, 401, codeUnauthorized},
		{"wrong key", fine, []string{asJSON, asBilling + "0"}, 401, codeUnauthorized},
		{"part of a key", fine, []string{asJSON, asBilling[:len(asBilling)-1]}, 401, codeUnauthorized},
		{"a publisher's name for its key", fine, []string{asJSON, "Authorization: Bearer billing"}, 401, codeUnauthorized},
		{"another scheme", fine, []string{asJSON, "Authorization: Basic " + billingKey}, 401, codeUnauthorized},
		{"key in a cookie", fine, []string{asJSON, "Cookie: session=" + billingKey}, 401, codeUnauthorized},
		{"key as a subprotocol", fine, []string{asJSON, "Sec-WebSocket-Protocol: aldaba.v1, bearer." + billingKey}, 401, codeUnauthorized},
		{"expired token", fine, []string{asJSON, expired}, 401, codeUnauthorized},
		{"key of another", fine, []string{asJSON, "Authorization: Bearer " + chatKey}, 403, codeForbidden},
		{"token that may hear and not publish", `{"channel":"user:anna","data":1}`, []string{asJSON, tokenOf(t, "anna", time.Hour)}, 403, codeForbidden},
		{"token on a foreign channel", `{"channel":"room:8","data":1}`, []string{asJSON, tokenOf(t, "anna", time.Hour)}, 403, codeForbidden},
		{"foreign channel in a batch", `{"messages":[` + fine + `,{"channel":"room:7","data":1}]}`, []string{asJSON, asBilling}, 403, codeForbidden},
		{"foreign channel in a list", `{"channels":["user:1","room:7"],"data":1}`, []string{asJSON, asBilling}, 403, codeForbidden},
		{"more segments than the pattern", `{"channel":"user:42:x","data":1}`, []string{asJSON, asBilling}, 403, codeForbidden},
		{"an empty segment", `{"channel":"user:","data":1}`, []string{asJSON, asBilling}, 403, codeForbidden},
		{"fewer segments", `{"channel":"user","data":1}`, []string{asJSON, asBilling}, 403, codeForbidden},
		{"the pattern itself", `{"channel":"user:*","data":1}`, []string{asJSON, asBilling}, 403, codeForbidden},
		{"line feed in a channel", `{"channel":"user:4\r\n2","data":1}`, []string{asJSON, asBilling}, 403, codeForbidden},
		{"NUL in a channel", `{"channel":"user:\u0000","data":1}`, []string{asJSON, asBilling}, 403, codeForbidden},
		{"half a letter in a channel", `{"channel":"user:\ud800","data":1}`, []string{asJSON, asBilling}, 403, codeForbidden},
		{"a channel without end", `{"channel":"user:` + strings.Repeat("x", 1<<16) + `","data":1}`, []string{asJSON, asBilling}, 403, codeForbidden},
		{"the hub's own", `{"channel":"aldaba:control","data":1}`, []string{asJSON, asBilling}, 403, codeForbidden},
		{"no channel", `{"data":1}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"two shapes", `{"channel":"user:1","channels":["user:2"],"data":1}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"no data", `{"channel":"user:42"}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"no data in a batch", `{"messages":[{"channel":"user:42"}]}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"data beside messages", `{"messages":[` + fine + `],"data":1}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"channel is a number", `{"channel":42,"data":1}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"channel is null", `{"channel":null,"data":1}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"no channels", `{"channels":[],"data":1}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"channels is null", `{"channels":null,"data":1}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"a channel twice", `{"channels":["user:1","user:1"],"data":1}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"1001 messages", `{"messages":[` + strings.Repeat(fine+",", maxMessages) + fine + `]}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"two documents", fine + fine, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"two documents in lines", fine + "\n" + fine, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"nothing", "", []string{asJSON, asBilling}, 400, codeBadRequest},
		{"half a document", fine[:10], []string{asJSON, asBilling}, 400, codeBadRequest},
		{"not an object", `[` + fine + `]`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"null", `null`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"unknown field", `{"channel":"user:42","data":1,"admin":true}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"unknown field in a batch", `{"messages":[{"channel":"user:42","data":1,"to":"x"}]}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"a field in capitals", `{"Channel":"user:42","data":1}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"a field twice", `{"channel":"user:42","channel":"room:7","data":1}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"a field twice, once escaped", `{"channel":"user:42","ch\u0061nnel":"room:7","data":1}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"not UTF-8", "{\"channel\":\"user:42\",\"data\":\"\xff\"}", []string{asJSON, asBilling}, 400, codeBadRequest},
		{"a byte order mark", "\ufeff" + fine, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"nested without end", `{"channel":"user:42","data":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"an empty idempotency key", `{"channel":"user:42","data":1,"key":""}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"idempotency key with a line feed", `{"channel":"user:42","data":1,"key":"a\r\nb"}`, []string{asJSON, asBilling}, 400, codeBadRequest},
		{"idempotency key with a space in the header", fine, []string{asJSON, asBilling, "Idempotency-Key: a b"}, 400, codeBadRequest},
		{"two idempotency keys", `{"channel":"user:42","data":1,"key":"a"}`, []string{asJSON, asBilling, "Idempotency-Key: b"}, 400, codeBadRequest},
		{"a long idempotency key", fine, []string{asJSON, asBilling, "Idempotency-Key: " + strings.Repeat("k", 129)}, 400, codeBadRequest},
		{"a key too long for a batch", `{"messages":[` + fine + `]}`, []string{asJSON, asBilling, "Idempotency-Key: " + strings.Repeat("k", 127)}, 400, codeBadRequest},
		{"no Content-Type", fine, []string{asBilling}, 415, codeMediaType},
		{"a form of a page's", fine, []string{asBilling, "Content-Type: text/plain"}, 415, codeMediaType},
		{"another charset", fine, []string{asBilling, "Content-Type: application/json; charset=utf-16"}, 415, codeMediaType},
		{"compressed", fine, []string{asBilling, asJSON, "Content-Encoding: gzip"}, 415, codeMediaType},
		{"body too large", `{"channel":"user:42","data":"` + strings.Repeat("x", bodyRoom+64<<10) + `"}`, []string{asJSON, asBilling}, 413, codeTooLarge},
		{"message too large", `{"channel":"user:42","data":"` + strings.Repeat("x", 64<<10) + `"}`, []string{asJSON, asBilling}, 413, codeTooLarge},
	} {
		answer, body := s.do(http.MethodPost, s.public+"/v1/publish", c.body, c.headers...)
		isProblem(t, c.name, answer, body, c.status, c.code)
		if c.status == http.StatusUnauthorized && answer.Header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: %v", c.name, answer.Header)
		}
		if strings.Contains(body, "user:") || strings.Contains(body, "room:") || strings.Contains(body, "admin") {
			t.Errorf("%s is repeated: %s", c.name, body)
		}
		if got := b.noted(); len(got) > 0 {
			t.Errorf("%s: published %v", c.name, got)
		}
	}
	for _, secret := range []string{billingKey, chatKey, strings.TrimPrefix(expired, "Authorization: Bearer ")} {
		if strings.Contains(s.logged(), secret) {
			t.Errorf("%s is in the log", secret)
		}
	}
}

func TestAuthorizationTwiceIsRefused(t *testing.T) {
	s, b := startAPI(t)
	const body = `{"channel":"user:42","data":1}`
	answer, _ := s.raw("POST /v1/publish HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + asJSON + "\r\n" +
		asBilling + "\r\nAuthorization: Bearer " + chatKey + "\r\nContent-Length: 30\r\n\r\n" + body)
	if !strings.HasPrefix(answer, "HTTP/1.1 401 ") || len(b.noted()) > 0 {
		t.Errorf("%q", answer)
	}
}

func TestLineFeedInHeaderIsNotEchoed(t *testing.T) {
	s, b := startAPI(t)
	const body = `{"channel":"user:42","data":1}`
	for _, header := range []string{"Idempotency-Key: a\rX-Evil: 1", "Idempotency-Key: a\x00b", "Content-Type: application/json\rX-Evil: 1", "Authorization: Bearer " + billingKey + "\rX-Evil: 1"} {
		answer, _ := s.raw("POST /v1/publish HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + header + "\r\nContent-Length: 30\r\n\r\n" + body)
		if !strings.HasPrefix(answer, "HTTP/1.1 4") || strings.Contains(answer, "Evil") || len(b.noted()) > 0 {
			t.Errorf("%q: %q", header, answer)
		}
	}
}

func TestSlowBodyOfAPublisherIsCutOff(t *testing.T) {
	s, b := startAPI(t)
	s.hurry(func(h *http.Server) { h.ReadTimeout /= soon })
	answer, took := s.raw("POST /v1/publish HTTP/1.1\r\nHost: x\r\n" + asJSON + "\r\n" + asBilling + "\r\nContent-Length: 100\r\n\r\n{")
	if !strings.HasPrefix(answer, "HTTP/1.1 400 ") || took > patience/2 || len(b.noted()) > 0 {
		t.Errorf("%v %q", took, answer)
	}
}

func TestWrongMethodsAndPathsAreProblems(t *testing.T) {
	s, _ := startAPI(t)
	for _, c := range []struct {
		method, path string
		status       int
		code, allow  string
	}{
		{http.MethodGet, "/v1/publish", 405, "method_not_allowed", "POST"},
		{http.MethodDelete, "/v1/channels/user:1/history", 405, "method_not_allowed", "GET, HEAD"},
		{http.MethodGet, "/v1/", 404, "not_found", ""},
		{http.MethodPost, "/v1/publish/", 404, "not_found", ""},
		{http.MethodGet, "/v1/channels/a/b/history", 404, "not_found", ""},
		{http.MethodGet, "/v1/%0d%0aX-Evil:%201", 404, "not_found", ""},
	} {
		answer, body := s.do(c.method, s.public+c.path, "", asBilling)
		isProblem(t, c.method+" "+c.path, answer, body, c.status, c.code)
		if allow := answer.Header.Get("Allow"); allow != c.allow {
			t.Errorf("%s %s: Allow %q", c.method, c.path, allow)
		}
	}
	if answer, _ := s.do(http.MethodPost, s.admin+"/v1/publish", `{"channel":"user:42","data":1}`, asJSON, asBilling); answer.StatusCode != http.StatusNotFound {
		t.Errorf("the operator's address publishes: %d", answer.StatusCode)
	}
}

func TestTokenMayPublishWhereItsClaimsSay(t *testing.T) {
	s, b := startAPI(t)
	answer, body := s.do(http.MethodPost, s.public+"/v1/publish", `{"channel":"room:lobby","data":"hi"}`, asJSON, tokenOf(t, "anna", time.Hour))
	if answer.StatusCode != http.StatusOK || body != `{"channel":"room:lobby"}` {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
	if diff := cmp.Diff([]string{`room:lobby  "hi"`}, b.noted()); diff != "" {
		t.Error(diff)
	}
}

func TestTokenDoesNotGetAroundTheRateOfSessions(t *testing.T) {
	b := new(notedBroker)
	s := start(t, func(o *Options) { o.API = testAPI(t, b); o.API.PerSecond = 2 })
	const two = `{"messages":[{"channel":"room:lobby","data":1},{"channel":"room:lobby","data":2}]}`
	const three = `{"messages":[{"channel":"room:lobby","data":1},{"channel":"room:lobby","data":2},{"channel":"room:lobby","data":3}]}`
	anna := tokenOf(t, "anna", time.Hour)
	answer, body := s.do(http.MethodPost, s.public+"/v1/publish", three, asJSON, anna)
	isProblem(t, "three at once, for which no second has room", answer, body, http.StatusRequestEntityTooLarge, codeTooLarge)
	if answer.Header.Get("Retry-After") != "" || len(b.noted()) > 0 {
		t.Errorf("%v %v", answer.Header, b.noted())
	}
	for range 100 { // until two fall into one second of the clock
		if answer, body = s.do(http.MethodPost, s.public+"/v1/publish", two, asJSON, anna); answer.StatusCode != http.StatusOK {
			break
		}
	}
	isProblem(t, "two, and two again", answer, body, http.StatusTooManyRequests, codeRateLimited)
	if answer.Header.Get("Retry-After") != "1" {
		t.Errorf("%v", answer.Header)
	}
	if answer, body = s.do(http.MethodPost, s.public+"/v1/publish", three, asJSON, "Authorization: Bearer "+chatKey); answer.StatusCode != http.StatusOK {
		t.Errorf("a publisher is not limited: %d %s", answer.StatusCode, body)
	}
}

func TestMeterForgets(t *testing.T) {
	m := meter{perSecond: 2}
	now := time.Unix(1000, 0)
	for i, c := range []struct {
		user string
		n    int
		at   time.Time
		want bool
	}{
		{"anna", 2, now, true},
		{"anna", 1, now, false},
		{"ben", 1, now, true},
		{"ben", 1 << 62, now, false},
		{"anna", 1, now.Add(time.Second), true},
	} {
		if got := m.take(c.user, c.n, c.at); got != c.want {
			t.Errorf("%d: %v", i, got)
		}
	}
	if len(m.taken) != 1 {
		t.Errorf("%v are remembered", m.taken)
	}
}

func TestPublishWithoutRedis(t *testing.T) {
	s, b := startAPI(t)
	b.fail = func(string) error { return errors.New("dial tcp 10.1.2.3:6379: connection refused") }
	for _, body := range []string{`{"channel":"user:1","data":1}`, `{"channels":["user:1","user:2"],"data":1}`, `{"messages":[{"channel":"user:1","data":1},{"channel":"user:1","data":1}]}`} {
		answer, got := s.do(http.MethodPost, s.public+"/v1/publish", body, asJSON, asBilling)
		isProblem(t, body, answer, got, http.StatusServiceUnavailable, codeUnavailable)
		if answer.Header.Get("Retry-After") != "1" || strings.Contains(got, "10.1.2.3") {
			t.Errorf("%v %s", answer.Header, got)
		}
	}
	if n := strings.Count(s.logged(), "publish by http failed"); n != 3 {
		t.Errorf("the log tells of it %d times, not once for each request", n)
	}
}

// TestFailureDoesNotChangeTheOrder has Redis away for the first message only.
func TestFailureDoesNotChangeTheOrder(t *testing.T) {
	s, b := startAPI(t)
	var once sync.Once
	b.fail = func(channel string) (err error) {
		if channel == "user:1" {
			once.Do(func() { err = errors.New("i/o timeout") })
		}
		return err
	}
	answer, body := s.do(http.MethodPost, s.public+"/v1/publish",
		`{"messages":[{"channel":"user:1","data":1},{"channel":"user:2","data":2},{"channel":"user:1","data":3}]}`, asJSON, asBilling)
	var got struct{ Results []result }
	if err := json.Unmarshal([]byte(body), &got); err != nil || answer.StatusCode != http.StatusOK || len(got.Results) != 3 {
		t.Fatalf("%d %s", answer.StatusCode, body)
	}
	for i, want := range []bool{false, true, false} {
		if (got.Results[i].Error == nil) != want {
			t.Errorf("%d: %+v", i, got.Results[i].Error)
		}
	}
	if diff := cmp.Diff([]string{"user:2  2"}, b.noted()); diff != "" {
		t.Error(diff)
	}
}

func TestPanicWhilePublishingCostsItsChannel(t *testing.T) {
	s, b := startAPI(t)
	b.fail = func(channel string) error {
		if channel == "user:1" {
			panic("s3cret")
		}
		return nil
	}
	answer, body := s.do(http.MethodPost, s.public+"/v1/publish", `{"channels":["user:1","user:2"],"data":1}`, asJSON, asBilling)
	if answer.StatusCode != http.StatusOK || !strings.Contains(body, `"code":"internal"`) || !strings.Contains(body, `{"channel":"user:2"}`) {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
	answer, body = s.do(http.MethodPost, s.public+"/v1/publish", `{"channel":"user:1","data":1}`, asJSON, asBilling)
	isProblem(t, "alone", answer, body, http.StatusInternalServerError, codeInternal)
	if logs := s.logged(); !strings.Contains(logs, "publishing panicked") || strings.Contains(logs, "s3cret") {
		t.Error(logs)
	}
}

func TestHistory(t *testing.T) {
	s, b := startAPI(t)
	at := hub.Position{Epoch: "e", Offset: 7, Tag: 9}
	b.page = hub.Page{Known: true, More: true, Entries: []hub.Entry{{Position: at, Data: []byte(`{ "a": "<b>" }`)}, {Position: at, Data: []byte("1")}}}
	const want = `"messages":[{"position":"e:7-9","data":{ "a": "<b>" }},{"position":"e:7-9","data":1}],"more":true}`
	for _, c := range []struct {
		path, header string
		query        hub.Query
	}{
		{"user:42/history", asBilling, hub.Query{Channel: "user:42", Entries: 50}},
		{"user%3A42/history?after=&limit=", asBilling, hub.Query{Channel: "user:42", Entries: 50}},
		{"user:42/history?after=e:7-9&limit=100", asBilling, hub.Query{Channel: "user:42", Entries: 100, After: at}},
		{"user:42/history?before=e%3A7-9&limit=1", asBilling, hub.Query{Channel: "user:42", Entries: 1, Before: at}},
		{"user:a%2Fb+c%20%2541/history", asBilling, hub.Query{}}, // a space is no part of a channel
		{"user:a%2Fb+c%2541/history", asBilling, hub.Query{Channel: "user:a/b+c%41", Entries: 50}},
		{"user:anna/history", tokenOf(t, "anna", time.Hour), hub.Query{Channel: "user:anna", Entries: 50}},
		{"path:a%2Fb+c%252F:anna/history", tokenOf(t, "anna", time.Hour), hub.Query{Channel: "path:a/b+c%2F:anna", Entries: 50}},
	} {
		answer, body := s.do(http.MethodGet, s.public+"/v1/channels/"+c.path, "", c.header)
		if c.query.Channel == "" {
			isProblem(t, c.path, answer, body, http.StatusForbidden, codeForbidden)
			continue
		}
		c.query.Bytes = pageBytes
		if answer.StatusCode != http.StatusOK || body != `{"channel":"`+c.query.Channel+`",`+want || !json.Valid([]byte(body)) {
			t.Errorf("%s: %d %s", c.path, answer.StatusCode, body)
		}
		if answer.Header.Get("Cache-Control") != "no-store" || answer.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v", c.path, answer.Header)
		}
		if diff := cmp.Diff(c.query, b.read); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.path, diff)
		}
	}
}

func TestHistoryRefusals(t *testing.T) {
	s, b := startAPI(t)
	for _, c := range []struct {
		name, path, header string
		err                error
		status             int
		code               string
	}{
		{"no key", "user:42/history", "Accept: */*", nil, 401, codeUnauthorized},
		{"token in the URL", "user:42/history?access_token=" + billingKey, "Accept: */*", nil, 401, codeUnauthorized},
		{"key of another", "user:42/history", "Authorization: Bearer " + chatKey, nil, 403, codeForbidden},
		{"another user's", "user:ben/history", tokenOf(t, "anna", time.Hour), nil, 403, codeForbidden},
		{"a room of others", "room:9/history", tokenOf(t, "anna", time.Hour), nil, 403, codeForbidden},
		{"the hub's own", "aldaba:meta/history", asBilling, nil, 403, codeForbidden},
		{"every user's", "user:*/history", asBilling, nil, 403, codeForbidden},
		{"encoded twice", "user%253A42/history", asBilling, nil, 403, codeForbidden},
		{"both directions", "user:42/history?after=e:1-1&before=e:1-1", asBilling, nil, 400, codeBadRequest},
		{"abc", "user:42/history?after=abc", asBilling, nil, 400, codeBadRequest},
		{"minus one", "user:42/history?after=-1", asBilling, nil, 400, codeBadRequest},
		{"limit 0", "user:42/history?limit=0", asBilling, nil, 400, codeBadRequest},
		{"limit 101", "user:42/history?limit=101", asBilling, nil, 400, codeBadRequest},
		{"limit without end", "user:42/history?limit=99999999999999999999", asBilling, nil, 400, codeBadRequest},
		{"a parameter twice", "user:42/history?limit=1&limit=2", asBilling, nil, 400, codeBadRequest},
		{"an unknown parameter", "user:42/history?since=1", asBilling, nil, 400, codeBadRequest},
		{"half an escape", "user:42/history?after=%zz", asBilling, nil, 400, codeBadRequest},
		{"a position of the past", "user:42/history?after=e:1-1", asBilling, nil, 410, codeGone},
		{"keeps none", "user:42/history", asBilling, hub.ErrNoHistory, 404, codeNoHistory},
		{"redis is away", "user:42/history", asBilling, errors.New("dial tcp 10.1.2.3"), 503, codeUnavailable},
	} {
		b.mu.Lock()
		b.err = c.err
		b.mu.Unlock()
		answer, body := s.do(http.MethodGet, s.public+"/v1/channels/"+c.path, "", c.header)
		isProblem(t, c.name, answer, body, c.status, c.code)
		if strings.Contains(body, "10.1.2.3") {
			t.Errorf("%s: %s", c.name, body)
		}
	}
	if strings.Contains(s.logged(), billingKey) {
		t.Error("a key is in the log")
	}
}

func TestRequestsAreCounted(t *testing.T) {
	s, _ := startAPI(t)
	s.do(http.MethodPost, s.public+"/v1/publish", `{"channel":"user:1","data":1}`, asJSON, asBilling)
	s.do(http.MethodPost, s.public+"/v1/publish", `{}`, asJSON, "Authorization: Bearer guess")
	s.do(http.MethodGet, s.public+"/v1/nowhere/at/all", "")
	_, body := s.do(http.MethodGet, s.admin+"/metrics", "")
	for _, line := range []string{
		`aldaba_api_requests_total{route="/v1/publish",status="200"} 1`,
		`aldaba_api_requests_total{route="/v1/publish",status="401"} 1`,
		`aldaba_api_requests_total{route="(no such route)",status="404"} 1`,
	} {
		if !strings.Contains(body, line) {
			t.Errorf("%s is not in\n%s", line, body)
		}
	}
}

// TestDescriptionIsOfTheRoutes holds openapi.yaml against what Gin serves.
func TestDescriptionIsOfTheRoutes(t *testing.T) {
	s, _ := startAPI(t)
	answer, body := s.do(http.MethodGet, s.public+"/v1/openapi.yaml", "")
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "application/yaml" {
		t.Errorf("%d %v", answer.StatusCode, answer.Header)
	}
	var description struct {
		Paths map[string]map[string]any
	}
	if err := yaml.Unmarshal([]byte(body), &description); err != nil {
		t.Fatal(err)
	}
	described, served := map[string]bool{}, map[string]bool{}
	for path, item := range description.Paths {
		for method := range item {
			described[strings.ToUpper(method)+" "+path] = true
		}
	}
	for _, r := range s.Server.public.Handler.(*gin.Engine).Routes() {
		if !strings.HasPrefix(r.Path, apiPrefix) || r.Method == http.MethodHead { // a GET without its body
			continue
		}
		segments := strings.Split(r.Path, "/")
		for i, segment := range segments {
			if name, ok := strings.CutPrefix(segment, ":"); ok {
				segments[i] = "{" + name + "}"
			}
		}
		served[r.Method+" "+strings.Join(segments, "/")] = true
	}
	if diff := cmp.Diff(served, described); diff != "" || len(served) == 0 {
		t.Errorf("openapi.yaml differs from the routes (-served +described):\n%s", diff)
	}
}

// TestDescriptionNamesWhatItRefersTo follows every $ref, and looks for every code.
func TestDescriptionNamesWhatItRefersTo(t *testing.T) {
	var whole map[string]any
	if err := yaml.Unmarshal(openapiText, &whole); err != nil {
		t.Fatal(err)
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, value := range v {
				if ref, ok := value.(string); ok && key == "$ref" {
					var at any = whole
					for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
						inner, _ := at.(map[string]any)
						at = inner[name]
					}
					if at == nil {
						t.Errorf("%s leads nowhere", ref)
					}
				}
				walk(value)
			}
		case []any:
			for _, value := range v {
				walk(value)
			}
		}
	}
	walk(whole)
	for _, code := range []string{
		codeBadRequest, codeUnauthorized, codeForbidden, codeNoHistory, codeGone, codeTooLarge, codeMediaType,
		codeInvalidMessage, codeRateLimited, codeInternal, codeUnavailable, "not_found", "method_not_allowed",
	} {
		if !strings.Contains(string(openapiText), "- "+code+"\n") {
			t.Errorf("the codes of a problem lack %s", code)
		}
	}
}
