package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"aldaba/auth"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = 15 * time.Second

// memoryBroker is a broker in the test's hands: it confirms at once unless it is
// held back, and hands publishes to the hub in order.
type memoryBroker struct {
	// order is held from an entry's record to its delivery. What the hub calls with
	// a lock of its own never takes it: Deliver takes those locks.
	order sync.Mutex

	mu         sync.Mutex
	hub        *Hub
	held       bool
	subscribed map[string]bool // confirmed or not
	err        error           // of Publish, Read and Ack
	published  func(channel string)

	histories auth.Histories
	epoch     int
	logs      map[string][]Entry // by channel
	upto      map[string]uint64  // by channel and user: the offset that was acknowledged
	reading   func(Query)        // before each Read
}

func (b *memoryBroker) Subscribe(channel string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subscribed[channel] = !b.held
	return !b.held
}

func (b *memoryBroker) Unsubscribe(channel string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.subscribed, channel)
}

func (b *memoryBroker) hold(held bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = held
}

func (b *memoryBroker) channels() map[string]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.subscribed)
}

const testSecret = "a secret of the tests, 32 bytes and more"

var testIssuer = auth.Issuer{Algorithm: "HS256", Secret: testSecret}

// world is a hub on a real listener, with its broker.
type world struct {
	t      testing.TB
	hub    *Hub
	broker *memoryBroker
	server *httptest.Server
	logs   *lockedBuffer

	registry *prometheus.Registry
	secrets  []string // parts of the tokens that were made
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

var testPatterns = []auth.Pattern{
	{Name: "user:{sub}"},
	{Name: "room:{rooms}", Publish: true},
	{Name: "team:{teams}", Join: auth.JoinOnRequest, Publish: true},
	{Name: "broadcast"},
	{Name: "inbox:{inboxes}", Publish: true, History: &auth.History{Size: 1000, TTL: time.Hour}},
	{Name: "feed:{feeds}", Join: auth.JoinOnRequest, History: &auth.History{Size: 1000, TTL: time.Hour}},
	{Name: "room:*", Join: auth.JoinOnRequest, If: `"roles" in claims && "admin" in claims.roles`},
}

func newWorld(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t, registry: prometheus.NewRegistry(), broker: &memoryBroker{subscribed: map[string]bool{}}, logs: &lockedBuffer{}}
	verifier, err := auth.NewVerifier(t.Context(), []auth.Issuer{testIssuer}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := auth.NewPolicy(testPatterns)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Verifier: verifier, Policy: policy, Broker: w.broker, Metrics: w.registry,
		Logger: slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&o)
	}
	w.hub, err = New(o)
	if err != nil {
		t.Fatal(err)
	}
	w.broker.hub, w.broker.histories = w.hub, policy.Histories()
	w.server = httptest.NewServer(w.hub)
	t.Cleanup(func() {
		if err := w.hub.Close(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("close: %v", err)
		}
		w.server.Close()
		w.eventually("nothing is left", w.isEmpty)
		for _, secret := range w.secrets {
			if strings.Contains(w.logs.String(), secret) {
				t.Errorf("part of a token is in the log: %s", w.logs)
			}
		}
	})
	return w
}

// metric returns the sum of the series of name that have a label of that value.
func (w *world) metric(name, label string) (sum float64) {
	w.t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetValue() == label {
					sum += m.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

func (w *world) isEmpty() bool {
	r := w.hub.roster
	r.mu.Lock()
	defer r.mu.Unlock()
	return w.hub.index.count() == 0 && w.hub.melody.Len() == 0 &&
		len(r.sessions.entries) == 0 && len(r.users.entries) == 0 && len(r.addresses.entries) == 0
}

func (w *world) eventually(what string, condition func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("never came true: %s", what)
		}
	}
}

type claims map[string]any

func (w *world) token(user string, c claims) string {
	w.t.Helper()
	all := map[string]any{"sub": user, "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, c)
	token, err := auth.Sign(testIssuer, all)
	if err != nil {
		w.t.Fatal(err)
	}
	if parts := strings.Split(token, "."); len(w.secrets) < 1000 {
		w.secrets = append(w.secrets, parts[1:]...)
	}
	return token
}

func (w *world) url() string { return "ws" + strings.TrimPrefix(w.server.URL, "http") + "/ws" }

// client is one connection of a test.
type client struct {
	*websocket.Conn
	t      testing.TB
	frames chan map[string]any
	texts  chan string
	closed chan *websocket.CloseError
}

// dial connects, without reading yet.
func (w *world) dial(token string, change ...func(*websocket.Dialer, http.Header)) (*websocket.Conn, *http.Response, error) {
	return w.dialAt("", token, change...)
}

// dialAt is dial with a query.
func (w *world) dialAt(query, token string, change ...func(*websocket.Dialer, http.Header)) (*websocket.Conn, *http.Response, error) {
	d := &websocket.Dialer{HandshakeTimeout: patience}
	h := http.Header{"Authorization": {"Bearer " + token}}
	for _, f := range change {
		f(d, h)
	}
	return d.DialContext(w.t.Context(), w.url()+query, h)
}

// connect connects and reads in the background.
func (w *world) connect(token string) *client {
	w.t.Helper()
	conn, resp, err := w.dial(token)
	if err != nil {
		w.t.Fatalf("dial: %v (%v)", err, resp)
	}
	return w.read(conn)
}

func (w *world) read(conn *websocket.Conn) *client {
	c := &client{Conn: conn, t: w.t, frames: make(chan map[string]any, 1<<16), texts: make(chan string, 1<<16), closed: make(chan *websocket.CloseError, 1)}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			_, b, err := conn.ReadMessage()
			if err != nil {
				ce := &websocket.CloseError{Code: websocket.CloseAbnormalClosure, Text: err.Error()}
				_ = errors.As(err, &ce)
				c.closed <- ce
				return
			}
			var f map[string]any
			if err := json.Unmarshal(b, &f); err != nil {
				w.t.Errorf("not JSON: %q", b)
			}
			c.texts <- string(b)
			c.frames <- f
		}
	})
	w.t.Cleanup(func() { conn.Close(); done.Wait() })
	return c
}

// login connects user and waits for the welcome.
func (w *world) login(user string, c claims) *client {
	w.t.Helper()
	cl := w.connect(w.token(user, c))
	cl.expect("welcome")
	return cl
}

func (c *client) next() map[string]any {
	c.t.Helper()
	select {
	case f := <-c.frames:
		return f
	case <-time.After(patience):
		c.t.Fatal("no frame came")
		return nil
	}
}

// expect returns the next frame, which has to be of a type.
func (c *client) expect(kind string) map[string]any {
	c.t.Helper()
	f := c.next()
	if f["type"] != kind {
		c.t.Fatalf("got %v, want a %q", f, kind)
	}
	return f
}

// nothing says that no frame has come before the answer to a ping.
func (c *client) nothing() {
	c.t.Helper()
	c.say(`{"type":"ping","id":"nothing"}`)
	if f := c.next(); f["type"] != "pong" || f["id"] != "nothing" {
		c.t.Fatalf("got %v, want nothing", f)
	}
}

func (c *client) say(frame string) {
	c.t.Helper()
	if err := c.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
		c.t.Fatal(err)
	}
}

// ask says a frame and returns the answer, which has to be of a type.
func (c *client) ask(frame, kind string) map[string]any {
	c.t.Helper()
	c.say(frame)
	return c.expect(kind)
}

// raw sends bytes as they are. The hub may close before it has read all.
func (c *client) raw(bytes string) *client {
	_, _ = io.WriteString(c.NetConn(), bytes)
	return c
}

func (c *client) expectClose(code int) {
	c.t.Helper()
	select {
	case ce := <-c.closed:
		if ce.Code != code {
			c.t.Fatalf("closed with %d %q, want %d", ce.Code, ce.Text, code)
		}
	case <-time.After(patience):
		c.t.Fatalf("not closed, want %d", code)
	}
}

func TestMessageReachesExactlyTheGranted(t *testing.T) {
	w := newWorld(t)
	ann := w.login("ann", claims{"rooms": []string{"1"}})
	ben := w.login("ben", claims{"rooms": []string{"1", "10"}})

	w.hub.Deliver("user:ann", Position{}, []byte(`1`))
	w.hub.Deliver("room:10", Position{}, []byte(`2`))
	w.hub.Deliver("room:1", Position{}, []byte(`3`))
	w.hub.Deliver("broadcast", Position{}, []byte(`4`))

	for _, want := range []string{"user:ann 1", "room:1 3", "broadcast 4"} {
		f := ann.expect("message")
		if got := fmt.Sprint(f["channel"], " ", f["data"]); got != want {
			t.Errorf("ann got %s, want %s", got, want)
		}
	}
	ann.nothing()
	for _, want := range []string{"room:10 2", "room:1 3", "broadcast 4"} {
		f := ben.expect("message")
		if got := fmt.Sprint(f["channel"], " ", f["data"]); got != want {
			t.Errorf("ben got %s, want %s", got, want)
		}
	}
	ben.nothing()
}

func TestDataIsPassedOnByteForByte(t *testing.T) {
	w := newWorld(t)
	ann := w.login("ann", nil)
	<-ann.texts
	for _, data := range []string{
		`{"b":1,"a":2}`, ` { "x" : 1.0e2 } `, "[\n1]", `"\u00e9é<>&"`, `12345678901234567890`, `null`,
		`"` + strings.Repeat("x", 200) + `"`, `"` + strings.Repeat("y", 70_000) + `"`,
	} {
		w.hub.Deliver("user:ann", Position{}, []byte(data))
		ann.expect("message")
		if got, want := <-ann.texts, `{"type":"message","channel":"user:ann","data":`+data+`}`; got != want {
			t.Errorf("got %.100q, want %.100q", got, want)
		}
	}
}

func TestWelcomeComesAfterConfirmation(t *testing.T) {
	w := newWorld(t)
	w.broker.hold(true)
	c := w.connect(w.token("ann", nil))
	c.say(`{"type":"ping","id":1}`)
	w.eventually("both channels are asked for", func() bool { return len(w.broker.channels()) == 2 })
	w.hub.Subscribed("broadcast")
	select {
	case f := <-c.frames:
		t.Fatalf("%v came before the second confirmation", f)
	case <-time.After(100 * time.Millisecond):
	}
	w.hub.Subscribed("user:ann")
	f := c.expect("welcome")
	if got := fmt.Sprint(f["channels"]); got != "[map[channel:user:ann] map[channel:broadcast]]" {
		t.Errorf("channels: %s", got)
	}
	c.expect("pong")
}

func TestWelcomeThatNeverComesCutsWith4003(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.broker.hold(true)
	w.connect(w.token("ann", nil)).expectClose(CloseBrokerLost)
}

func TestSubscribeAndUnsubscribe(t *testing.T) {
	w := newWorld(t)
	c := w.login("ann", claims{"teams": []string{"red"}})
	w.hub.Deliver("team:red", Position{}, []byte(`0`))
	c.nothing()
	for range 2 { // again is harmless
		if f := c.ask(`{"type":"subscribe","id":3,"channel":"team:red"}`, "joined"); f["id"] != 3.0 || f["channel"] != "team:red" {
			t.Errorf("joined: %v", f)
		}
	}
	w.hub.Deliver("team:red", Position{}, []byte(`1`))
	c.expect("message")
	if f := c.ask(`{"type":"unsubscribe","id":"x","channel":"team:red"}`, "left"); f["id"] != "x" || f["reason"] != "unsubscribed" {
		t.Errorf("left: %v", f)
	}
	w.hub.Deliver("team:red", Position{}, []byte(`2`))
	c.nothing()
	if f := c.ask(`{"type":"unsubscribe","id":4,"channel":"team:red"}`, "error"); f["code"] != "not_joined" {
		t.Errorf("second unsubscribe: %v", f)
	}
	w.eventually("the broker hears of it", func() bool { _, ok := w.broker.channels()["team:red"]; return !ok })
}

func TestForbiddenIsTheSameWhetherOrNotTheChannelExists(t *testing.T) {
	w := newWorld(t)
	w.login("ben", nil)
	c := w.login("ann", claims{"rooms": []string{"1"}})
	first := ""
	for _, channel := range []string{
		"user:ben", "user:nobody", "*", "user:*", "user:[a]nn", "room:10", "aldaba:probe", "", "room:*", "a\nb",
		"user:ann ", "USER:ANN", strings.Repeat("x", 1<<15),
	} {
		name, err := json.Marshal(channel)
		if err != nil {
			t.Fatal(err)
		}
		c.ask(`{"type":"subscribe","id":1,"channel":`+string(name)+`}`, "error")
		if first == "" {
			for len(c.texts) > 1 {
				<-c.texts
			}
			first = <-c.texts
			continue
		}
		if got := <-c.texts; got != first || !strings.Contains(got, `"forbidden"`) {
			t.Errorf("%.40q: %s, want %s", channel, got, first)
		}
	}
}

func TestPublishNeedsAGrantAndReachesTheRoom(t *testing.T) {
	w := newWorld(t)
	ann := w.login("ann", claims{"rooms": []string{"1"}})
	ben := w.login("ben", claims{"rooms": []string{"1"}})
	ann.say(`{"type":"publish","id":5,"channel":"room:1","data":{"a": [1, 2]}}`)
	ann.expect("message")
	if f := ann.expect("published"); f["id"] != 5.0 {
		t.Errorf("published: %v", f)
	}
	ben.expect("message")
	for _, forbidden := range []string{"room:2", "user:ann", "broadcast"} {
		if f := ann.ask(`{"type":"publish","id":6,"channel":"`+forbidden+`","data":1}`, "error"); f["code"] != "forbidden" {
			t.Errorf("%s: %v", forbidden, f)
		}
	}
	if f := ann.ask(`{"type":"publish","id":7,"channel":"room:1"}`, "error"); f["code"] != "bad_frame" {
		t.Errorf("without data: %v", f)
	}
	if f := ann.ask(`{"type":"publish","id":8,"channel":"room:1","data":"`+strings.Repeat("x", 64<<10)+`"}`, "error"); f["code"] != "too_large" {
		t.Errorf("too large: %v", f)
	}
	w.broker.err = errors.New("redis://:password@host is away")
	f := ann.ask(`{"type":"publish","id":9,"channel":"room:1","data":1}`, "error")
	if f["code"] != "unavailable" || f["retry_after"] == nil || strings.Contains(fmt.Sprint(f), "password") {
		t.Errorf("broker away: %v", f)
	}
}

func TestPublishOfWhatTheBrokerWouldNeverTake(t *testing.T) {
	w := newWorld(t)
	c := w.login("ann", claims{"rooms": []string{"1"}})
	w.broker.mu.Lock()
	w.broker.err = fmt.Errorf("%w: too deep", ErrInvalidMessage)
	w.broker.mu.Unlock()
	f := c.ask(`{"type":"publish","id":5,"channel":"room:1","data":1}`, "error")
	if f["code"] != "bad_frame" || f["retry_after"] != nil || f["message"] != "message cannot be published: too deep" {
		t.Errorf("got %v", f)
	}
}

func TestResyncIsToldToTheChannelsSessions(t *testing.T) {
	w := newWorld(t)
	ann, ben := w.login("ann", claims{"rooms": []string{"1"}}), w.login("ben", nil)
	w.hub.Resync("room:1", Position{})
	if f := ann.expect("resync"); f["channel"] != "room:1" {
		t.Errorf("resync: %v", f)
	}
	ben.nothing()
}

func TestSlowReaderIsCutWith4002AndOthersAreNot(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.Queue = 64 << 10 })
	slow, _, err := w.dial(w.token("slow", claims{"rooms": []string{"1"}}), smallReceiveBuffer)
	if err != nil {
		t.Fatal(err)
	}
	quick := w.login("quick", claims{"rooms": []string{"1"}})
	data := `"` + strings.Repeat("x", 1000) + `"`
	n := 0
	w.eventually("the slow session is cut", func() bool {
		for range 20 {
			w.hub.Deliver("room:1", Position{}, []byte(data))
			n++
		}
		for len(quick.frames) < n { // the quick one keeps up
			time.Sleep(time.Millisecond)
		}
		return w.hub.index.lookup("user:slow") == nil
	})
	c := w.read(slow) // reads what was sent before the cut, and then learns why
	c.expectClose(CloseSlow)
	for range n {
		quick.expect("message")
	}
	quick.nothing()
	c.expect("welcome")
	for len(c.frames) > 0 {
		c.expect("message")
	}
}

func smallReceiveBuffer(d *websocket.Dialer, _ http.Header) {
	d.NetDialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		nd := net.Dialer{}
		c, err := nd.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return c, c.(*net.TCPConn).SetReadBuffer(32 << 10)
	}
}
