package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"aldaba/internal/redistest"

	"github.com/google/go-cmp/cmp"
)

// listener is one session of the table below, whatever client holds it.
type listener struct {
	Name      string   `json:"name"`
	URL       string   `json:"url"`
	Token     string   `json:"token"`
	Subscribe []string `json:"subscribe"`

	replica int
	user    string
	claims  object
	refused []string // of Subscribe
	hears   []string // the channels, worked out by hand
}

// listeners are sessions of several users on both replicas.
func listeners() []listener {
	anna := object{"rooms": []any{7, "lobby"}, "org": object{"id": "acme"}, "teams": []any{"red"}}
	return []listener{
		{
			Name: "anna's laptop", replica: 0, user: "anna", claims: anna, Subscribe: []string{"team:red", "room:9"}, refused: []string{"room:9"},
			hears: []string{"user:anna", "room:7", "room:lobby", "org:acme:news", "team:red", "broadcast"},
		},
		{
			Name: "anna's phone", replica: 1, user: "anna", claims: anna,
			hears: []string{"user:anna", "room:7", "room:lobby", "org:acme:news", "broadcast"},
		},
		{
			Name: "ben", replica: 1, user: "ben", claims: object{"rooms": []any{70}, "org": object{"id": "acme:news"}, "teams": []any{"blue"}},
			Subscribe: []string{"team:red", "user:anna", "user:*", "user:[a]nna", "team:blue", "aldaba:control"},
			refused:   []string{"team:red", "user:anna", "user:*", "user:[a]nna", "aldaba:control"},
			hears:     []string{"user:ben", "room:70", "org:acme%3Anews:news", "team:blue", "broadcast"},
		},
		{
			Name: "root", replica: 0, user: "root", claims: object{"roles": []any{"admin"}}, Subscribe: []string{"room:7", "room:9", "room:7:x"},
			refused: []string{"room:7:x"},
			hears:   []string{"user:root", "room:7", "room:9", "broadcast"},
		},
		{
			Name: "a user called *", replica: 1, user: "*", Subscribe: []string{"user:anna"}, refused: []string{"user:anna"},
			hears: []string{"user:%2A", "broadcast"},
		},
	}
}

// everyChannel is what the backends publish to: of each kind, somebody's and nobody's.
var everyChannel = []string{
	"user:anna", "user:ben", "user:root", "user:%2A", "user:*", "user:ann", "user:anna:x", "user:nobody",
	"room:7", "room:lobby", "room:9", "room:70", "room:", "room:8",
	"org:acme:news", "org:acme%3Anews:news", "org:other:news", "org:acme",
	"team:red", "team:blue", "news",
}

// TestEachKindOfChannelArrivesWhereItShouldAndNowhereElse publishes with redis-cli,
// as a backend that knows nothing but Redis, to sessions on two replicas, held by
// each kind of client.
func TestEachKindOfChannelArrivesWhereItShouldAndNowhereElse(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	page := servePage(t)
	extra := object{"allowed_origins": []string{page}}
	replicas := []*replica{serve(t, checked, redis, extra), serve(t, checked, redis, extra)}
	for _, client := range []struct {
		name   string
		listen func(*testing.T, []listener, *heard)
	}{
		{"gorilla", func(t *testing.T, all []listener, h *heard) { t.Helper(); listenInGo(t, replicas, all, h) }},
		{"node", func(t *testing.T, all []listener, h *heard) { t.Helper(); listenInScript(t, all, h, "node") }},
		{"chromium", func(t *testing.T, all []listener, h *heard) { t.Helper(); listenInScript(t, all, h, "chromium", page) }},
	} {
		t.Run(client.name, func(t *testing.T) {
			all := listeners()
			for i := range all {
				l := &all[i]
				l.URL = "ws://" + replicas[l.replica].public + "/ws"
				l.Token = token(t, l.user, l.claims)
			}
			h := newHeard()
			client.listen(t, all, h)
			awaitJoined(t, all, h)
			compareMessages(t, all, h, publishEverywhere(t, redis))
		})
	}
}

// awaitJoined waits until every session has joined what it should, and been
// refused the rest.
func awaitJoined(t *testing.T, all []listener, h *heard) {
	t.Helper()
	for _, l := range all {
		for _, channel := range l.hears {
			eventually(t, l.Name+" joins "+channel, func() bool { return slices.Contains(h.of(l.Name, "joined"), channel) })
		}
		for _, channel := range l.refused {
			eventually(t, l.Name+" is refused "+channel, func() bool { return slices.Contains(h.of(l.Name, "refused"), channel) })
		}
	}
}

// publishEverywhere says one number on every channel, and at last on the one that
// everybody hears: what has not arrived before it never will.
func publishEverywhere(t *testing.T, redis *redistest.Server) (said []string) {
	t.Helper()
	for i, channel := range append(slices.Clone(everyChannel), "broadcast") {
		out, err := exec.Command("redis-cli", "-p", strconv.Itoa(redis.Port), "publish", channel, strconv.Itoa(i)).CombinedOutput() // our own arguments
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		said = append(said, fmt.Sprint(channel, " ", i))
	}
	return said
}

func compareMessages(t *testing.T, all []listener, h *heard, said []string) {
	t.Helper()
	end := said[len(said)-1]
	for _, l := range all {
		var want []string
		for _, message := range said {
			channel, _, _ := strings.Cut(message, " ")
			if slices.Contains(l.hears, channel) {
				want = append(want, message)
			}
		}
		eventually(t, l.Name+" hears the last", func() bool { return slices.Contains(h.of(l.Name, "message"), end) })
		if diff := cmp.Diff(want, h.of(l.Name, "message")); diff != "" {
			t.Errorf("%s heard (-want +got):\n%s", l.Name, diff)
		}
	}
}

// heard is what sessions were told, by name and kind.
type heard struct {
	mu  sync.Mutex
	all map[string][]string
}

func newHeard() *heard { return &heard{all: map[string][]string{}} }

func (h *heard) note(name, kind, what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[name+kind] = append(h.all[name+kind], what)
}

func (h *heard) of(name, kind string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.all[name+kind])
}

func listenInGo(t *testing.T, replicas []*replica, all []listener, h *heard) {
	t.Helper()
	for _, l := range all {
		s, err := replicas[l.replica].tryDial(l.Name, l.Token)
		if err != nil {
			t.Fatal(err)
		}
		s.t = t
		t.Cleanup(s.close)
		s.hear = func(f object) bool {
			switch f["type"] {
			case "welcome":
				for _, one := range f["channels"].([]any) {
					h.note(l.Name, "joined", one.(object)["channel"].(string))
				}
			case "joined":
				h.note(l.Name, "joined", f["channel"].(string))
			case "message":
				h.note(l.Name, "message", fmt.Sprint(f["channel"], " ", f["data"]))
			case "error":
				h.note(l.Name, "refused", fmt.Sprint(f["id"]))
			}
			return false
		}
		s.begin()
		for _, channel := range l.Subscribe {
			s.say(object{"type": "subscribe", "id": channel, "channel": channel})
		}
	}
}

// listenInScript has the JavaScript client hold the sessions.
func listenInScript(t *testing.T, all []listener, h *heard, args ...string) {
	t.Helper()
	spec, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", append([]string{"testdata/listen.js"}, args...)...) // our own arguments; it ends with its input
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		noteLines(t, out, h)
	}()
	t.Cleanup(func() {
		_ = in.Close()
		<-done
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, complaints.String())
		}
	})
	if _, err := in.Write(append(spec, '\n')); err != nil {
		t.Fatal(err)
	}
}

func noteLines(t *testing.T, out io.Reader, h *heard) {
	t.Helper()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var line map[string]string
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Errorf("%v: %s", err, lines.Text())
			continue
		}
		for kind, what := range line {
			switch kind {
			case "error":
				t.Errorf("%s: %s", line["name"], what)
			case "name", "code":
			default:
				h.note(line["name"], kind, what)
			}
		}
	}
}

// servePage serves an empty page of another origin than the replicas', with the
// client module, and returns that origin.
func servePage(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><link rel=icon href=data:><title>a page</title>")
	})
	mux.HandleFunc("GET /aldaba.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, "../../frontend/client/aldaba.min.js")
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// TestClientStaysWithinTheRate has the JavaScript client ask for more channels than
// the hub takes frames a second.
func TestClientStaysWithinTheRate(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	r := serve(t, checked, redis, object{"limits": object{"frames_per_second": 20}})
	l := listener{Name: "root", user: "root", claims: object{"roles": []any{"admin"}}, hears: []string{"user:root", "broadcast"}}
	l.URL, l.Token = "ws://"+r.public+"/ws", token(t, l.user, l.claims)
	for i := range 60 {
		room := fmt.Sprint("room:", i)
		l.Subscribe, l.hears = append(l.Subscribe, room), append(l.hears, room)
	}
	h := newHeard()
	listenInScript(t, []listener{l}, h, "node")
	awaitJoined(t, []listener{l}, h)
	if refused := h.of("root", "refused"); len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
}
