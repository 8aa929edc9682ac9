package bench

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"aldaba/app/bench/crowd"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what one scenario came to: of several runs the median of each figure. A
// figure that was not measured is zero and left out.
type Result struct {
	Hub      string  `json:"hub"` // aldaba, naive, floor, or a URL
	Scenario string  `json:"scenario"`
	Sessions int     `json:"sessions"`
	Runs     int     `json:"runs"`
	Size     int     `json:"message_bytes,omitempty"`
	Rate     float64 `json:"rate_per_second,omitempty"` // asked for; 0: as fast as it holds
	NotHeld  bool    `json:"rate_not_held,omitempty"`   // in one run less came in the time than was due in it: see held
	Burst    int     `json:"burst,omitempty"`

	Published  float64 `json:"published_per_second,omitempty"`  // that were due while it was measured
	Deliveries float64 `json:"deliveries_per_second,omitempty"` // that came while it was measured
	CPU        float64 `json:"cpu_us_per_delivery,omitempty"`   // of those
	Cores      float64 `json:"cpu_cores,omitempty"`             // that the hub used

	// Latency counts from when a message was due, of all that were due while it was measured;
	// of expire those that were due in the second in which the tokens end.
	P50 float64 `json:"p50_ms,omitempty"`
	P99 float64 `json:"p99_ms,omitempty"`
	Max float64 `json:"max_ms,omitempty"`

	// Late is how long after its time the generator published 99 of 100 messages, with a
	// rate. The machine's part is in it, and so are the generator's own work and its timer,
	// which looks at the clock every 200 µs at best. All of it is part of the latency.
	Late float64 `json:"generator_late_p99_ms,omitempty"`

	Connects   float64 `json:"connects_per_second,omitempty"`
	ConnectCPU float64 `json:"cpu_us_per_connect,omitempty"`
	Memory     float64 `json:"kib_per_session,omitempty"` // resident
	Resumed    float64 `json:"resumed_seconds,omitempty"` // until all had what they missed
	Returned   float64 `json:"reconnects,omitempty"`      // with churn

	Lost   int            `json:"lost"` // deliveries that never came
	Faults map[string]int `json:"faults,omitempty"`

	// A session knows of each delivery whether it is the next of its channel, but for the
	// first after it has come back on a new connection to a channel that is not recorded.
	// What it has missed until then is no loss, and is not known.
	Checked   int `json:"deliveries_checked,omitempty"`
	Unchecked int `json:"deliveries_not_checked,omitempty"`

	Samples []Sample `json:"samples,omitempty"` // of a long load
}

// Failure says what went wrong, so that r's figures are not to be used; nil if nothing
// did. That a rate was not held is no failure.
func (r *Result) Failure() error {
	var said []string
	if r.Lost > 0 {
		said = append(said, fmt.Sprintf("%d deliveries never came", r.Lost))
	}
	if len(r.Faults) > 0 {
		said = append(said, crowd.Faults(r.Faults))
	}
	if said == nil {
		return nil
	}
	return fmt.Errorf("%s: %s", describe(*r), strings.Join(said, "; "))
}

// held reports whether at least 98 of 100 deliveries that were due in some time came in
// it. What is under way at its begin makes up for what is at its end.
func held(arrived, due int) bool { return float64(arrived) >= 0.98*float64(due) }

// Sample is the hub's state at one moment of a load.
type Sample struct {
	Seconds    float64 `json:"seconds"`
	Memory     float64 `json:"rss_mib"`
	Goroutines int     `json:"goroutines,omitempty"` // 0: unknown
	Files      int     `json:"open_files,omitempty"` // 0: unknown
}

// loaded is the sum of the crowds' answers to one load.
type loaded struct {
	published, due, arrived, lost int
	checked, unchecked, returned  int
	latency                       *hdrhistogram.Histogram
	late                          time.Duration
	faults                        map[string]int
}

func (l *loaded) add(one crowd.Loaded) error {
	l.published += one.Published
	l.due += one.Due
	l.arrived += one.Arrived
	l.lost += one.Lost
	l.checked += one.Checked
	l.unchecked += one.Unchecked
	l.returned += one.Returned
	l.late = max(l.late, one.Late)
	add(l.faults, one.Faults)
	h, err := hdrhistogram.Decode(one.Latency)
	if err != nil {
		return err
	}
	l.latency.Merge(h)
	return nil
}

func add(sum, faults map[string]int) {
	for kind, n := range faults {
		sum[kind] += n
	}
}

// latencies notes the percentiles of h.
func (r *Result) latencies(h *hdrhistogram.Histogram) {
	if h.TotalCount() == 0 {
		return
	}
	ms := func(ns int64) float64 { return float64(ns) / float64(time.Millisecond) }
	r.P50, r.P99, r.Max = ms(h.ValueAtQuantile(50)), ms(h.ValueAtQuantile(99)), ms(h.Max())
}

// figures are what medians are taken of.
func (r *Result) figures() []*float64 {
	return []*float64{
		&r.Published, &r.Deliveries, &r.CPU, &r.Cores, &r.P50, &r.P99, &r.Max, &r.Late,
		&r.Connects, &r.ConnectCPU, &r.Memory, &r.Resumed, &r.Returned,
	}
}

// median returns the runs' medians, figure by figure. What went wrong in any of them
// is added up.
func median(runs []Result) Result {
	m := runs[0]
	m.Runs = len(runs)
	m.NotHeld, m.Lost, m.Checked, m.Unchecked, m.Faults = false, 0, 0, 0, make(map[string]int)
	for i := range m.figures() {
		values := make([]float64, len(runs))
		for n := range runs {
			values[n] = *runs[n].figures()[i]
		}
		*m.figures()[i] = middle(values)
	}
	for _, r := range runs {
		m.NotHeld = m.NotHeld || r.NotHeld
		m.Lost += r.Lost
		m.Checked += r.Checked
		m.Unchecked += r.Unchecked
		add(m.Faults, r.Faults)
	}
	return m
}

func middle(values []float64) float64 {
	slices.SortFunc(values, cmp.Compare)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
