package broker

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are this package's. No label's values grow with users or channels.
type metrics struct {
	registry   prometheus.Registerer // nil: none
	received   prometheus.Counter
	dropped    *prometheus.CounterVec
	published  prometheus.Counter
	reconnects prometheus.Counter
	gaps       prometheus.Counter
	panics     prometheus.Counter
	lag        prometheus.Histogram
	reads      prometheus.Counter
	recorded   prometheus.Counter
	takeovers  prometheus.Counter
	recorder   prometheus.Gauge
	standby    prometheus.Gauge
	readErrors prometheus.Counter

	recorderGaps prometheus.Counter

	publishErrors prometheus.Counter
	subscriptions prometheus.GaugeFunc
	up            prometheus.GaugeFunc
}

func newMetrics(b *Broker) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &metrics{
		received:      counter("aldaba_messages_received_total", "Messages that Redis sent to this replica."),
		published:     counter("aldaba_messages_published_total", "Messages that Redis took from this replica."),
		publishErrors: counter("aldaba_publish_errors_total", "Messages that this replica could not publish to Redis."),
		reconnects:    counter("aldaba_redis_reconnects_total", "Subscription connections to Redis that replaced a broken one."),
		gaps:          counter("aldaba_gaps_total", "Channels in which messages may have been lost while Redis was away."),
		reads:         counter("aldaba_history_reads_total", "Questions to the logs of channels with history, to follow them."),
		readErrors:    counter("aldaba_history_read_errors_total", "Questions to the logs of channels with history that Redis did not answer."),
		recorded:      counter("aldaba_recorded_total", "Plain publishes that this replica recorded."),
		takeovers:     counter("aldaba_recorder_takeovers_total", "Times that this replica took over recording plain publishes."),
		recorderGaps:  counter("aldaba_recorder_gaps_total", "Times in which plain publishes to channels with history may have been missed."),
		recorder:      gauge("aldaba_recorder", "1 while this replica records plain publishes, else 0."),
		standby:       gauge("aldaba_recorder_standby", "1 while this replica could take over recording without a gap, else 0."),
		panics:        counter("aldaba_receiver_panics_total", "Calls on the receiver of messages that panicked."),
	}
	m.dropped = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "aldaba_messages_dropped_total", Help: "Messages from Redis that were delivered to nobody.",
	}, []string{"reason"})
	for _, reason := range []string{reasonChannel, reasonSize, reasonUTF8, reasonJSON, reasonDepth, reasonPanic, reasonBacklog, reasonKeys} {
		m.dropped.WithLabelValues(reason)
	}
	m.lag = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "aldaba_redis_lag_seconds",
		Help:    "From publishing a probe to receiving it through Redis.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	})
	m.subscriptions = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "aldaba_redis_subscriptions", Help: "Channels that Redis has confirmed to this replica.",
	}, func() float64 { return float64(b.interest.count()) })
	m.up = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "aldaba_redis_up", Help: "1 while probes come back through Redis in time, else 0.",
	}, func() float64 {
		if b.Ready() != nil {
			return 0
		}
		return 1
	})
	return m
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{
		m.received, m.dropped, m.published, m.publishErrors, m.reconnects, m.gaps, m.panics, m.lag, m.reads, m.readErrors,
		m.recorded, m.takeovers, m.recorderGaps, m.recorder, m.standby,
		m.subscriptions, m.up,
	}
}

// register registers all or none. r may be nil.
func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for n, c := range m.all() {
		if err := r.Register(c); err != nil {
			for _, done := range m.all()[:n] {
				r.Unregister(done)
			}
			return err
		}
	}
	m.registry = r
	return nil
}

func (m *metrics) unregister() {
	if m.registry == nil {
		return
	}
	for _, c := range m.all() {
		m.registry.Unregister(c)
	}
}
