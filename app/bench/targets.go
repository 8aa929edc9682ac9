package bench

import (
	"context"
	"fmt"
	"time"
)

// Row is one figure that the hub is held to.
type Row struct {
	Name   string  `json:"name"`
	Unit   string  `json:"unit"`
	Target float64 `json:"target"`
	Most   bool    `json:"at_most"` // the figure is to be at most Target; else at least
	Figure float64 `json:"figure"`
	Met    bool    `json:"met"`
	Error  string  `json:"error,omitempty"` // why there is no figure

	figure func(of []Result) float64
	of     []change
}

// change makes the options of a measurement from those that all have in common.
type change func(*Options)

// table is what a hub is held to, on one core and with 10,000 sessions unless the row
// says otherwise.
func table() []Row {
	const most, least = true, false
	one := func(f func(*Result) float64) func([]Result) float64 {
		return func(of []Result) float64 { return f(&of[0]) }
	}
	deliveries := one(func(r *Result) float64 { return r.Deliveries })
	cpu := one(func(r *Result) float64 { return r.CPU })
	p99 := one(func(r *Result) float64 { return r.P99 })
	memory := one(func(r *Result) float64 { return r.Memory })
	connects := one(func(r *Result) float64 { return r.Connects })
	resumed := one(func(r *Result) float64 { return r.Resumed })
	growth := func(of []Result) float64 { return of[0].CPU / of[1].CPU }

	in := func(scenario string, more ...change) change {
		return func(o *Options) {
			o.Scenario = scenario
			for _, m := range more {
				m(o)
			}
		}
	}
	burst := func(o *Options) { o.Burst = 8 }
	few := func(o *Options) { o.Sessions, o.Window = 100, 100 }
	steady := func(o *Options) { o.Rate = 1000 }
	durable := func(o *Options) { o.Durable = true }
	longer := func(o *Options) { o.For = 10 * time.Second }
	settled := func(o *Options) { o.Warm = 10 * time.Second } // the connects' garbage is gone

	rows := []Row{
		{Name: "resident memory of an idle session", Unit: "KiB", Target: 10, Most: most, figure: memory, of: []change{in("idle")}},
		{Name: "deliveries in one room", Unit: "/s", Target: 100_000, Most: least, figure: deliveries, of: []change{in("room")}},
		{Name: "CPU of a delivery there", Unit: "µs", Target: 9.8, Most: most, figure: cpu, of: []change{in("room")}},
		{Name: "deliveries in one room, 8 messages at once", Unit: "/s", Target: 300_000, Most: least, figure: deliveries, of: []change{in("room", burst)}},
		{Name: "CPU of a delivery there", Unit: "µs", Target: 3, Most: most, figure: cpu, of: []change{in("room", burst)}},
		{Name: "private messages", Unit: "/s", Target: 75_000, Most: least, figure: deliveries, of: []change{in("private")}},
		{Name: "CPU of a private message", Unit: "µs", Target: 13, Most: most, figure: cpu, of: []change{in("private")}},
		{Name: "growth of that cost from 100 sessions", Unit: "×", Target: 2.2, Most: most, figure: growth, of: []change{in("private"), in("private", few)}},
		{Name: "p99 at 1,000 private messages/s", Unit: "ms", Target: 1.8, Most: most, figure: p99, of: []change{in("private", steady, settled)}},
		{Name: "authenticated connects", Unit: "/s", Target: 11_000, Most: least, figure: connects, of: []change{in("connect")}},
		{Name: "recorded private messages", Unit: "/s", Target: 40_000, Most: least, figure: deliveries, of: []change{in("private", durable)}},
		{Name: "sessions of a killed replica have what they missed", Unit: "s", Target: 5, Most: most, figure: resumed, of: []change{in("resume")}},
		{Name: "p99 of others while 10,000 tokens expire", Unit: "ms", Target: 50, Most: most, figure: p99, of: []change{in("expire", steady, longer)}},
	}
	return rows
}

// Table measures all rows, those of the same measurement at once. A row that cannot be
// measured says so and keeps no other back; those that ctx's end left unmeasured are not
// returned.
func Table(ctx context.Context, o Options) []Row { return tabulate(ctx, o, table(), Run) }

func tabulate(ctx context.Context, o Options, rows []Row, run func(context.Context, Options) (Result, error)) []Row {
	known := make(map[string]outcome)
	for i := range rows {
		var of []outcome
		for _, change := range rows[i].of {
			one := o
			change(&one)
			key := fmt.Sprint(one.Scenario, one.Sessions, one.Rate, one.Burst, one.Durable)
			if _, ok := known[key]; !ok {
				known[key] = try(ctx, one, run)
			}
			of = append(of, known[key])
		}
		if ctx.Err() != nil {
			return rows[:i]
		}
		rows[i].fill(of)
	}
	return rows
}

// outcome is a measurement that went well, or why it did not.
type outcome struct {
	Result
	err error
}

func try(ctx context.Context, o Options, run func(context.Context, Options) (Result, error)) outcome {
	r, err := run(ctx, o)
	if err == nil {
		err = r.Failure()
	}
	return outcome{r, err}
}

// fill notes what the measurements of r came to.
func (r *Row) fill(of []outcome) {
	results := make([]Result, len(of))
	for i := range of {
		if of[i].err != nil {
			r.Error = of[i].err.Error()
			return
		}
		results[i] = of[i].Result
	}
	r.Figure = r.figure(results)
	r.Met = r.Figure >= r.Target
	if r.Most {
		r.Met = r.Figure <= r.Target
	}
}
