package broker

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aldaba/hub"
	"aldaba/internal/redistest"
)

const minimalACL = "-@all +subscribe +unsubscribe +psubscribe +publish +ping"

// allow makes a user with these rules and returns its URL.
func allow(s *redistest.Server, rules string) string {
	args := []any{"ACL", "SETUSER", "aldaba", "reset", "on", ">p%/@:w"}
	for rule := range strings.FieldsSeq(rules) {
		args = append(args, rule)
	}
	s.Do(args...)
	return "redis://aldaba:p%25%2F%40%3Aw@" + s.Addr()
}

func TestDocumentedACLSuffices(t *testing.T) {
	for _, prefix := range []string{"", "app:"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			s := redistest.Start(t)
			url := allow(s, "resetchannels &"+prefix+"* "+minimalACL)
			r := run(t, Options{URL: url, Prefix: prefix}, func(t *timing) { t.linger = 50 * time.Millisecond })
			r.join(t, "a", "b")
			if err := r.publish(context.Background(), "a", []byte("1")); err != nil {
				t.Error(err)
			}
			r.calls.await(t, "Deliver a 1")
			r.ready(t, 5*time.Second)
			r.Unsubscribe("a")
			eventually(t, 5*time.Second, "unsubscribed", func() bool { return size(r.interest) == 3 })
			for _, patterns := range [][]string{nil, {"b"}, {"b*", "[bc]"}} {
				tails(t, r, patterns)
			}
			r.join(t, "c")
			// Redis refuses nothing but patterns narrower than the rule, which Tail
			// then filters itself.
			// Without histories nobody misses the library.
			for _, entry := range s.Do("ACL", "LOG").([]any) {
				if what := fmt.Sprint(entry); prefix == "" && !strings.Contains(what, "function|list") {
					t.Errorf("ACL log: %v", what)
				}
			}
		})
	}
}

// historyACL is what the package's comment says of PREFIX.
func historyACL(prefix string) string {
	if prefix == "" { // Redis refuses patterns beside `*`, which covers them
		return strings.NewReplacer(" ~aldaba:*:{*", "", " &aldaba:live:{* &aldaba:*:{*", "").Replace(rules(""))
	}
	return rules(prefix)
}

func rules(prefix string) string {
	return strings.ReplaceAll("resetkeys ~PREFIX* ~aldaba:*:{PREFIX* resetchannels &PREFIX* &aldaba:live:{PREFIX* &aldaba:*:{PREFIX* "+
		"-@all +auth +ping +subscribe +unsubscribe +psubscribe +punsubscribe +publish +multi +exec +eval +evalsha +script|load "+
		"+function|list +function|load +get +set +del +exists +incr +pexpire +hmget +hset +xadd +xrange +xrevrange "+
		"+xlen +time +info +pubsub|numsub", "PREFIX", prefix)
}

func TestDocumentedACLSufficesForHistories(t *testing.T) {
	for _, prefix := range []string{"", "app:"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			s := redistest.Start(t)
			o := keeping(t, allow(s, historyACL(prefix)))
			o.Prefix = prefix
			one := run(t, o)
			one.awaitRole(t, roleRecorder)
			two := run(t, o)
			two.awaitRole(t, roleStandby)
			two.join(t, "log:a")
			p := put(t, one.Broker, "log:a", "1", "k").Position
			backend := client(t, s.URL())
			say(t, backend, prefix+"log:a", "2")
			two.calls.await(t, "Deliver log:a 2")
			one.HandOver(t.Context())
			two.awaitRole(t, roleRecorder)
			say(t, backend, prefix+"log:a", "3")
			two.calls.await(t, "Deliver log:a 3")
			if _, err := two.Ack(t.Context(), "log:a", "anna", p); err != nil {
				t.Error(err)
			}
			if err := one.KeepTicket(t.Context(), "id", []byte("sealed"), time.Minute); err != nil {
				t.Error(err)
			}
			if sealed, err := two.TakeTicket(t.Context(), "id"); err != nil || string(sealed) != "sealed" {
				t.Error(string(sealed), err)
			}
			listening(t, s.URL(), prefix, 2)
			if got, _ := receipt(t, one.Broker, "log:a", "5", ""); !got.Complete {
				t.Errorf("%+v", got)
			}
			if got, _ := page(t, two.Broker, hub.Query{Channel: "log:a", Before: p, Entries: 5, Bytes: 99}); !got.Known {
				t.Error("the position is not known")
			}
			awaitLibrary(t, backend, prefix)
			s.Do("ACL", "SETUSER", "billing", "reset", "on", ">pw", "~"+prefix+"log:*", "~aldaba:*:{"+prefix+"log:*", "&"+prefix+"log:*",
				"&aldaba:live:{"+prefix+"log:*", "-@all", "+ping", "+fcall", "+get", "+set", "+del", "+pexpire", "+hmget", "+hset", "+xadd", "+xlen", "+time", "+publish")
			publisher := client(t, "redis://billing:pw@"+s.Addr())
			if _, err := fcall(publisher, "aldaba_publish", 1, prefix+"log:a", "4", "key", "k4"); err != nil {
				t.Error(err)
			}
			two.calls.await(t, "Deliver log:a 4")
			if _, err := fcall(publisher, "aldaba_publish", 1, prefix+"other:a", "4"); err == nil {
				t.Error("a foreign channel is published to")
			}
		})
	}
}

// tails waits until a Tail of patterns has brought a message on b.
func tails(t *testing.T, r *rig, patterns []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan Message, 1000)
	done := make(chan error)
	go func() {
		done <- r.Tail(ctx, patterns, func(m Message) error { got <- m; return nil })
	}()
	eventually(t, 5*time.Second, fmt.Sprint("tail of ", patterns), func() bool {
		if err := publish(cmp.Or(r.publishes, r.Broker), ctx, "b", []byte("2")); err != nil {
			t.Fatal(err)
		}
		return len(got) > 0
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if m := <-got; m.Channel != "b" || string(m.Data) != "2" || m.At.IsZero() {
		t.Errorf("tail brought %+v", m)
	}
}

// TestTailWithinNarrowRights has a user for whom one pattern is all, to the letter.
func TestTailWithinNarrowRights(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, Options{URL: s.URL()})
	r.ready(t, 5*time.Second)
	watcher, err := Open(Options{URL: allow(s, "resetchannels &b* -@all +psubscribe +ping"), Logger: r.log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = watcher.Close() })
	tails(t, &rig{Broker: watcher, publishes: r.Broker}, []string{"b*"})
}

func TestDeniedChannelsDoNotHurtOthers(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, Options{URL: allow(s, "resetchannels &user:* &aldaba:* "+minimalACL)}, func(t *timing) { t.denied = 500 * time.Millisecond })
	var good []string
	for n := range 1000 {
		good = append(good, "user:"+strconv.Itoa(n))
		r.Subscribe(good[n])
		if n%100 == 0 {
			r.Subscribe("room:" + strconv.Itoa(n))
		}
	}
	for _, channel := range good {
		r.calls.await(t, "Subscribed "+channel)
	}
	r.ready(t, 5*time.Second)
	if n := len(r.calls.with("Subscribed room:")); n != 0 {
		t.Errorf("%d denied channels are subscribed", n)
	}
	if n := strings.Count(r.log.String(), "its ACL needs"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	for range 3 { // asked again and again, the link stays
		r.delivers(t, s, "user:7", time.Second)
	}
	s.Do("ACL", "SETUSER", "aldaba", "&room:*")
	r.calls.await(t, "Subscribed room:900")
	if n := len(r.calls.with("Resync ")); n != 0 {
		t.Errorf("%d channels resynced", n)
	}
}

func TestDeniedProbeIsNotReady(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, Options{URL: allow(s, "resetchannels &user:* "+minimalACL)}, func(t *timing) { t.denied = 200 * time.Millisecond })
	r.join(t, "user:1")
	eventually(t, 5*time.Second, "says why", func() bool { return r.Ready() != nil && strings.Contains(r.Ready().Error(), "NOPERM") })
	s.Do("ACL", "SETUSER", "aldaba", "&*")
	r.ready(t, 5*time.Second)
}

// TestRightsTakenAwayWhileConnected takes everything from a user whose connections
// stand, and gives it back.
func TestRightsTakenAwayWhileConnected(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, Options{URL: allow(s, "&* "+minimalACL)}, func(t *timing) { t.denied = 200 * time.Millisecond })
	r.join(t, "a")
	r.ready(t, 5*time.Second)
	s.Do("ACL", "SETUSER", "aldaba", "resetchannels", "-subscribe", "-publish")
	eventually(t, 10*time.Second, "says why", func() bool { return r.Ready() != nil && strings.Contains(r.Ready().Error(), "NOPERM") })
	for _, line := range []string{"does not let this user subscribe", "does not let this user publish"} {
		eventually(t, 5*time.Second, "logs "+line, func() bool { return strings.Contains(r.log.String(), line) })
	}
	s.Do("ACL", "LOG", "RESET")
	eventually(t, 5*time.Second, "asks again", func() bool { return len(s.Do("ACL", "LOG").([]any)) > 0 })
	s.Do("ACL", "SETUSER", "aldaba", "allchannels", "+subscribe", "+publish")
	r.calls.await(t, "Resync a")
	r.delivers(t, s, "a", 3*time.Second)
	r.ready(t, 5*time.Second)
}

// TestOneRightTakenAwayWhileConnected: Redis cuts nobody for that, and what is
// subscribed stays so.
func TestOneRightTakenAwayWhileConnected(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, Options{URL: allow(s, "&* "+minimalACL)}, func(t *timing) { t.denied = 200 * time.Millisecond })
	r.join(t, "a")
	r.ready(t, 5*time.Second)
	s.Do("ACL", "SETUSER", "aldaba", "-publish")
	eventually(t, 10*time.Second, "says why", func() bool {
		return r.Ready() != nil && strings.Contains(r.Ready().Error(), "does not take messages: NOPERM")
	})
	s.Do("ACL", "SETUSER", "aldaba", "+publish")
	r.ready(t, 5*time.Second)
	for line, want := range map[string]int{"not let this user publish": 1, "lets this user publish again": 1, "redis is away": 0} {
		if n := strings.Count(r.log.String(), line); n != want {
			t.Errorf("%q is logged %d times", line, n)
		}
	}

	s.Do("ACL", "SETUSER", "aldaba", "-subscribe")
	r.Subscribe("b")
	eventually(t, 5*time.Second, "logged", func() bool { return strings.Contains(r.log.String(), "not let this user subscribe") })
	r.delivers(t, s, "a", time.Second)
	s.Do("ACL", "SETUSER", "aldaba", "+subscribe")
	r.calls.await(t, "Subscribed b")
	if n := len(r.calls.with("Resync ")); n != 0 {
		t.Errorf("%d channels resynced", n)
	}
}

// A user that is switched off or deleted keeps the broker trying, too.
func TestUserDeletedWhileConnected(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, Options{URL: allow(s, "&* "+minimalACL)})
	r.join(t, "a")
	r.ready(t, 5*time.Second)
	s.Do("ACL", "DELUSER", "aldaba")
	eventually(t, 10*time.Second, "says why", func() bool { return r.Ready() != nil && strings.Contains(r.Ready().Error(), "WRONGPASS") })
	eventually(t, 5*time.Second, "logged", func() bool { return strings.Contains(r.log.String(), "not let this user in") })
	allow(s, "&* "+minimalACL)
	r.calls.await(t, "Resync a")
	r.delivers(t, s, "a", 3*time.Second)
	r.ready(t, 5*time.Second)
	if n := strings.Count(r.log.String(), "not let this user in"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

func TestPublishDenied(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, Options{URL: allow(s, "&* -@all +subscribe +ping")})
	r.join(t, "a")
	if err := r.publish(context.Background(), "a", []byte("1")); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Error(err)
	}
	eventually(t, 5*time.Second, "says why", func() bool {
		return r.Ready() != nil && strings.Contains(r.Ready().Error(), "does not take messages: NOPERM")
	})
	r.delivers(t, s, "a", 3*time.Second)
}

func TestWrongPassword(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "right")
	r := run(t, Options{URL: "redis://:hunter2@" + s.Addr()})
	eventually(t, 5*time.Second, "says why", func() bool { return strings.Contains(r.log.String(), "WRONGPASS") })
	if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Error(err)
	}
	if err := r.publish(context.Background(), "a", []byte("1")); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
	if strings.Contains(r.log.String(), "hunter2") {
		t.Error("the log has the password")
	}
}

// fake is a wire to a Redis that can be cut; while line is set it answers every
// command with that instead.
type fake struct {
	url   string
	line  atomic.Pointer[string]
	mu    sync.Mutex
	conns []net.Conn
}

// cut breaks every connection there is.
func (f *fake) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		_ = c.Close()
	}
	f.conns = nil
}

func startFake(t *testing.T, backend string) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{url: "redis://" + l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns = append(f.conns, c)
			f.mu.Unlock()
			wg.Go(func() { f.serve(c, backend) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		f.cut()
		wg.Wait()
	})
	return f
}

// serve answers with the line, or if there is none passes all on to a real Redis.
func (f *fake) serve(c net.Conn, backend string) {
	defer func() { _ = c.Close() }()
	if line := f.line.Load(); line != nil {
		r := bufio.NewReader(c)
		for {
			head, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if head[0] != '*' {
				continue
			}
			n, _ := strconv.Atoi(strings.TrimSpace(head[1:]))
			for range 2 * n {
				if _, err := r.ReadString('\n'); err != nil {
					return
				}
			}
			if f.line.Load() == nil {
				return
			}
			if _, err := io.WriteString(c, *line+"\r\n"); err != nil {
				return
			}
		}
	}
	up, err := net.Dial("tcp", backend)
	if err != nil {
		return
	}
	defer func() { _ = up.Close() }()
	go func() {
		_, _ = io.Copy(up, c)
		_ = up.Close()
	}()
	_, _ = io.Copy(c, up)
}

func TestErrorAnswersAreSurvived(t *testing.T) {
	for _, line := range []string{
		"-LOADING Redis is loading the dataset in memory",
		"-READONLY You can't write against a read only replica.",
		"-OOM command not allowed when used memory > 'maxmemory'.",
		"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
		"-NOAUTH Authentication required.",
		"-ERR max number of clients reached",
		"*1\r\n:1", "*0", ":1", "HTTP/1.1 400 Bad Request", "$-1", "+OK", "*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1",
	} {
		t.Run(strings.Fields(line)[0], func(t *testing.T) {
			s := redistest.Start(t)
			f := startFake(t, s.Addr())
			f.line.Store(&line)
			r := run(t, Options{URL: f.url})
			r.Subscribe("a")
			eventually(t, 5*time.Second, "logged", func() bool { return strings.Contains(r.log.String(), "redis is away") })
			if line[0] == '-' && !strings.Contains(r.log.String(), strings.Fields(line[1:])[0]) {
				t.Errorf("the log does not say why: %s", r.log)
			}
			if r.Ready() == nil {
				t.Error("ready")
			}
			if err := r.publish(context.Background(), "a", []byte("1")); err == nil && line[0] == '-' {
				t.Error("published")
			}
			f.line.Store(nil)
			r.delivers(t, s, "a", 3*time.Second)
			r.ready(t, 3*time.Second)
			if n := strings.Count(r.log.String(), "redis is away"); n != 1 {
				t.Errorf("logged %d times", n)
			}
		})
	}
}
