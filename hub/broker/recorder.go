package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// recorder makes plain PUBLISHes to channels with history durable: it hears them and
// runs the publish script for each. Of all replicas one records, the holder of a lease;
// the script records for nobody else. A second one stands by with what is not recorded
// yet (see backlog), and takes over when the lease runs out or is given up. The others
// look now and then whether one of the two is missing.
//
// Nothing is lost while one of the two goes on hearing, and nothing is recorded twice.
// Where neither did, `aldaba_recorder_gaps_total` counts.
//
// In a Redis Cluster the script cannot see the lease, which lives on another node:
// there plain PUBLISHes to channels with history are not recorded, and a log line at
// the start says so.
type recorder struct {
	*Broker
	recording, standing lease
	globs               []string // of plain names
	wide                bool     // this user may only subscribe to the whole prefix: filter here
	wake                chan struct{}

	leave    chan struct{} // closed: take no lease any more
	left     chan struct{} // closed when none is held any more
	sign     string        // a marker that asks the recorder for a sign of life
	looked   bool          // whether a lease is free
	follower string        // the standby's lease when it was last told how far it can count on this recorder

	mu      sync.Mutex
	role    role
	backlog *backlog // of a standby
	lives   bool     // the recorder has given its sign
	queue   []heard  // of a recorder
	bytes   int      // of queue
	ponged  time.Time
	failed  error  // of the link
	link    *link  // the last one
	count   string // names what seq counts: one queue, over as many leases as it lives
	seq     uint64 // of the last message that was recorded of it
	open    int    // messages at its front that may have been recorded: the answer was lost
	deaf    bool   // is to record what follows a time in which nobody may have listened
}

type role string

const (
	roleNone     role = "none"
	roleStandby  role = "standby"
	roleRecorder role = "recorder"
)

// maxRecords is how many messages one transaction records.
const maxRecords = 512

// heardBytes bounds what a recorder or a standby keeps in memory.
const heardBytes = 64 << 20

var (
	errFenced = errors.New("another replica records now")
	errLeft   = errors.New("handed over")
	errNoHeir = errors.New("the standby has left meanwhile")
)

func newRecorder(b *Broker) *recorder {
	id := rand.Text()
	r := &recorder{
		Broker: b,
		wake:   make(chan struct{}, 1), leave: make(chan struct{}), left: make(chan struct{}),
		recording: lease{client: b.client, key: b.own("recorder"), owner: id, ttl: b.timing.lease},
		standing:  lease{client: b.client, key: b.own("standby"), owner: id, ttl: b.timing.lease},
		globs:     b.globs(), role: roleNone, count: rand.Text(), sign: markerCut + rand.Text(),
	}
	return r
}

// run takes part until ctx ends, and hands over then.
func (r *recorder) run(ctx context.Context) {
	defer close(r.left)
	pause := backoff{timeRange: r.timing.backoff}
	for ctx.Err() == nil && !r.leaving() {
		err := r.serve(ctx)
		r.become(roleNone)
		switch {
		case err == nil, errors.Is(err, errLeft):
			pause.reset()
		default:
			r.log.Debug("recorder pauses", "redis", r.server, "error", describe(err))
			pause.wait(ctx)
		}
	}
	r.letGo(ctx)
}

// letGo gives up what is held, for somebody to take it at once.
func (r *recorder) letGo(ctx context.Context) {
	ctx, cancel := r.toTheEnd(ctx)
	defer cancel()
	for _, l := range []*lease{&r.recording, &r.standing} {
		l.release(ctx)
	}
	_ = r.client.Publish(ctx, r.own("handover"), "1").Err() // else the others look by themselves
}

// toTheEnd is for what is done even when ctx has ended, in the time of one command.
func (r *recorder) toTheEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), r.timing.command)
}

func (r *recorder) leaving() bool {
	select {
	case <-r.leave:
		return true
	default:
		return false
	}
}

// handOver has the recorder leave as soon as somebody can go on, and waits until it has
// or ctx ends.
func (r *recorder) handOver(ctx context.Context) {
	r.mu.Lock()
	if !r.leaving() {
		close(r.leave)
	}
	r.mu.Unlock()
	select {
	case <-r.left:
	case <-ctx.Done():
	}
}

// serve takes a lease if one is free, and fills the role until it ends.
func (r *recorder) serve(ctx context.Context) error {
	as, err := r.apply(ctx)
	if redis.IsPermissionError(err) {
		r.barred(err)
	}
	if err != nil {
		return err
	}
	if as == roleNone {
		r.idle(ctx, r.timing.vacancy.pick())
		return nil
	}
	l, err := r.listen(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	var beside sync.WaitGroup
	alive, cancel := context.WithCancel(ctx)
	beside.Go(func() { l.keepAlive(alive, r.timing.ping) })
	beside.Go(func() { r.receive(l) })
	defer beside.Wait()
	defer l.close()
	defer cancel()
	return r.work(ctx, l, as)
}

// apply returns the role for which a lease was free, or which is still held.
func (r *recorder) apply(ctx context.Context) (role, error) {
	if r.recording.value != "" {
		held, err := r.recording.renew(ctx)
		if err == nil && !held { // it ran out while Redis was away
			held, err = r.regain(ctx, &r.standing)
		}
		if held || err != nil {
			return roleRecorder, err
		}
		r.recording.release(ctx)
		r.become(roleNone)
	}
	if r.standing.value != "" {
		r.standing.release(ctx) // a standby that heard nothing meanwhile begins anew
	}
	vacant, err := r.isVacant(ctx)
	if err != nil {
		return roleNone, err
	}
	if vacant {
		// As long as a standby lives the recorder's place is for it: it alone has heard
		// what the former recorder left.
		taken, err := r.recording.take(ctx, &r.standing)
		if taken || err != nil {
			r.deaf = r.deaf || taken && !r.recording.first
			return roleRecorder, err
		}
	}
	if taken, err := r.standing.take(ctx); taken || err != nil {
		return roleStandby, err
	}
	return roleNone, nil
}

// isVacant reports whether nobody has either lease, and nobody comes for one: when Redis
// was away for longer than they last, those come at once who have listened. The first
// look of all finds nobody to wait for.
func (r *recorder) isVacant(ctx context.Context) (bool, error) {
	held, err := r.client.Exists(ctx, r.recording.key, r.standing.key).Result()
	first := !r.looked
	r.looked = true
	if held == 0 && !first && err == nil {
		select {
		case <-r.wake: // what a former link has left
		default:
		}
		r.idle(ctx, 2*r.timing.poll)
		held, err = r.client.Exists(ctx, r.recording.key, r.standing.key).Result()
	}
	return held == 0, err
}

// idle waits for d, or less if something happens.
func (r *recorder) idle(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-r.leave:
	case <-r.wake:
	case <-t.C:
	}
}

// become changes the role, and logs that. What was heard before is the recorder's to
// record; without the lease, whatever the link brought until it ended is another's.
func (r *recorder) become(as role) {
	r.mu.Lock()
	was := r.role
	r.role = as
	switch {
	case as == roleRecorder && was != as:
		r.enqueue(r.backlog.drain(0))
	case as == roleNone && r.recording.value == "":
		r.forget()
	}
	r.mu.Unlock()
	if was == as {
		return
	}
	r.metrics.recorder.Set(oneIf(as == roleRecorder))
	r.metrics.standby.Set(0) // until it is exact
	r.log.Info("plain publishes to channels with history", "role", string(as), "before", string(was))
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// gap counts that messages may have been published which nobody heard.
func (r *recorder) gap(why string) {
	r.metrics.recorderGaps.Inc()
	r.log.Warn("plain publishes to channels with history may have been missed", "why", why, "redis", r.server)
}

// HandOver ends this replica's part in recording plain PUBLISHes: what it has heard is
// recorded, and the standby goes on at once. A recorder whose standby cannot go on yet
// waits for it, seconds at most. It returns when that is done, or ctx ends.
func (b *Broker) HandOver(ctx context.Context) {
	b.mu.Lock()
	r := b.recorder
	b.mu.Unlock()
	if r != nil {
		r.handOver(ctx)
	}
}

// recorderFor returns the recorder of one Run, or nil if there is nothing to record.
func (b *Broker) recorderFor() *recorder {
	if b.noRecorder || len(b.histories.Kept()) == 0 {
		return nil
	}
	if _, many := b.client.(*redis.ClusterClient); many {
		b.log.Warn("in a redis cluster plain publishes to channels with history reach nobody: publish them with aldaba_publish, or by HTTP")
		return nil
	}
	r := newRecorder(b)
	b.mu.Lock()
	b.recorder = r
	b.mu.Unlock()
	return r
}
