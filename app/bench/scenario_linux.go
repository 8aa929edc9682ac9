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

func (o *Options) name() string {
	if o.Naive {
		return "naive " + o.Scenario
	}
	return o.Scenario
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
	case o.Naive:
		r.result.Hub = "naive"
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
	return r.load(ctx, kind, channel)
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
	if _, err := r.crew.load(ctx, crowd.Load{Kind: crowd.Idle, For: r.options.For}, r.watch(nil, nil)); err != nil {
		return err
	}
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

// load publishes to channel and notes what it cost and how long it took.
func (r *run) load(ctx context.Context, kind crowd.Kind, channel string) error {
	o := r.options
	r.result.Rate, r.result.Size, r.result.Burst = o.Rate, o.Size, 0
	_, room := r.channels()
	window := o.Window
	if kind == crowd.Room {
		window, r.result.Burst = o.Burst, o.Burst
	}
	m := &meter{replica: r.hub}
	if o.For > time.Minute {
		m.every = o.For / 60
	}
	l, err := r.crew.load(ctx, crowd.Load{
		Kind: kind, Channel: channel, Room: room, Durable: o.Durable, Rate: o.Rate, Window: window, Size: o.Size,
		Warm: o.Warm, For: o.For, Churn: o.Churn * float64(o.Sessions) / time.Minute.Seconds(),
	}, watcher{
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
	m.note(&r.result, l.heard)
	return nil
}

func (r *run) note(l loaded) {
	seconds := r.options.For.Seconds()
	r.result.Published = float64(l.published) / seconds
	r.result.Deliveries = float64(l.heard) / seconds
	r.result.Lost += max(0, l.lost)
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
	if _, err := r.crew.load(ctx, o, r.watch(nil, nil)); err != nil {
		return err
	}
	connects, cpu := r.result.Connects, r.result.ConnectCPU
	err := r.connect(ctx, crowd.Connect{Log: recorded, Resume: true, Await: 1})
	r.result.Resumed = time.Since(began).Seconds()
	r.result.Connects, r.result.ConnectCPU = connects, cpu
	return err
}

// expire lets the tokens of all sessions end in one second while a tenth as many others
// hear private messages, and notes how long these take.
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
	ends := time.Now().Add(r.options.Warm + r.options.For/2 + 4*time.Second).Truncate(time.Second)
	if _, err := leaving.connect(ctx, crowd.Connect{URL: r.hub.url, AtOnce: 256, Expires: ends}); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		l, err := leaving.load(ctx, crowd.Load{Kind: crowd.Idle, For: time.Until(ends.Add(2 * time.Second))}, r.watch(nil, nil))
		if n := l.faults["closed with 4401"]; err == nil && n != r.options.Sessions {
			err = fmt.Errorf("%d of %d sessions were cut when their tokens ended; %s", n, r.options.Sessions, crowd.Faults(l.faults))
		}
		ended <- err
	}()
	private, _ := r.channels()
	return errors.Join(r.load(ctx, crowd.Private, private), <-ended)
}
