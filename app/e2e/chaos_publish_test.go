package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// What the ids of messages begin with: how they are published.
const (
	plainKind   = "plain"   // PUBLISH, by a process of its own
	fcallKind   = "fcall"   // FCALL aldaba_publish, by the same process
	httpKind    = "http"    // POST /v1/publish, again with the same key until it is answered
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

func chaosChannels() (all []string) {
	for i := range chaosUsers {
		all = append(all, fmt.Sprint("user:u", i))
	}
	for i := range chaosRooms {
		all = append(all, fmt.Sprint("room:", i))
	}
	return all
}

// publish begins to publish in every way, until settle.
func (c *chaos) publish() {
	c.t.Helper()
	c.caller = c.startCaller()
	c.clear = append(c.clear, c.beside(c.publishPlainly), c.beside(c.publishByCaller),
		func() { c.caller.end() }, c.beside(c.publishBySessions))
	for range 2 { // one of them may wait for a replica that is frozen
		c.clear = append(c.clear, c.beside(c.publishByHTTP))
	}
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
	every(ctx, 4*time.Millisecond, func() {
		m := said{anyChaosChannel(), fmt.Sprint(plainKind, "-", c.tally.numbered.Add(1))}
		c.Sending(byPublish, m)
		c.tellCaller(m)
	})
}

func (c *chaos) publishBySessions(ctx context.Context) {
	n := 0
	every(ctx, 10*time.Millisecond, func() {
		n++
		c.pages[n%len(c.pages)].say(fmt.Sprint(sessionKind, "-", n))
	})
}

func (c *chaos) publishByCaller(ctx context.Context) {
	n := 0
	every(ctx, 5*time.Millisecond, func() {
		n++
		m := said{anyChaosChannel(), fmt.Sprint(fcallKind, "-", n)}
		c.Sending(byFcall, m)
		c.tellCaller(m)
	})
}

func (c *chaos) tellCaller(m said) {
	c.guard.Lock()
	to := c.caller
	c.guard.Unlock()
	// Of one that has ended nobody learns what became of the message.
	_, _ = fmt.Fprintf(to.stdin, "%s %s %s\n", m.ID, m.Channel, c.data(m))
}

// chaosKey is of a publisher to all channels.
const chaosKey = "a-key-of-at-least-thirty-two-bytes"

// publishByHTTP is a backend that asks again, anywhere and with the same key, until it
// has an answer. What may have been recorded in a log that was lost meanwhile it leaves:
// with the log the key is forgotten.
func (c *chaos) publishByHTTP(ctx context.Context) {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	every(ctx, 10*time.Millisecond, func() {
		m := said{anyChaosChannel(), fmt.Sprint(httpKind, "-", c.posted.Add(1))}
		c.Sending(byHTTP, m)
		began := c.losses.Load()
		for ctx.Err() == nil && c.losses.Load() == began {
			if position := c.post(client, m); position != "" {
				c.Accepted(m.ID, position)
				return
			}
			c.tally.repeated.Add(1)
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
}

// post publishes m at any replica, and returns its position if that was answered.
func (c *chaos) post(client *http.Client, m said) string {
	body, err := json.Marshal(object{"channel": m.Channel, "data": json.RawMessage(c.data(m))})
	if err != nil {
		c.t.Error(err)
	}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+c.anyReplica().public+"/v1/publish", bytes.NewReader(body))
	if err != nil {
		c.t.Error(err)
		return ""
	}
	request.Header.Set("Authorization", "Bearer "+chaosKey)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", m.ID)
	answer, err := client.Do(request)
	if err != nil {
		return ""
	}
	defer func() { _ = answer.Body.Close() }()
	var published struct{ Position string }
	if err := json.NewDecoder(answer.Body).Decode(&published); err != nil {
		return ""
	}
	if answer.StatusCode/100 == 4 {
		c.t.Errorf("by HTTP: %s", answer.Status)
	}
	return published.Position
}

// caller is a process that publishes what it is told on its standard input, and says
// what Redis answered; see serveCaller. What it has said outlives it.
type caller struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	heard chan struct{} // closed when all that it said was heard
	once  sync.Once
}

func (c *chaos) startCaller() *caller {
	c.t.Helper()
	s := &caller{cmd: exec.Command(os.Args[0]), heard: make(chan struct{})} // this test's own binary
	s.cmd.Env = append(os.Environ(), callerVariable+"="+c.server.URL())
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
			id, answer, ok := strings.Cut(lines.Text(), " ")
			number, plain := plainNumber(id)
			switch {
			case !ok || answer == "":
			case plain:
				c.acceptPlain(id, number)
			default:
				c.Accepted(id, answer)
			}
		}
	}()
	c.t.Cleanup(s.end)
	return s
}

// end lets the caller publish what it was told, and waits for its end.
func (s *caller) end() {
	s.once.Do(func() {
		_ = s.stdin.Close()
		<-s.heard
		_ = s.cmd.Wait() // that it was killed is no news
	})
}

// strikeCaller ends the caller as a crash does, and does not wait.
func (c *chaos) strikeCaller() {
	c.t.Helper()
	if err := c.caller.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		c.t.Fatal(err)
	}
}

// replaceCaller waits for the caller's end, hears what it had said, and starts another.
func (c *chaos) replaceCaller() {
	c.t.Helper()
	c.caller.end()
	next := c.startCaller()
	c.guard.Lock()
	defer c.guard.Unlock()
	c.caller = next
}

// callerVariable says, in a process of the tests' binary, that it is a caller,
// and where its Redis is.
const callerVariable = "ALDABA_E2E_CALLER"

// serveCaller reads lines `ID CHANNEL JSON` and publishes them, many at once, as the kind
// in ID says. It answers each `ID POSITION`, after a plain PUBLISH `ID RECEIVERS`, or
// `ID ` if Redis has not taken it for certain.
func serveCaller(url string) error {
	o, err := redis.ParseURL(url)
	if err != nil {
		return err
	}
	o.Protocol, o.DisableIdentity, o.MaxRetries = 2, true, -1
	o.DialTimeout, o.ReadTimeout = 500*time.Millisecond, time.Second
	redis.SetLogger(silence{})
	client := redis.NewClient(o)
	defer func() { _ = client.Close() }()
	var output sync.Mutex
	var all sync.WaitGroup
	room := make(chan struct{}, 64)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fields := strings.SplitN(lines.Text(), " ", 3)
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			command := []any{"FCALL", "aldaba_publish", 1, fields[1], fields[2]}
			if _, plain := plainNumber(fields[0]); plain {
				command = []any{"PUBLISH", fields[1], fields[2]}
			}
			answer, err := client.Do(context.Background(), command...).Result()
			if err != nil {
				answer = ""
			}
			output.Lock()
			defer output.Unlock()
			_, _ = fmt.Fprintln(os.Stdout, fields[0], answer)
		})
	}
	all.Wait()
	return lines.Err()
}
