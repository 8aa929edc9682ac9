package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"aldaba/auth"
	"aldaba/hub"
	"aldaba/hub/broker"

	"github.com/redis/go-redis/v9"
)

// What the ids of messages begin with: how they are published.
const (
	plainKind   = "plain"   // PUBLISH
	scriptKind  = "script"  // the publish script, by a process of its own
	sessionKind = "session" // `publish` of a session
)

func plainNumber(id string) (int64, bool) {
	number, plain := strings.CutPrefix(id, plainKind+"-")
	if !plain {
		return 0, false
	}
	n, err := strconv.ParseInt(number, 10, 64)
	return n, err == nil
}

func anyChaosChannel() string {
	if rand.IntN(2) == 0 {
		return fmt.Sprint("user:u", rand.IntN(chaosUsers))
	}
	return fmt.Sprint("room:", rand.IntN(chaosRooms))
}

// publish begins to publish in every way, until settle.
func (c *chaos) publish() {
	c.t.Helper()
	c.plain = redis.NewClient(&redis.Options{
		Addr: c.server.Addr(), Protocol: 2, DisableIdentity: true, MaxRetries: -1,
		DialTimeout: 500 * time.Millisecond, ReadTimeout: time.Second,
	})
	c.t.Cleanup(func() { _ = c.plain.Close() })
	for range 2 {
		c.clear = append(c.clear, c.beside(c.publishPlainly))
	}
	c.script = c.startScripter()
	c.clear = append(c.clear, c.beside(c.publishByScript), func() { c.script.end() }, c.beside(c.publishBySessions))
}

// every calls do at intervals until ctx ends.
func every(ctx context.Context, interval time.Duration, do func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}

// data is what a message carries: what the checker wants to know, and padding.
func (c *chaos) data(m said) []byte {
	text, err := json.Marshal(object{"channel": m.Channel, "id": m.ID, "pad": strings.Repeat("x", int(c.padding.Load()))})
	if err != nil {
		c.t.Error(err)
	}
	return text
}

// publishPlainly is a backend that knows nothing but PUBLISH.
func (c *chaos) publishPlainly(ctx context.Context) {
	every(ctx, 8*time.Millisecond, func() {
		m := said{anyChaosChannel(), fmt.Sprint(plainKind, "-", c.tally.numbered.Add(1))}
		sure := !c.isUnsure()
		c.Sending(byPublish, m)
		err := c.plain.Publish(context.Background(), m.Channel, c.data(m)).Err()
		if err == nil && sure {
			c.acceptPlain(m.ID)
		}
	})
}

func (c *chaos) publishBySessions(ctx context.Context) {
	n := 0
	every(ctx, 10*time.Millisecond, func() {
		n++
		c.pages[n%len(c.pages)].say(fmt.Sprint(sessionKind, "-", n))
	})
}

func (c *chaos) publishByScript(ctx context.Context) {
	n := 0
	every(ctx, 5*time.Millisecond, func() {
		n++
		m := said{anyChaosChannel(), fmt.Sprint(scriptKind, "-", n)}
		c.Sending(byFcall, m)
		c.guard.Lock()
		to := c.script
		c.guard.Unlock()
		// Of one that has ended nobody learns what became of the message.
		_, _ = fmt.Fprintf(to.stdin, "%s %s %s\n", m.ID, m.Channel, c.data(m))
	})
}

// scripter is a process that publishes by the hub's own script what it is told on its
// standard input, and says what Redis answered; see serveScripter.
type scripter struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	heard chan struct{} // closed when all that it said was heard
	once  sync.Once
}

func (c *chaos) startScripter() *scripter {
	c.t.Helper()
	s := &scripter{cmd: exec.Command(os.Args[0]), heard: make(chan struct{})} // this test's own binary
	s.cmd.Env = append(os.Environ(), scripterVariable+"="+c.server.URL())
	s.cmd.Stderr = os.Stderr
	stdout, err := s.cmd.StdoutPipe()
	if err == nil {
		s.stdin, err = s.cmd.StdinPipe()
	}
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	go func() {
		defer close(s.heard)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if id, position, ok := strings.Cut(lines.Text(), " "); ok && position != "" {
				c.Accepted(id, position)
			}
		}
	}()
	c.t.Cleanup(s.end)
	return s
}

// end lets the scripter publish what it was told, and waits for its end.
func (s *scripter) end() {
	s.once.Do(func() {
		_ = s.stdin.Close()
		<-s.heard
		_ = s.cmd.Wait() // that it was killed is no news
	})
}

// killScripter ends the scripter as a crash does, and starts another one.
func (c *chaos) killScripter() {
	c.t.Helper()
	if err := c.script.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		c.t.Fatal(err)
	}
	c.script.end()
	next := c.startScripter()
	c.guard.Lock()
	defer c.guard.Unlock()
	c.script = next
}

// scripterVariable says, in a process of the tests' binary, that it is a scripter,
// and where its Redis is.
const scripterVariable = "ALDABA_E2E_SCRIPTER"

// serveScripter reads lines `ID CHANNEL JSON` and publishes them, many at once. It
// answers each `ID POSITION`, or `ID ` if Redis has not taken it for certain.
func serveScripter(url string) error {
	kept := auth.History{Size: 10_000, TTL: time.Hour}
	policy, err := auth.NewPolicy([]auth.Pattern{{Name: "user:{sub}", History: &kept}, {Name: "room:{rooms}", History: &kept}})
	if err != nil {
		return err
	}
	b, err := broker.Open(broker.Options{URL: url, Histories: policy.Histories()})
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }()
	var output sync.Mutex
	var all sync.WaitGroup
	room := make(chan struct{}, 64)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fields := strings.SplitN(lines.Text(), " ", 3)
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			done, err := b.Publish(context.Background(), fields[1], []byte(fields[2]), hub.PublishOptions{})
			position := ""
			if err == nil {
				position = done.Position.String()
			}
			output.Lock()
			defer output.Unlock()
			_, _ = fmt.Fprintln(os.Stdout, fields[0], position)
		})
	}
	all.Wait()
	return lines.Err()
}
