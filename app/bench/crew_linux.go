package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os/exec"
	"sync/atomic"

	"aldaba/app/bench/crowd"
)

// crew is the load generators, which share the users among themselves.
type crew struct {
	stage  *stage
	crowds []*generator
	users  int
}

type generator struct {
	process *process
	orders  *json.Encoder
	events  chan crowd.Event // closed when the process has ended
	heard   atomic.Int64     // in the last second of a load
	first   int
	users   int
}

// hire starts as many generators as users need, whose numbers begin with base: each may
// open so many files.
func hire(ctx context.Context, s *stage, base, users, files int) (*crew, error) {
	c := &crew{stage: s, users: users}
	rooms := (users + crowd.RoomSize - 1) / crowd.RoomSize // a room stays with one of them
	most := max(1, (files-200)/crowd.RoomSize)
	n := (rooms + most - 1) / most
	for i := range n {
		first := i * rooms / n * crowd.RoomSize
		g, err := s.generator(ctx, base+first, min((i+1)*rooms/n*crowd.RoomSize, users)-first)
		if err != nil {
			return nil, err
		}
		c.crowds = append(c.crowds, g)
	}
	return c, nil
}

func (s *stage) generator(ctx context.Context, first, users int) (*generator, error) {
	cmd := exec.CommandContext(ctx, s.options.Executable, "bench-crowd") //nolint:gosec // this very program
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	read, write := io.Pipe()
	cmd.Stdout = write
	p, err := start("the load generator", s.others, cmd)
	if err != nil {
		return nil, err
	}
	s.all = append(s.all, p)
	g := &generator{process: p, orders: json.NewEncoder(in), events: make(chan crowd.Event, 16), first: first, users: users}
	go func() {
		<-p.exited
		_ = write.Close()
	}()
	go func() {
		defer close(g.events)
		d := json.NewDecoder(read)
		for {
			var e crowd.Event
			if d.Decode(&e) != nil {
				return
			}
			if e.Progress == nil {
				g.events <- e
				continue
			}
			g.heard.Store(int64(e.Progress.Heard))
			select {
			case g.events <- e:
			default: // nobody looks at this one's
			}
		}
	}()
	return g, nil
}

// next waits for the next event.
func (g *generator) next(ctx context.Context) (crowd.Event, error) {
	select {
	case <-ctx.Done():
		return crowd.Event{}, ctx.Err()
	case e, ok := <-g.events:
		switch {
		case !ok:
			return e, g.process.end()
		case e.Failed != "":
			return e, errors.New(e.Failed)
		}
		return e, nil
	}
}

// connect has all users connect as o says, and returns the sum.
func (c *crew) connect(ctx context.Context, o crowd.Connect) (sum crowd.Connected, err error) {
	o.Issuer = c.stage.issuer()
	o.Address = cmp.Or(c.stage.address, hostOf(o.URL))
	if a, err := netip.ParseAddrPort(o.Address); err == nil {
		o.Loopback = a.Addr().IsLoopback()
	}
	for _, g := range c.crowds {
		o.First, o.Users = g.first, g.users
		if err := g.orders.Encode(crowd.Order{Connect: &o}); err != nil {
			return sum, err
		}
	}
	sum.Faults = make(map[string]int)
	for _, g := range c.crowds {
		e, err := g.next(ctx)
		if err != nil {
			return sum, err
		}
		sum.Pages += e.Connected.Pages
		sum.Took = max(sum.Took, e.Connected.Took)
		add(sum.Faults, e.Connected.Faults)
	}
	return sum, nil
}

func (c *crew) drop(ctx context.Context) error {
	for _, g := range c.crowds {
		if err := g.orders.Encode(crowd.Order{Drop: &crowd.Drop{}}); err != nil {
			return err
		}
		if _, err := g.next(ctx); err != nil {
			return err
		}
	}
	return nil
}

// watcher is told how a load goes on.
type watcher struct {
	began, ended func() error
	progress     func(heard int)
}

// load has all carry o and returns the sum. Private messages are shared among the
// generators; a room has one that publishes, the one whose pages have joined last: it
// is the last to hear. It is told when the others listen.
func (c *crew) load(ctx context.Context, o crowd.Load, w watcher) (sum loaded, err error) {
	o.Redis = c.stage.redis
	last := len(c.crowds) - 1
	share := float64(len(c.crowds))
	o.Churn /= share
	if o.Kind != crowd.Room {
		o.Rate /= share
		o.Window = max(1, o.Window/len(c.crowds))
	}
	o.Joint = o.Kind == crowd.Room && last > 0
	for i, g := range c.crowds {
		o.Silent = o.Joint && i != last
		if err := g.orders.Encode(crowd.Order{Load: &o}); err != nil {
			return sum, err
		}
		if !o.Silent {
			continue
		}
		if _, err := g.next(ctx); err != nil {
			return sum, err
		}
	}
	sum.faults = make(map[string]int)
	sum.latency = crowd.NewHistogram()
	for i, g := range c.crowds {
		if err := c.follow(ctx, g, &sum, w, i == 0); err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// heard is how many deliveries all have had in the last second.
func (c *crew) heard() (n int) {
	for _, g := range c.crowds {
		n += int(g.heard.Load())
	}
	return n
}

// follow takes g's events until its load is over. Those that come of all generators
// at the same time count from the first.
func (c *crew) follow(ctx context.Context, g *generator, sum *loaded, w watcher, first bool) error {
	for {
		e, err := g.next(ctx)
		if err != nil {
			return err
		}
		switch {
		case e.Began && first:
			err = w.began()
		case e.Ended && first:
			err = w.ended()
		case e.Progress != nil && first:
			w.progress(c.heard())
		case e.Loaded != nil:
			return sum.add(*e.Loaded)
		}
		if err != nil {
			return err
		}
	}
}
