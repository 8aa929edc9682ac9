package hub

import (
	"errors"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count by pattern, code or reason, never by user or channel, so that
// the number of series does not grow with either.
type metrics struct {
	joins      *prometheus.CounterVec
	deliveries *prometheus.CounterVec
	resyncs    prometheus.Counter
	connects   prometheus.Counter
	denials    *prometheus.CounterVec
	commands   *prometheus.CounterVec
	cuts       *prometheus.CounterVec
	panics     prometheus.Counter

	mu       sync.Mutex
	patterns map[string]*patternMetrics
}

// patternMetrics are the series of one pattern, looked up once per channel.
type patternMetrics struct {
	joins      prometheus.Counter
	deliveries prometheus.Counter
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		joins:      vec("aldaba_joins_total", "Sessions that joined a channel, by the pattern that granted it.", "pattern"),
		deliveries: vec("aldaba_deliveries_total", "Messages queued on sessions, by pattern.", "pattern"),
		resyncs:    counter("aldaba_resyncs_total", "Channels whose sessions were told that messages may be missing."),
		connects:   counter("aldaba_connects_total", "Sessions that were ever connected."),
		denials:    vec("aldaba_denials_total", "Upgrades and commands that were refused, by code.", "code"),
		commands:   vec("aldaba_commands_total", "Client commands that were obeyed, by type.", "type"),
		cuts:       vec("aldaba_cuts_total", "Sessions that the hub closed, by close code.", "code"),
		panics:     counter("aldaba_panics_total", "Handlers that panicked, each at the cost of its session."),
		patterns:   make(map[string]*patternMetrics),
	}
	m.create()
	return m
}

// create makes the series whose labels are known: a rate needs a zero to begin
// with.
func (m *metrics) create() {
	for _, code := range codes {
		m.denials.WithLabelValues(code)
	}
	for code := range closeReasons {
		m.cuts.WithLabelValues(strconv.Itoa(code))
	}
	for _, kind := range []string{"subscribe", "unsubscribe", "publish", "refresh", "ping", "resume", "history", "ack"} {
		m.commands.WithLabelValues(kind)
	}
}

func (m *metrics) register(r prometheus.Registerer, h *Hub) error {
	gauge := func(name, help string, f func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(f()) })
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.joins, m.deliveries, m.resyncs, m.connects, m.denials, m.commands, m.cuts, m.panics,
		gauge("aldaba_sessions", "Sessions connected now.", h.Sessions),
		gauge("aldaba_channels", "Channels that sessions here have joined or wait for.", h.index.count),
	} {
		errs = append(errs, r.Register(c))
	}
	return errors.Join(errs...)
}

func (m *metrics) ofPattern(pattern string) *patternMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.patterns[pattern]
	if p == nil {
		p = &patternMetrics{
			joins:      m.joins.WithLabelValues(pattern),
			deliveries: m.deliveries.WithLabelValues(pattern),
		}
		m.patterns[pattern] = p
	}
	return p
}

func (m *metrics) denied(code string) { m.denials.WithLabelValues(code).Inc() }
func (m *metrics) cut(code int)       { m.cuts.WithLabelValues(strconv.Itoa(code)).Inc() }
