package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"aldaba/internal/redistest"
)

func TestTail(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		b, err := Open(Options{URL: url, Prefix: "app:", Logger: (&text{}).logger()})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = b.Close() }()
		backend := client(t, url)
		second := "1" // as the first: two messages, not two copies
		if strings.HasSuffix(t.Name(), "/embedded") {
			second = "1b" // it sends one copy only, for any of the patterns
		}
		enough := errors.New("enough")
		var got []string
		started := make(chan struct{})
		var once sync.Once
		done := make(chan error)
		go func() {
			done <- b.Tail(context.Background(), []string{"user:*", "user:[12]", "broadcast"}, func(m Message) error {
				switch string(m.Data) {
				case `"start"`:
					once.Do(func() { close(started) })
				case `"stop"`:
					return enough
				default:
					got = append(got, m.Channel+" "+string(m.Data))
				}
				return nil
			})
		}()
		eventually(t, 5*time.Second, "started", func() bool {
			say(t, backend, "app:broadcast", `"start"`)
			select {
			case <-started:
				return true
			default:
				return false
			}
		})
		for _, m := range [][2]string{
			{"app:user:1", "1"},
			{"app:user:1", second},
			{"app:user:3", "not json"},
			{"app:room:1", "2"},
			{"user:1", "3"},
			{"app:aldaba:probe:x", "4"},
			{"app:broadcast", "5"},
			{"app:broadcast", `"stop"`},
		} {
			say(t, backend, m[0], m[1])
		}
		if err := <-done; !errors.Is(err, enough) {
			t.Error(err)
		}
		want := []string{"user:1 1", "user:1 " + second, "user:3 not json", "broadcast 5"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestTailOfWhatIsRecorded has each message once, whoever has published it.
func TestTailOfWhatIsRecorded(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		for _, prefix := range []string{"", "app:"} {
			for _, patterns := range [][]string{nil, {"log:*"}, {"log:a"}} {
				t.Run(fmt.Sprintf("%q %q", prefix, patterns), func(t *testing.T) { tailsRecorded(t, url, prefix, patterns) })
			}
		}
	})
}

func tailsRecorded(t *testing.T, url, prefix string, patterns []string) {
	t.Helper()
	o := keeping(t, url)
	o.Prefix = prefix
	r := run(t, o)
	r.awaitRole(t, roleRecorder)
	got := make(chan Message, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Tail(ctx, patterns, func(m Message) error { got <- m; return nil }) }()
	eventually(t, 5*time.Second, "started", func() bool {
		put(t, r.Broker, "log:a", `"start"`, "")
		return len(got) > 0
	})
	p := put(t, r.Broker, "log:a", "1", "").Position
	say(t, client(t, url), prefix+"log:a", "2")
	r.join(t, "log:a")
	if _, err := r.Ack(t.Context(), "log:a", "anna", p); err != nil {
		t.Error(err)
	}
	put(t, r.Broker, "log:a", "3", "")
	var heard []string
	for len(heard) < 3 {
		m := <-got
		if string(m.Data) == `"start"` {
			continue
		}
		heard = append(heard, m.Channel+" "+string(m.Data))
		if string(m.Data) == "1" && m.Position != p {
			t.Errorf("%+v, recorded at %v", m, p)
		}
	}
	if want := []string{"log:a 1", "log:a 2", "log:a 3"}; !slices.Equal(heard, want) {
		t.Errorf("%q, want %q", heard, want)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTailReconnects(t *testing.T) {
	s := redistest.New(t)
	log := &text{}
	b, err := Open(Options{URL: s.URL(), Logger: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan Message, 10_000)
	done := make(chan error)
	go func() { done <- b.Tail(ctx, nil, func(m Message) error { got <- m; return nil }) }()
	eventually(t, 5*time.Second, "logged", func() bool { return strings.Contains(log.String(), "redis is away") })
	for round := range 2 {
		s.Start()
		backend := client(t, s.URL())
		mark := fmt.Sprintf(`"%d"`, round)
		eventually(t, 3*time.Second, "tails", func() bool {
			say(t, backend, "a", mark)
			for len(got) > 0 {
				if m := <-got; string(m.Data) == mark {
					return true
				}
			}
			return false
		})
		s.Kill()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Redis itself says what a glob matches.
func TestMatchGlobAgreesWithRedis(t *testing.T) {
	s := redistest.Start(t)
	names := []string{"a", "b", "ab", "a*b", "a]b", "a-b", `a\b`, "user:1", "user:10", "^", "[a]", "a?", "aXbXc", "-", "]"}
	for _, n := range names {
		s.Do("SET", n, 1)
	}
	for _, p := range []string{
		"*", "a", "a*", "*b", "a?b", "[ab]", "[^a]", "[a-b]", "[b-a]", `a\*b`, `\a`, `a\\b`, "a[]]b", `a[\]]b`, "user:[0-9]", "user:*",
		"[", "[a", "[^", "[^a", "a[-x]b", "[a-]", "*a*b*", "**", "?", "??", "a*b*c", `[\^]`, "", `a\`, "[]", "[]a", "*]", `[a\-z]`, "a**",
	} {
		found := map[string]bool{}
		for _, k := range s.Do("KEYS", p).([]any) {
			found[k.(string)] = true
		}
		for _, n := range names {
			if got := matchGlob(p, n); got != found[n] {
				t.Errorf("%q against %q: %v, redis says %v", n, p, got, found[n])
			}
		}
	}
	for _, n := range names {
		if !matchGlob(escapeGlob(n), n) {
			t.Errorf("escaped %q does not match itself", n)
		}
	}
}
