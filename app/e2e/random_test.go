package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aldaba/internal/redistest"

	"github.com/redis/go-redis/v9"
)

// The random run: sessions join, leave, publish, refresh, expire and reconnect
// on two replicas while messages are published. Each message carries its number,
// and each session notes what it hears, and how far the numbers had come when it
// joined and left. Afterwards every session must have heard exactly what was
// published while it had joined, in order.
const (
	runSessions = 200
	runMessages = 20_000
	runActs     = 8 // of each session
	runUsers    = 60
	runRooms    = 40
	runTeams    = 12
)

// run is what all sessions and the publisher share.
type run struct {
	t        *testing.T
	replicas []*replica
	redis    *redis.Client

	// order is held while a message is numbered and published, so that their
	// order in Redis is that of the numbers.
	order sync.Mutex
	sent  atomic.Int64 // the number of the newest that may have left
	acked atomic.Int64 // the number of the newest that Redis has taken

	mu        sync.Mutex
	progress  *sync.Cond
	channels  []string         // of message n
	published map[string][]int // the numbers on each channel
	due       []int            // how many acts are due once so many messages are published
	done      int              // acts
}

// publish numbers one message for each of channels and sends them off.
func (r *run) publish(channels []string, send func(first int) error) {
	r.order.Lock()
	defer r.order.Unlock()
	r.mu.Lock()
	first := len(r.channels)
	for i, channel := range channels {
		r.channels = append(r.channels, channel)
		r.published[channel] = append(r.published[channel], first+i)
	}
	r.mu.Unlock()
	newest := int64(first + len(channels) - 1)
	r.sent.Store(newest)
	if err := send(first); err != nil {
		r.t.Errorf("publish: %v", err)
	}
	r.mu.Lock()
	r.acked.Store(newest)
	r.progress.Broadcast()
	r.mu.Unlock()
}

// publisher is the backend. It waits for acts that are due, so that they happen
// among the messages and not after.
func (r *run) publisher(rnd *rand.Rand) {
	for !r.t.Failed() && r.acked.Load() < runMessages {
		batch := make([]string, 1+rnd.IntN(20))
		for i := range batch {
			batch[i] = anyChannel(rnd)
		}
		r.publish(batch, func(first int) error {
			p := r.redis.Pipeline()
			for i, channel := range batch {
				p.Publish(context.Background(), channel, first+i)
			}
			_, err := p.Exec(context.Background())
			return err
		})
		r.mu.Lock()
		for r.due[min(r.acked.Load(), runMessages)]-r.done > runSessions/4 && !r.t.Failed() {
			r.progress.Wait()
		}
		r.mu.Unlock()
	}
}

func anyChannel(r *rand.Rand) string {
	switch n := r.IntN(100); {
	case n < 45:
		return "user:u" + strconv.Itoa(r.IntN(runUsers+2))
	case n < 85:
		return "room:" + strconv.Itoa(r.IntN(runRooms+2))
	case n < 98:
		return "team:t" + strconv.Itoa(r.IntN(runTeams+2))
	default:
		return "broadcast"
	}
}

// within returns the numbers published on channel in (from, to].
func (r *run) within(channel string, from, to int) []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.published[channel]
	i, _ := slices.BinarySearch(all, from+1)
	j, _ := slices.BinarySearch(all, to+1)
	return all[i:max(i, j):max(i, j)]
}

// span is one stay in one channel. Numbers in (from, must] must have been heard.
type span struct {
	channel    string
	from, must int
	heard      map[int]bool
}

// life is one connection of one session.
type life struct {
	*run
	s      *session
	claims claims

	// guarded by s.mu
	open   map[string]*span
	closed []*span
	last   map[string]int // the newest heard on a channel
	faults []string
}

// claims are a naive model of what a token grants.
type claims struct {
	rooms, teams []string
	admin        bool
}

func anyClaims(r *rand.Rand) claims {
	pick := func(prefix string, of, n int) (all []string) {
		for range n {
			all = append(all, prefix+strconv.Itoa(r.IntN(of)))
		}
		return all
	}
	return claims{pick("", runRooms, r.IntN(6)), pick("t", runTeams, r.IntN(4)), r.IntN(20) == 0}
}

func (c claims) object() object {
	o := object{"rooms": c.rooms, "teams": c.teams}
	if c.admin {
		o["roles"] = []string{"admin"}
	}
	return o
}

// auto are the channels that are joined at connect.
func (c claims) auto(user string) map[string]bool {
	all := map[string]bool{"user:" + user: true, "broadcast": true}
	for _, room := range c.rooms {
		all["room:"+room] = true
	}
	return all
}

func (c claims) grants(user, channel string) bool {
	for _, team := range c.teams {
		if channel == "team:"+team {
			return true
		}
	}
	return c.auto(user)[channel] || c.admin && channel[:5] == "room:"
}

// enter begins a life on any replica.
func (r *run) enter(rnd *rand.Rand, user string, c claims) *life {
	s, err := r.replicas[rnd.IntN(len(r.replicas))].tryDial(user, token(r.t, user, c.object()))
	if err != nil {
		r.t.Fatalf("%s: %v", user, err)
	}
	l := &life{run: r, s: s, claims: c, open: map[string]*span{}, last: map[string]int{}}
	s.hear = l.hear
	s.begin()
	l.awaitJoined(c.auto(user))
	return l
}

// hear notes a frame. A message is kept with its span only.
func (l *life) hear(f object) bool {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	sent := int(l.sent.Load())
	channel, _ := f["channel"].(string)
	switch f["type"] {
	case "message":
		l.hearMessage(channel, int(f["data"].(float64)))
		return false
	case "welcome":
		for _, one := range f["channels"].([]any) {
			l.join(one.(object)["channel"].(string), sent)
		}
	case "joined":
		l.join(channel, sent)
	case "left":
		l.closed = append(l.closed, l.open[channel])
		delete(l.open, channel)
	case "resync":
		l.faults = append(l.faults, "resync of "+channel)
	}
	return true
}

func (l *life) hearMessage(channel string, n int) {
	in := l.open[channel]
	switch {
	case in == nil:
		l.faults = append(l.faults, fmt.Sprintf("%d on %s, which it has not joined", n, channel))
	case n <= l.last[channel]:
		l.faults = append(l.faults, fmt.Sprintf("%d on %s after %d", n, channel, l.last[channel]))
	case l.of(n) != channel:
		l.faults = append(l.faults, fmt.Sprintf("%d on %s, said on %s", n, channel, l.of(n)))
	default:
		in.heard[n] = true
		l.last[channel] = n
	}
}

func (r *run) of(n int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.channels[n]
}

func (l *life) join(channel string, sent int) {
	if !l.claims.grants(l.s.user, channel) {
		l.faults = append(l.faults, "joined "+channel+" without a grant")
	}
	if l.open[channel] == nil {
		l.open[channel] = &span{channel: channel, from: sent, heard: map[int]bool{}}
	}
}

// awaitJoined waits until exactly these channels are joined.
func (l *life) awaitJoined(want map[string]bool) {
	l.s.until(fmt.Sprint("joined ", slices.Sorted(maps.Keys(want))), func() bool {
		return len(l.open) == len(want) && !slices.ContainsFunc(slices.Collect(maps.Keys(want)), func(c string) bool { return l.open[c] == nil })
	})
}

func (l *life) joined() map[string]bool {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	all := map[string]bool{}
	for channel := range l.open {
		all[channel] = true
	}
	return all
}

// catchUp waits until everything that Redis has taken by now has been heard, and
// says that it had to be.
func (l *life) catchUp() {
	now := int(l.acked.Load())
	l.s.until("what was published", func() bool {
		for channel, in := range l.open {
			if all := l.within(channel, in.from, now); len(all) > 0 && l.last[channel] < all[len(all)-1] {
				return false
			}
		}
		return true
	})
	l.must(now)
}

func (l *life) must(n int) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	for _, in := range l.open {
		in.must = n
	}
}

// actor is one session through its lives.
type actor struct {
	*life
	rnd   *rand.Rand
	lives []*life
}

func (a *actor) enter(user string, c claims) {
	a.life = a.run.enter(a.rnd, user, c)
	a.lives = append(a.lives, a.life)
}

// act does one random thing and waits until it is done.
func (a *actor) act() {
	switch a.rnd.IntN(12) {
	case 0, 1, 2:
		a.subscribe()
	case 3, 4:
		a.unsubscribe()
	case 5, 6:
		a.refresh()
	case 7, 8:
		a.publishOne()
	case 9:
		a.expire()
	default:
		a.catchUp()
		a.s.close()
		a.enter(a.s.user, a.claims)
	}
}

func (a *actor) subscribe() {
	channel := anyChannel(a.rnd)
	if teams := a.claims.teams; len(teams) > 0 && a.rnd.IntN(2) == 0 {
		channel = "team:" + teams[a.rnd.IntN(len(teams))]
	}
	want := "error"
	if a.claims.grants(a.s.user, channel) {
		want = "joined"
	}
	if f := a.s.ask(object{"type": "subscribe", "channel": channel}); f["type"] != want {
		a.t.Errorf("%s subscribes to %s: %v", a.s.user, channel, f)
	}
}

func (a *actor) unsubscribe() {
	a.catchUp()
	for channel := range a.joined() {
		if f := a.s.ask(object{"type": "unsubscribe", "channel": channel}); f["type"] != "left" {
			a.t.Errorf("%s unsubscribes from %s: %v", a.s.user, channel, f)
		}
		return
	}
}

func (a *actor) publishOne() {
	channel := anyChannel(a.rnd)
	for room := range a.claims.auto(a.s.user) {
		if room[:5] == "room:" {
			channel = room // the one kind that may be published to
		}
	}
	if a.claims.auto(a.s.user)[channel] && channel[:5] == "room:" {
		a.publish([]string{channel}, func(n int) error {
			if f := a.s.ask(object{"type": "publish", "channel": channel, "data": n}); f["type"] != "published" {
				a.t.Errorf("%s publishes to %s: %v", a.s.user, channel, f)
			}
			return nil
		})
		return
	}
	if f := a.s.ask(object{"type": "publish", "channel": channel, "data": 0}); f["code"] != "forbidden" {
		a.t.Errorf("%s publishes to %s: %v", a.s.user, channel, f)
	}
}

// refresh goes on with other claims.
func (a *actor) refresh() {
	a.catchUp()
	user, before, now := a.s.user, a.claims, anyClaims(a.rnd)
	want := a.joined()
	maps.DeleteFunc(want, func(channel string, _ bool) bool { return !now.grants(user, channel) })
	for channel := range now.auto(user) {
		if !before.auto(user)[channel] {
			want[channel] = true
		}
	}
	a.s.mu.Lock()
	a.claims = now
	a.s.mu.Unlock()
	if f := a.s.ask(object{"type": "refresh", "token": token(a.t, user, now.object())}); f["type"] != "refreshed" {
		a.t.Errorf("%s refreshes: %v", user, f)
	}
	a.awaitJoined(want)
}

// expire goes on with a token that ends soon, and waits for that end.
func (a *actor) expire() {
	heard := int(a.acked.Load())
	exp := time.Now().Add(3 * time.Second).Truncate(time.Second)
	short := a.claims.object()
	short["exp"] = exp.Unix()
	if f := a.s.ask(object{"type": "refresh", "token": token(a.t, a.s.user, short)}); f["type"] != "refreshed" {
		a.t.Errorf("%s refreshes: %v", a.s.user, f)
	}
	a.must(heard)
	code := a.s.awaitClose()
	if late := time.Since(exp); code != 4401 || late < 0 || late > 3*time.Second {
		a.t.Errorf("%s was closed with %d, %v after its token's end", a.s.user, code, late)
	}
	a.enter(a.s.user, a.claims)
}

// TestEverySessionReceivesExactlyWhatItsGrantsAllowed is the random run.
func TestEverySessionReceivesExactlyWhatItsGrantsAllowed(t *testing.T) {
	server := redistest.Start(t)
	r := &run{
		t: t, replicas: []*replica{serve(t, checked, server, nil), serve(t, checked, server, nil)},
		redis:    redis.NewClient(&redis.Options{Addr: server.Addr(), Protocol: 2, DisableIdentity: true, MaxRetries: -1}),
		channels: []string{"none, numbers begin with 1"}, published: map[string][]int{}, due: make([]int, runMessages+1),
	}
	r.progress = sync.NewCond(&r.mu)
	t.Cleanup(func() { _ = r.redis.Close() })
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))

	actors := make([]*actor, runSessions)
	acts := make([][]int, runSessions)
	for i := range actors {
		actors[i] = &actor{life: &life{run: r}, rnd: rand.New(rand.NewPCG(seed, uint64(i+1)))}
		actors[i].enter("u"+strconv.Itoa(i%runUsers), anyClaims(rnd))
		for range runActs {
			acts[i] = append(acts[i], rnd.IntN(runMessages))
		}
		slices.Sort(acts[i])
		for _, at := range acts[i] {
			r.due[at]++
		}
	}
	for n := range runMessages {
		r.due[n+1] += r.due[n]
	}
	var all sync.WaitGroup
	for i, a := range actors {
		all.Go(func() { a.play(acts[i]) })
	}
	r.publisher(rnd)
	all.Wait()
	r.judge(actors)
}

// play does an act as soon as so many messages have been published.
func (a *actor) play(acts []int) {
	done := 0
	report := func(n int) {
		a.mu.Lock()
		a.done += n
		done += n
		a.progress.Broadcast()
		a.mu.Unlock()
	}
	defer func() { report(len(acts) - done) }() // also when it fails in the middle
	for _, at := range acts {
		a.mu.Lock()
		for a.acked.Load() < int64(at) && !a.t.Failed() {
			a.progress.Wait()
		}
		a.mu.Unlock()
		a.act()
		report(1)
	}
}

// judge compares what was heard with what had to be.
func (r *run) judge(actors []*actor) {
	musts, lives := 0, 0
	for _, a := range actors {
		if r.t.Failed() {
			return
		}
		a.catchUp()
		for _, l := range a.lives {
			lives++
			l.s.mu.Lock()
			for _, fault := range l.faults {
				r.t.Errorf("%s heard %s", l.s.user, fault)
			}
			for _, in := range append(slices.Collect(maps.Values(l.open)), l.closed...) {
				for _, n := range r.within(in.channel, in.from, in.must) {
					musts++
					if !in.heard[n] {
						r.t.Errorf("%s did not hear %d on %s, joined at %d, up to %d", l.s.user, n, in.channel, in.from, in.must)
					}
				}
			}
			l.s.mu.Unlock()
		}
	}
	r.t.Logf("%d messages, %d lives, %d deliveries that had to be", r.acked.Load(), lives, musts)
	if musts < runMessages {
		r.t.Error("that proves little")
	}
}
