package broker

import (
	"context"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestEmbeddedTakesTheNextFreePort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	taken := l.Addr().(*net.TCPAddr).Port
	e, err := StartEmbedded("localhost:" + strconv.Itoa(taken))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	_, text, _ := strings.Cut(e.URL(), "redis://127.0.0.1:")
	if port, _ := strconv.Atoi(text); port <= taken || port > taken+100 {
		t.Errorf("%s instead of %d", e.URL(), taken)
	}
}

func TestEmbeddedIsLoopbackOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.com:0", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", ""} {
		if e, err := StartEmbedded(address); err == nil {
			_ = e.Close()
			t.Errorf("listens on %q", address)
		}
	}
}

func TestEmbeddedExpires(t *testing.T) {
	e, err := StartEmbedded("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, e.URL())
	ctx := context.Background()
	if err := c.Set(ctx, "k", 1, time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "expired", func() bool { return c.Exists(ctx, "k").Val() == 0 })
	for range 2 {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The clients that people have must be able to publish.
func TestEmbeddedServesOtherClients(t *testing.T) {
	e, err := StartEmbedded("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	r := run(t, Options{URL: e.URL()})
	r.join(t, "a")
	address := strings.TrimPrefix(e.URL(), "redis://")
	_, port, _ := net.SplitHostPort(address)
	for name, command := range map[string][]string{
		"redis-cli":          {"redis-cli", "-p", port, "PUBLISH", "a", `"redis-cli"`},
		"redis-cli -3":       {"redis-cli", "-3", "-p", port, "PUBLISH", "a", `"redis-cli -3"`},
		"redis-cli reads":    {"sh", "-c", `printf 'PUBLISH a "\\"redis-cli reads\\""\n' | redis-cli -p ` + port},
		"redis-cli -3 reads": {"sh", "-c", `printf 'PUBLISH a "\\"redis-cli -3 reads\\""\n' | redis-cli -3 -p ` + port},
		"redis-py": {"/usr/bin/python3", "-c", `import redis,sys
r = redis.Redis(port=int(sys.argv[1]), client_name="py")
assert r.publish("a", '"redis-py"') == 1
p = r.pubsub(); p.subscribe("b"); assert p.get_message(timeout=2)["type"] == "subscribe"`, port},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(command[0]); err != nil {
				t.Fatalf("install it: %v", err)
			}
			if name == "redis-py" && exec.Command(command[0], "-c", "import redis").Run() != nil {
				t.Skip("python3-redis is not installed")
			}
			if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			r.calls.await(t, `Deliver a "`+name+`"`)
		})
	}
	t.Run("what others say when they connect", func(t *testing.T) {
		c := client(t, e.URL())
		for _, args := range [][]any{
			{"CLIENT", "SETINFO", "LIB-NAME", "x"},
			{"CLIENT", "SETNAME", "x"},
			{"CLIENT", "ID"},
			{"HELLO", "3"},
			{"PING"},
			{"SELECT", "0"},
		} {
			if err := c.Do(context.Background(), args...).Err(); err != nil {
				t.Errorf("%v: %v", args, err)
			}
		}
	})
}
