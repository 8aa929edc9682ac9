package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"aldaba/app/bench/crowd"
)

// Run measures what o asks for and returns the medians.
func Run(ctx context.Context, o Options) (Result, error) {
	if err := o.Check(); err != nil {
		return Result{}, err
	}
	files, err := raiseFiles()
	if err != nil {
		return Result{}, err
	}
	o.Runs = o.runs()
	var runs []Result
	for i := range o.Runs {
		r, err := runOnce(ctx, &o, files, fmt.Sprintf("%s, run %d of %d", o.name(), i+1, o.Runs))
		if err != nil {
			return Result{}, fmt.Errorf("%s: %w", o.name(), cmp.Or(ctx.Err(), err))
		}
		runs = append(runs, r)
	}
	return median(runs), nil
}

// runs is how many runs there are. The memory of an idle session is measured once only at
// a hub that runs already: what the first run leaves in its heap would serve the second.
func (o *Options) runs() int {
	if o.Scenario == "idle" && !o.own() {
		return 1
	}
	return o.Runs
}

func (o *Options) name() string {
	return strings.TrimSpace(o.Peer + " " + o.Scenario)
}

// run is one measurement under way.
type run struct {
	*stage
	crew   *crew
	hub    *replica
	title  string
	told   time.Time // when it was last said how far it is
	result Result
}

func runOnce(ctx context.Context, o *Options, files int, title string) (Result, error) {
	hubs := 1
	if o.Scenario == "resume" {
		hubs = 2 // one that dies, and one to come back to
	}
	s, err := setStage(ctx, o, hubs)
	defer s.strike()
	if err != nil {
		return Result{}, err
	}
	r := &run{stage: s, hub: s.hubs[0], title: title, told: time.Now(), result: Result{
		Hub: "aldaba", Scenario: o.Scenario, Sessions: o.Sessions, Runs: 1, Faults: make(map[string]int),
	}}
	switch {
	case o.Peer != "":
		r.result.Hub = o.Peer
	case !o.own():
		r.result.Hub = o.URL
	}
	if !o.Live {
		fmt.Fprintln(o.Progress, title)
	}
	if r.crew, err = hire(ctx, s, 0, o.Sessions, files); err != nil {
		return Result{}, err
	}
	defer r.tell("")
	return r.result, r.hub.explain(r.measure(ctx))
}

func (r *run) measure(ctx context.Context) error {
	switch r.options.Scenario {
	case "idle":
		return r.idle(ctx)
	case "connect":
		return r.connect(ctx, crowd.Connect{})
	case "resume":
		return r.resume(ctx)
	case "expire":
		return r.expire(ctx)
	}
	kind := map[string]crowd.Kind{"room": crowd.Room, "private": crowd.Private, "mixed": crowd.Mixed}[r.options.Scenario]
	private, room := r.channels()
	o := crowd.Connect{Small: kind == crowd.Mixed}
	if r.options.Durable {
		o.Log, o.Resume = private, true
	}
	channel := private
	if kind == crowd.Room {
		const all = "bench"
		o.Rooms, channel = []string{all}, strings.Replace(room, "{rooms}", all, 1)
	}
	if err := r.connect(ctx, o); err != nil {
		return err
	}
	return r.load(ctx, r.loadOf(kind, channel))
}

// tell shows how far it is: at once on a terminal, else once a minute.
func (r *run) tell(format string, args ...any) {
	const eraseLine = "\r\x1b[K"
	switch {
	case r.options.Live && format == "":
		fmt.Fprint(r.options.Progress, eraseLine)
	case r.options.Live:
		fmt.Fprintf(r.options.Progress, eraseLine+r.title+": "+format, args...)
	case format != "" && time.Since(r.told) >= time.Minute:
		r.told = time.Now()
		fmt.Fprintf(r.options.Progress, r.title+": "+format+"\n", args...)
	}
}

// connect connects everybody and notes how fast.
func (r *run) connect(ctx context.Context, o crowd.Connect) error {
	r.tell("connecting %d sessions", r.options.Sessions)
	o.URL, o.AtOnce, o.Expires = r.hub.url, 256, time.Now().Add(r.options.Warm+r.options.For+2*time.Hour)
	m := &meter{replica: r.hub}
	if err := m.begin(); err != nil {
		return err
	}
	c, err := r.crew.connect(ctx, o)
	if err := errors.Join(err, m.end()); err != nil {
		return err
	}
	r.result.Connects = float64(c.Pages) / c.Took.Seconds()
	r.result.ConnectCPU = m.each(c.Pages)
	add(r.result.Faults, c.Faults)
	return nil
}

// idle notes what a session costs when nothing happens.
func (r *run) idle(ctx context.Context) error {
	before, err := usageOf(r.hub.pid)
	if err != nil {
		return err
	}
	if err := r.connect(ctx, crowd.Connect{}); err != nil {
		return err
	}
	l, err := r.crew.load(ctx, crowd.Load{Kind: crowd.Idle, For: r.options.For}, r.watch(nil, nil))
	if err != nil {
		return err
	}
	add(r.result.Faults, l.faults)
	after, err := usageOf(r.hub.pid)
	r.result.Memory = float64(after.rss-before.rss) / float64(r.options.Sessions) / 1024
	return err
}

func (r *run) watch(began, ended func() error) watcher {
	nothing := func() error { return nil }
	w := watcher{began: nothing, ended: nothing, progress: func(int) {}} // nothing is delivered, or another load tells
	if began != nil {
		w.began = began
	}
	if ended != nil {
		w.ended = ended
	}
	return w
}

// loadOf is the load that the options ask for.
func (r *run) loadOf(kind crowd.Kind, channel string) crowd.Load {
	o := r.options
	_, room := r.channels()
	window := o.Window
	if kind == crowd.Room {
		window = o.Burst
	}
	return crowd.Load{
		Kind: kind, Channel: channel, Room: room, Durable: o.Durable, Rate: o.Rate, Window: window, Size: o.Size,
		Warm: o.Warm, For: o.For, Churn: o.Churn * float64(o.Sessions) / time.Minute.Seconds(),
	}
}

// load carries o and notes what it cost and how long it took.
func (r *run) load(ctx context.Context, o crowd.Load) error {
	r.result.Rate, r.result.Size = o.Rate, o.Size
	if o.Kind == crowd.Room {
		r.result.Burst = o.Window
	}
	m := &meter{replica: r.hub}
	if o.For > time.Minute {
		m.every = o.For / 60
	}
	l, err := r.crew.load(ctx, o, watcher{
		began: m.begin, ended: m.end,
		progress: func(heard int) {
			r.tell("%d deliveries a second", heard)
			m.sample(ctx)
		},
	})
	if err != nil {
		return err
	}
	r.note(l)
	m.note(&r.result, l.arrived)
	return nil
}

func (r *run) note(l loaded) {
	seconds := r.options.For.Seconds()
	r.result.Published = float64(l.published) / seconds
	r.result.Deliveries = float64(l.arrived) / seconds
	r.result.NotHeld = r.result.Rate > 0 && !held(l.arrived, l.due)
	r.result.Lost += l.lost
	r.result.Checked, r.result.Unchecked = l.checked, l.unchecked
	r.result.latencies(l.latency)
	r.result.Late = float64(l.late) / float64(time.Millisecond)
	r.result.Returned = float64(l.returned)
	add(r.result.Faults, l.faults)
}

// resume kills the hub, publishes one message to each session meanwhile, and notes how
// long it takes until all have it from another replica.
func (r *run) resume(ctx context.Context) error {
	if err := r.connect(ctx, crowd.Connect{Log: recorded, Resume: true}); err != nil {
		return err
	}
	r.tell("killing the hub")
	began := time.Now()
	r.hub.process.kill()
	r.hub = r.hubs[1]
	if err := r.crew.drop(ctx); err != nil {
		return err
	}
	o := crowd.Load{Kind: crowd.Each, Channel: recorded, Durable: true, Size: r.options.Size, For: time.Millisecond}
	l, err := r.crew.load(ctx, o, r.watch(nil, nil))
	if err != nil {
		return err
	}
	add(r.result.Faults, l.faults)
	connects, cpu := r.result.Connects, r.result.ConnectCPU
	err = r.connect(ctx, crowd.Connect{Log: recorded, Resume: true, Await: 1})
	r.result.Resumed = time.Since(began).Seconds()
	r.result.Connects, r.result.ConnectCPU = connects, cpu
	return err
}

// expire lets the tokens of all sessions end in one second while a tenth as many others
// hear private messages, and notes how long those take that are due in that second.
func (r *run) expire(ctx context.Context) error {
	staying, err := hire(ctx, r.stage, r.options.Sessions+crowd.RoomSize, max(1, r.options.Sessions/10), math.MaxInt32)
	if err != nil {
		return err
	}
	leaving := r.crew
	r.crew = staying
	if err := r.connect(ctx, crowd.Connect{}); err != nil {
		return err
	}
	private, _ := r.channels()
	load := r.loadOf(crowd.Private, private)
	connecting := time.Duration(float64(r.options.Sessions) / r.result.Connects * float64(time.Second))
	load.Focus = endOfTokens(time.Now(), connecting, &load)
	c, err := leaving.connect(ctx, crowd.Connect{URL: r.hub.url, AtOnce: 256, Expires: load.Focus})
	if err != nil {
		return err
	}
	add(r.result.Faults, c.Faults)
	if load.Warm, err = warmUntil(&load, time.Now()); err != nil {
		return err
	}
	ended := make(chan error, 1)
	var cut map[string]int
	go func() {
		l, err := leaving.load(ctx, crowd.Load{Kind: crowd.Idle, For: time.Until(load.Focus.Add(2 * time.Second))}, r.watch(nil, nil))
		cut = l.faults
		ended <- err
	}()
	if err := errors.Join(r.load(ctx, load), <-ended); err != nil {
		return err
	}
	return r.noteCut(cut)
}

// endOfTokens is when tokens are to end, in whole seconds: three seconds and twice as long
// from now as connecting is likely to take, and then as late in the load l as warmUntil
// wants it.
func endOfTokens(now time.Time, connecting time.Duration, l *crowd.Load) time.Time {
	return now.Add(2*connecting + 3*time.Second + l.Warm + beforeEnd(l)).Truncate(time.Second).Add(time.Second)
}

// beforeEnd is how long l is measured before the tokens end; as long as after the second
// in which they do.
func beforeEnd(l *crowd.Load) time.Duration { return (l.For - time.Second) / 2 }

// warmUntil returns how long l has to run before it is measured, if it begins now, for
// its focus to lie in the middle.
func warmUntil(l *crowd.Load, now time.Time) (time.Duration, error) {
	warm := l.Focus.Add(-beforeEnd(l)).Sub(now)
	if warm < l.Warm {
		return 0, fmt.Errorf("the tokens end in %s: connecting took too long for a load around that",
			l.Focus.Sub(now).Round(time.Millisecond))
	}
	return warm, nil
}

// noteCut wants all sessions to have been cut for the end of their tokens, and notes
// whatever else went wrong with them.
func (r *run) noteCut(faults map[string]int) error {
	const expired = "closed with 4401"
	if n := faults[expired]; n != r.options.Sessions {
		return fmt.Errorf("%d of %d sessions were cut when their tokens ended; %s", n, r.options.Sessions, crowd.Faults(faults))
	}
	delete(faults, expired)
	add(r.result.Faults, faults)
	return nil
}
