package bench

import (
	"context"
	"time"
)

// meter measures a hub's process while a load is on.
type meter struct {
	*replica
	every time.Duration // between two samples, which disturb the hub; 0: none

	began         time.Time
	before, after usage
	took          time.Duration
	last          time.Time
	samples       []Sample
}

func (m *meter) begin() (err error) {
	m.began = time.Now()
	if m.pid != 0 {
		m.before, err = usageOf(m.pid)
	}
	return err
}

func (m *meter) end() (err error) {
	m.took = time.Since(m.began)
	if m.pid != 0 {
		m.after, err = usageOf(m.pid)
	}
	return err
}

// sample notes the hub's state, not more often than asked for.
func (m *meter) sample(ctx context.Context) {
	if m.pid == 0 || m.every == 0 || m.began.IsZero() || time.Since(m.last) < m.every {
		return
	}
	m.last = time.Now()
	u, err := usageOf(m.pid)
	if err != nil {
		return // the load says what is wrong with the hub
	}
	m.samples = append(m.samples, Sample{
		Seconds: time.Since(m.began).Round(time.Second).Seconds(), Memory: float64(u.rss) / (1 << 20),
		Goroutines: goroutines(ctx, m.admin), Files: u.files,
	})
}

// note adds the CPU that deliveries have cost, which came while it was measured.
func (m *meter) note(r *Result, deliveries int) {
	if m.pid == 0 || m.took <= 0 {
		return
	}
	r.Cores = m.cpu().Seconds() / m.took.Seconds()
	r.CPU = m.each(deliveries)
	r.Samples = m.samples
}

func (m *meter) cpu() time.Duration { return m.after.cpu - m.before.cpu }

// each is the CPU of one of n, in microseconds.
func (m *meter) each(n int) float64 {
	if n == 0 {
		return 0
	}
	return float64(m.cpu().Microseconds()) / float64(n)
}
