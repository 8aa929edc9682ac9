// Package examples_test runs every publisher against the real thing: a
// redis-server, a hub, and a WebSocket client that holds a token.
package examples_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"aldaba/auth"
	"aldaba/hub"
	"aldaba/hub/broker"
	"aldaba/internal/redistest"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"
	"github.com/redis/go-redis/v9"
)

const secret = "a secret for these tests, and no other"

// post is what every example publishes, each in its language's own spelling of JSON.
type post struct{ Title, By, URL string }

func TestPublishers(t *testing.T) {
	redisAddress := redistest.Start(t).Addr()
	session := connect(t, startHub(t, redisAddress))
	published := listen(t, redisAddress)

	for _, example := range []struct {
		language string
		command  func(t *testing.T) []string
	}{
		{"python", func(t *testing.T) []string { t.Helper(); return []string{python(t), "python/publish.py"} }},
		{"node", func(*testing.T) []string { return []string{"node", "node/publish.js"} }},
		{"php", func(*testing.T) []string { return []string{"php", "php/publish.php"} }},
		{"ruby", func(*testing.T) []string { return []string{"ruby", "ruby/publish.rb"} }},
		{"go", func(*testing.T) []string { return []string{"go", "run", "./go"} }},
	} {
		t.Run(example.language, func(t *testing.T) {
			output := run(t, redisAddress, example.command(t)...)

			want := receive(t, published)
			got := readMessage(t, session)
			if string(got) != want {
				t.Fatalf("not byte for byte:\npublished %s\narrived   %s", want, got)
			}
			var p post
			if err := json.Unmarshal(got, &p); err != nil {
				t.Fatal(err)
			}
			if p != (post{"Knock, knock — ¿quién es?", example.language, "/posts/1?a=1&b=<2>"}) {
				t.Errorf("got %+v", p)
			}

			invoice := readFrame(t, session)
			if err := json.Unmarshal(invoice.Data, &p); err != nil {
				t.Fatal(err)
			}
			if invoice.Channel != "user:anna" || p.Title != "Invoice" || p.By != example.language {
				t.Errorf("got %+v", invoice)
			}
			if position := strings.TrimSpace(output); position != invoice.Position || position == "" {
				t.Errorf("the publisher was told %q, the page %q", position, invoice.Position)
			}
		})
	}
}

// TestPublishersAreShort keeps the promise that the backend hardly changes.
func TestPublishersAreShort(t *testing.T) {
	for _, file := range []string{"python/publish.py", "node/publish.js", "php/publish.php", "ruby/publish.rb", "go/publish.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := 0
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") && !strings.HasPrefix(line, "#") {
				lines++
			}
		}
		if lines >= 18 {
			t.Errorf("%s has %d lines, want fewer than 18", file, lines)
		}
	}
}

// python returns a Python that has redis-py: the system's own may not be the first in PATH.
func python(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), name, "-c", "import redis").Run() == nil {
			return name
		}
	}
	t.Fatal("no python3 with redis-py: `make deps` installs it")
	return ""
}

// run runs a publisher that finds Redis at address.
func run(t *testing.T, address string, command ...string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "REDIS_ADDR="+address, "REDIS_PORT="+port)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v (`make deps` installs what is missing)\n%s", strings.Join(command, " "), err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Fields(lines[len(lines)-1])[0]
}

// startHub starts a hub on Redis at address and returns the WebSocket's URL.
func startHub(t *testing.T, address string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	verifier, err := auth.NewVerifier(ctx, []auth.Issuer{{Algorithm: "HS256", Secret: secret}}, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := auth.NewPolicy([]auth.Pattern{
		{Name: "blogpost"},
		{Name: "user:{sub}", History: &auth.History{Size: 100, TTL: time.Hour}},
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.Open(broker.Options{URL: "redis://" + address, Histories: policy.Histories()})
	if err != nil {
		t.Fatal(err)
	}
	h, err := hub.New(hub.Options{Verifier: verifier, Policy: policy, Broker: b})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = b.Run(ctx, h) // it ends when the test does
	}()
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		h.Close()
		server.Close()
		cancel()
		<-done
		b.Close()
	})
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

// connect returns a session that has been welcomed.
func connect(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "anna",
		"exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	dialer := websocket.Dialer{Subprotocols: []string{"aldaba.v1", "bearer." + token}}
	session, _, err := dialer.DialContext(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	if frame := readFrame(t, session); frame.Type != "welcome" {
		t.Fatalf("got %+v, want welcome", frame)
	}
	return session
}

type frame struct {
	Type     string
	Channel  string
	Position string
	Data     json.RawMessage
}

func readFrame(t *testing.T, session *websocket.Conn) frame {
	t.Helper()
	if err := session.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, text, err := session.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	var f frame
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return f
}

// readMessage returns the data of the next message on blogpost.
func readMessage(t *testing.T, session *websocket.Conn) []byte {
	t.Helper()
	f := readFrame(t, session)
	if f.Type != "message" || f.Channel != "blogpost" {
		t.Fatalf("got %+v, want a message on blogpost", f)
	}
	return f.Data
}

// listen returns what is published on blogpost, as Redis has it.
func listen(t *testing.T, address string) *redis.PubSub {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: address})
	t.Cleanup(func() { client.Close() })
	subscription := client.Subscribe(t.Context(), "blogpost")
	t.Cleanup(func() { subscription.Close() })
	if _, err := subscription.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	return subscription
}

func receive(t *testing.T, published *redis.PubSub) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	message, err := published.ReceiveMessage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return message.Payload
}
