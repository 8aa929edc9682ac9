package bench

import (
	"cmp"
	"slices"
	"time"

	"aldaba/app/bench/crowd"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what one scenario came to: of several runs the median of each figure. A
// figure that was not measured is zero and left out.
type Result struct {
	Hub      string  `json:"hub"` // aldaba, naive, or a URL
	Scenario string  `json:"scenario"`
	Sessions int     `json:"sessions"`
	Runs     int     `json:"runs"`
	Size     int     `json:"message_bytes,omitempty"`
	Rate     float64 `json:"rate_per_second,omitempty"` // asked for; 0: as fast as it holds
	Burst    int     `json:"burst,omitempty"`

	Published  float64 `json:"published_per_second,omitempty"`
	Deliveries float64 `json:"deliveries_per_second,omitempty"`
	CPU        float64 `json:"cpu_us_per_delivery,omitempty"`
	Cores      float64 `json:"cpu_cores,omitempty"` // that the hub used
	P50        float64 `json:"p50_ms,omitempty"`
	P99        float64 `json:"p99_ms,omitempty"`
	Max        float64 `json:"max_ms,omitempty"`
	Late       float64 `json:"generator_late_p99_ms,omitempty"` // the machine's part of the latency
	Connects   float64 `json:"connects_per_second,omitempty"`
	ConnectCPU float64 `json:"cpu_us_per_connect,omitempty"`
	Memory     float64 `json:"kib_per_session,omitempty"` // resident
	Resumed    float64 `json:"resumed_seconds,omitempty"` // until all had what they missed
	Returned   float64 `json:"reconnects,omitempty"`      // with churn

	Lost    int            `json:"lost"` // deliveries that never came
	Faults  map[string]int `json:"faults,omitempty"`
	Samples []Sample       `json:"samples,omitempty"` // of a long load
}

// Sample is the hub's state at one moment of a load.
type Sample struct {
	Seconds    float64 `json:"seconds"`
	Memory     float64 `json:"rss_mib"`
	Goroutines int     `json:"goroutines,omitempty"` // 0: unknown
	Files      int     `json:"open_files,omitempty"` // 0: unknown
}

// loaded is the sum of the crowds' answers to one load.
type loaded struct {
	published, heard, lost, returned int
	latency                          *hdrhistogram.Histogram
	late                             time.Duration
	faults                           map[string]int
}

func (l *loaded) add(one crowd.Loaded) error {
	l.published += one.Published
	l.heard += one.Heard
	l.lost += one.Lost
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
	m.Lost, m.Faults = 0, make(map[string]int)
	for i := range m.figures() {
		values := make([]float64, len(runs))
		for n := range runs {
			values[n] = *runs[n].figures()[i]
		}
		*m.figures()[i] = middle(values)
	}
	for _, r := range runs {
		m.Lost += r.Lost
		add(m.Faults, r.Faults)
	}
	return m
}

func middle(values []float64) float64 {
	slices.SortFunc(values, cmp.Compare)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
