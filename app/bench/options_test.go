package bench

import (
	"math"
	"strings"
	"testing"
	"time"

	"aldaba/app/bench/crowd"
)

// sound are options that Check has nothing against.
func sound() Options {
	return Options{Scenario: "private", Sessions: 100, Burst: 1, Window: 100, Size: 200, For: time.Second, Runs: 1}
}

// elsewhere are those of a hub that runs already.
func elsewhere() Options {
	o := sound()
	o.URL, o.Redis = "ws://hub.example/ws", crowd.Redis{Address: "127.0.0.1:6379"}
	o.Private, o.Room = "user:{sub}", "room:{rooms}"
	return o
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, change := range []func(*Options){
		func(o *Options) { *o = sound() },
		func(o *Options) { o.Scenario, o.URL = All, "" },
		func(*Options) {},
		func(o *Options) { o.URL = "ws://hub.example" },
		func(o *Options) { o.Scenario, o.Redis = "connect", crowd.Redis{} },
		func(o *Options) { o.Scenario, o.Room = "room", "lobby" },
	} {
		o := elsewhere()
		change(&o)
		if err := o.Check(); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, c := range []struct {
		says   string
		change func(*Options)
	}{
		{"no scenario", func(o *Options) { o.Scenario = "nothing" }},
		{"--sessions", func(o *Options) { o.Sessions = 0 }},
		{"--size", func(o *Options) { o.Size = 63 }},
		{"--runs", func(o *Options) { o.Runs = -1 }},
		{"--duration", func(o *Options) { o.For = 0 }},
		{"--duration", func(o *Options) { o.For = 25 * time.Hour }},
		{"--warm", func(o *Options) { o.Warm = -time.Second }},
		{"--rate", func(o *Options) { o.Rate = math.NaN() }},
		{"--rate", func(o *Options) { o.Rate = math.Inf(1) }},
		{"--rate", func(o *Options) { o.Rate = -1 }},
		{"--rate", func(o *Options) { o.Rate = 1e-9 }},
		{"--burst", func(o *Options) { o.Burst = 0 }},
		{"--window", func(o *Options) { o.Window = 0 }},
		{"--churn is", func(o *Options) { o.Rate, o.Churn = 1, math.NaN() }},
		{"--churn is", func(o *Options) { o.Rate, o.Churn = 1, -1 }},
		{"--churn needs", func(o *Options) { o.Churn = 1 }},
		{"no --url", func(o *Options) { o.Peer = "naive" }},
		{"needs --redis", func(o *Options) { o.Redis = crowd.Redis{} }},
		{"needs --redis", func(o *Options) { o.Scenario, o.For, o.Redis = "expire", 5*time.Second, crowd.Redis{} }},
		{"--pid", func(o *Options) { o.PID = -1 }},
		{"idle needs --pid", func(o *Options) { o.Scenario = "idle" }},
		{"--private", func(o *Options) { o.Private = "user:anna" }},
		{"--room", func(o *Options) { o.Scenario, o.Room = "mixed", "lobby" }},
		{"no TLS", func(o *Options) { o.URL = "wss://hub.example/ws" }},
		{"IPv4 only", func(o *Options) { o.URL = "ws://[::1]:8080/ws" }},
		{"write ws://", func(o *Options) { o.URL = "ws://:8080/ws" }},
		{"write ws://", func(o *Options) { o.URL = "localhost:8080/ws" }},
		{"write ws://", func(o *Options) { o.URL = "http://localhost:8080/ws" }},
		{"a port is", func(o *Options) { o.URL = "ws://localhost:80800/ws" }},
		{"tokens are made here", func(o *Options) { o.URL = "ws://localhost/ws?token=x" }},
	} {
		o := elsewhere()
		c.change(&o)
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v does not say %q", err, c.says)
		}
	}
}

func TestHubURL(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"ws://localhost":            "ws://localhost:80/ws",
		"ws://localhost/":           "ws://localhost:80/ws",
		"ws://localhost:/ws":        "ws://localhost:80/ws",
		"ws://127.0.0.1:8080/a%20b": "ws://127.0.0.1:8080/a%20b",
	} {
		u, err := (&Options{URL: given}).hub()
		if err != nil || u.String() != want {
			t.Errorf("%s is %v, %v; want %s", given, u, err, want)
		}
	}
}

func TestLocate(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"localhost", "127.0.0.1"} {
		u, err := (&Options{URL: "ws://" + host}).hub()
		if err != nil {
			t.Fatal(err)
		}
		if at, err := locate(t.Context(), u); err != nil || at != "127.0.0.1:80" {
			t.Errorf("%s is at %s, %v", host, at, err)
		}
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	for _, given := range []string{
		"idle", "idle url pid config", "room burst size", "room plot", "room churn rate", "room rate duration warm size url redis room", "private durable rate churn",
		"private plot window", "mixed compare rate churn", "connect url config pid", "resume size", "expire rate warm", "all runs json",
	} {
		f := strings.Fields(given)
		if err := Refuse(f[0], f[1:]); err != nil {
			t.Errorf("%s: %v", given, err)
		}
	}
	for given, says := range map[string]string{
		"connect rate":          "--rate does not go with connect, but with room, private, expire, mixed",
		"connect duration":      "--duration does not go with connect",
		"connect url redis":     "--redis does not go with connect",
		"idle durable":          "--durable does not go with idle, but with private, mixed",
		"private burst":         "--burst does not go with private, but with room",
		"expire durable":        "--durable does not go with expire",
		"expire compare":        "--compare does not go with expire",
		"resume url":            "--url does not go with resume",
		"all size":              "--size does not go with all",
		"all sessions":          "--sessions does not go with all",
		"room rate burst":       "--rate does not go with --burst",
		"private rate window":   "--rate does not go with --window",
		"private plot rate":     "--plot does not go with --rate",
		"room plot compare":     "--plot does not go with --compare",
		"room compare url":      "--compare does not go with --url",
		"room compare durable":  "--durable does not go with room",
		"mixed compare durable": "--compare does not go with --durable",
		"room pin url":          "--pin does not go with --url",
		"room redis":            "--redis needs --url",
		"connect pid":           "--pid needs --url",
		"connect config":        "--config needs --url",
		"private private":       "--private needs --url",
		"room room":             "--room needs --url",
		"mixed churn":           "--churn needs --rate",
	} {
		f := strings.Fields(given)
		if err := Refuse(f[0], f[1:]); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v does not say %q", given, err, says)
		}
	}
}
