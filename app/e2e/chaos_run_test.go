package e2e

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"aldaba/internal/redistest"

	"github.com/redis/go-redis/v9"
)

const (
	chaosPages = 20
	chaosUsers = 4
	chaosRooms = 4
)

// chaosPatterns keep history, more than any page is ever away for.
var chaosPatterns = []object{
	{"name": "user:{sub}", "history": object{"size": 10_000, "ttl": "1h"}},
	{"name": "room:{rooms}", "publish": true, "history": object{"size": 10_000, "ttl": "1h"}},
}

// chaos is one run: replicas on one Redis, publishers that publish in every way,
// and pages that listen and come back wherever they are let in, while something
// happens to one of these.
type chaos struct {
	*checker

	t        *testing.T
	server   *redistest.Server
	replicas []*replica // that live
	pages    []*visitor
	caller   *caller
	tally    tally
	padding  atomic.Int64 // bytes that each message has besides
	losses   atomic.Int64 // what happened to Redis so far
	posted   atomic.Int64 // number of the newest message by HTTP
	clear    []func()     // the ends of what runs beside, newest last

	guard sync.Mutex // of what follows, and of replicas
	// unsure says that nobody may be hearing plain PUBLISHes: what becomes of those
	// sent meanwhile nobody promises.
	unsure   bool
	sureFrom int64           // number of the newest plain PUBLISH of before it was sure again
	accepted map[string]bool // plain PUBLISHes that are due, and that no page heard yet
	heard    map[string]bool
	newest   int64 // number of the newest plain PUBLISH that was heard
}

// tally is what happened, so that a run that proves nothing does not pass.
type tally struct {
	received   atomic.Int64 // messages, by all pages
	recovered  atomic.Int64 // resumes without a loss
	unknown    atomic.Int64 // resumes with one, as the hub admits
	resyncs    atomic.Int64
	interrupts atomic.Int64 // connections that a page ended in the middle of a resume
	repeated   atomic.Int64 // requests by HTTP that were sent again
	numbered   atomic.Int64 // number of the newest plain PUBLISH that may have left
}

// newChaos starts everything, and returns once a recorder and an exact standby are
// there and messages flow.
func newChaos(t *testing.T, replicas int, redisArgs ...string) *chaos {
	t.Helper()
	c := &chaos{
		t: t, checker: newChecker(), server: redistest.Start(t, redisArgs...),
		accepted: map[string]bool{}, heard: map[string]bool{},
	}
	for range replicas {
		c.serve()
	}
	c.awaitRoles()
	for i := range chaosPages {
		c.listen(i)
	}
	eventually(t, "all pages are welcomed", func() bool {
		return !slices.ContainsFunc(c.pages, func(l *visitor) bool { return !l.welcomed.Load() })
	})
	c.publish()
	c.load(1000)
	return c
}

// beside runs something until the run ends, or until the function that it returns is
// called.
func (c *chaos) beside(run func(context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { run(ctx) })
	end = sync.OnceFunc(func() { cancel(); done.Wait() })
	c.t.Cleanup(end)
	return end
}

// serve starts one more replica.
func (c *chaos) serve() *replica {
	c.t.Helper()
	r := serve(c.t, checked, c.server, object{
		"channels":   chaosPatterns,
		"publishers": []object{{"name": "chaos", "key": chaosKey, "channels": []string{"user:*", "room:*"}}},
		"drain":      object{"delay": "0s", "spread": "1s"},
		"limits":     object{"frames_per_second": 1000, "connects_per_second": 5000, "queue": "128KiB"},
	})
	c.guard.Lock()
	defer c.guard.Unlock()
	c.replicas = append(c.replicas, r)
	return r
}

// live are the replicas that a page may try.
func (c *chaos) live() []*replica {
	c.guard.Lock()
	defer c.guard.Unlock()
	return slices.Clone(c.replicas)
}

func (c *chaos) anyReplica() *replica { return c.anyReplicaBut(nil) }

// anyReplicaBut is one that is not last, unless that is the only one.
func (c *chaos) anyReplicaBut(last *replica) *replica {
	all := c.live()
	if others := slices.DeleteFunc(slices.Clone(all), func(r *replica) bool { return r == last }); len(others) > 0 {
		all = others
	}
	return all[rand.IntN(len(all))]
}

// forget has no page go to r from now on.
func (c *chaos) forget(r *replica) {
	c.guard.Lock()
	defer c.guard.Unlock()
	c.replicas = slices.DeleteFunc(c.replicas, func(o *replica) bool { return o == r })
}

// kill ends r as a crash does.
func (c *chaos) kill(r *replica) {
	c.t.Helper()
	c.strike(r)
	<-r.exited
}

// strike is kill without the wait for the end.
func (c *chaos) strike(r *replica) {
	c.t.Helper()
	c.forget(r)
	r.asked, r.hurried = true, true
	if err := r.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		c.t.Fatal(err)
	}
}

// The metrics that tell the roles.
const (
	isRecorder = "aldaba_recorder"
	isStandby  = "aldaba_recorder_standby" // and an exact one
)

// having returns the one live replica whose metric is 1, or nil.
func (c *chaos) having(metric string) (one *replica) {
	for _, r := range c.live() {
		switch {
		case r.metric(metric) != 1:
		case one != nil:
			return nil // the former one does not know yet
		default:
			one = r
		}
	}
	return one
}

// awaitRoles waits until one replica records, and another one stands by exactly; it
// returns the former.
func (c *chaos) awaitRoles() (recorder *replica) {
	c.t.Helper()
	eventually(c.t, "a recorder and an exact standby", func() bool {
		recorder = c.having(isRecorder)
		standby := c.having(isStandby)
		return recorder != nil && standby != nil && recorder != standby
	})
	return recorder
}

// load waits until pages have received n messages more.
func (c *chaos) load(n int64) {
	c.t.Helper()
	n += c.tally.received.Load()
	eventually(c.t, "messages flow", func() bool { return c.tally.received.Load() >= n })
}

// unsurely has something happen to Redis that may keep plain PUBLISHes from being
// heard. Those sent from before it until one is heard again are not held to any promise;
// all others are.
func (c *chaos) unsurely(happens func()) {
	c.t.Helper()
	c.setUnsure(true)
	eventually(c.t, "plain publishes from before are recorded", func() bool {
		c.guard.Lock()
		defer c.guard.Unlock()
		return len(c.accepted) == 0
	})
	c.losses.Add(1)
	happens()
	last := c.tally.numbered.Load()
	eventually(c.t, "plain publishes are recorded again", func() bool { return c.plainSince(last) })
	c.setUnsure(false)
}

// plainSince says whether a plain PUBLISH behind number was heard.
func (c *chaos) plainSince(number int64) bool {
	c.guard.Lock()
	defer c.guard.Unlock()
	return c.newest > number
}

func (c *chaos) setUnsure(unsure bool) {
	c.guard.Lock()
	defer c.guard.Unlock()
	c.unsure, c.sureFrom = unsure, c.tally.numbered.Load()
}

// acceptPlain notes a plain PUBLISH that Redis took. It is due if it began and was
// answered while the run was sure of its recorder.
func (c *chaos) acceptPlain(id string, number int64) {
	c.guard.Lock()
	defer c.guard.Unlock()
	if c.unsure || number <= c.sureFrom {
		return
	}
	c.Accepted(id, "")
	if !c.heard[id] {
		c.accepted[id] = true
	}
}

// hears notes that a page heard a message.
func (c *chaos) hears(m said) {
	c.tally.received.Add(1)
	number, plain := plainNumber(m.ID)
	if !plain {
		return
	}
	c.guard.Lock()
	defer c.guard.Unlock()
	c.newest = max(c.newest, number)
	c.heard[m.ID] = true
	delete(c.accepted, m.ID)
}

// expectation is what a run has to show for itself.
type expectation struct {
	// whole says that nothing that a page missed is out of reach: the hub never
	// admits a loss.
	whole bool
	// kept says that what pages could not hear in a break is in the logs nevertheless.
	// It follows from whole.
	kept bool
}

// settle ends the publishing, lets the pages catch up, and holds the run to all that
// was promised.
func (c *chaos) settle(want expectation) {
	c.t.Helper()
	eventually(c.t, "enough was accepted of each kind", func() bool { return len(c.scarce()) == 0 })
	eventually(c.t, "enough was heard, and resumed", c.provesMuch)
	for _, end := range c.clear {
		end()
	}
	for _, l := range c.pages {
		l.setHabit(stays)
	}
	judge := c.Faults
	if want.whole || want.kept {
		judge = c.faultsOfLogs
	}
	faults := judge()
	for deadline := time.Now().Add(patience); len(faults) > 0 && time.Now().Before(deadline); faults = judge() {
		time.Sleep(250 * time.Millisecond) // Faults is work
	}
	for _, fault := range faults[:min(len(faults), 20)] {
		c.t.Error(fault)
	}
	if n := len(faults); n > 20 {
		c.t.Errorf("and %d faults more", n-20)
	}
	c.judgeTally(want)
}

// faultsOfLogs is Faults with each channel's log beside the pages. A page is owed nothing
// of a break; the log is, so that a receipt counts even if every page was away. That needs
// the logs from their first entry on, which their size allows by far: one that was trimmed
// is told as a loss.
func (c *chaos) faultsOfLogs() []string {
	c.t.Helper()
	client := redis.NewClient(&redis.Options{Addr: c.server.Addr(), Protocol: 2, DisableIdentity: true})
	defer func() { _ = client.Close() }()
	for _, channel := range chaosChannels() {
		ctx := context.Background()
		epoch, err := client.HGet(ctx, "aldaba:meta:{"+channel+"}", "epoch").Result()
		if err != nil {
			c.t.Fatal(channel, err)
		}
		entries, err := client.XRange(ctx, "aldaba:log:{"+channel+"}", "-", "+").Result()
		if err != nil {
			c.t.Fatal(channel, err)
		}
		log := make([]entry, len(entries))
		for i, e := range entries {
			log[i].position = epoch + ":" + e.ID
			text, _ := e.Values["d"].(string)
			if err := json.Unmarshal([]byte(text), &log[i].data); err != nil {
				c.t.Errorf("%s at %s: %v", channel, e.ID, err)
			}
		}
		c.Log(channel, epoch, log)
	}
	return c.Faults()
}

func (c *chaos) provesMuch() bool {
	return c.tally.received.Load() >= 5000 && c.tally.recovered.Load() >= 10
}

func (c *chaos) judgeTally(want expectation) {
	c.t.Helper()
	accepted := c.acceptedByKind()
	received, recovered := c.tally.received.Load(), c.tally.recovered.Load()
	admitted := c.tally.unknown.Load() + c.tally.resyncs.Load()
	c.t.Logf("accepted %v; %d received, %d resumes recovered, %d not, %d resyncs; %d requests repeated",
		accepted, received, recovered, c.tally.unknown.Load(), c.tally.resyncs.Load(), c.tally.repeated.Load())
	if !c.provesMuch() {
		c.t.Error("that proves little")
	}
	switch {
	case want.whole && admitted > 0:
		c.t.Error("a loss was admitted, and there was none")
	case !want.whole && admitted == 0:
		c.t.Error("nobody was told that something was lost")
	}
}

// scarce are the kinds of which too little was accepted to prove anything.
func (c *chaos) scarce() (kinds []string) {
	accepted := c.acceptedByKind()
	for _, kind := range []string{plainKind, fcallKind, httpKind, sessionKind} {
		if accepted[kind] < 100 {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// acceptedByKind counts what is due.
func (c *chaos) acceptedByKind() map[string]int {
	c.checker.mu.Lock()
	defer c.checker.mu.Unlock()
	all := map[string]int{}
	for id, s := range c.sent {
		if kind, _, _ := strings.Cut(id, "-"); s.accepted > 0 {
			all[kind]++
		}
	}
	return all
}
