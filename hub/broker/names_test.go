package broker

import (
	"testing"
	"time"

	"aldaba/auth"
	"aldaba/hub"

	"github.com/prometheus/client_golang/prometheus"
)

// TestPatternsThatFitTheHubsOwnNames: with a placeholder at the front a pattern has the
// form of the probe's channel, or of that of the questions. These keep no history.
func TestPatternsThatFitTheHubsOwnNames(t *testing.T) {
	for pattern, channel := range map[string]string{"{org}:{sub}": "o:s", "{org}:{kind}:{sub}": "o:k:s"} {
		for _, prefix := range []string{"", "app:"} {
			t.Run(prefix+pattern, func(t *testing.T) {
				onBoth(t, func(t *testing.T, url string) { fitsOwnNames(t, url, prefix, pattern, channel) })
			})
		}
	}
}

func fitsOwnNames(t *testing.T, url, prefix, pattern, channel string) {
	policy, err := auth.NewPolicy([]auth.Pattern{{Name: pattern, History: &auth.History{Size: 5, TTL: time.Hour}}})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	o := Options{URL: url, Prefix: prefix, Histories: policy.Histories()}
	two := o
	o.Metrics = registry
	one := run(t, o)
	one.awaitRole(t, roleRecorder)
	other := run(t, two) // the recorder hears its probes
	other.awaitRole(t, roleStandby)
	one.ready(t, 10*time.Second)
	other.ready(t, 10*time.Second)
	listening(t, url, prefix, 2)
	one.calls.sessions.Store(1)
	one.join(t, channel)
	if got, _ := receipt(t, other.Broker, channel, `"asked"`, ""); got != (hub.Receipt{Sessions: 1, Replicas: 1, Complete: true}) {
		t.Errorf("%+v", got)
	}
	say(t, client(t, url), prefix+channel, `"plain"`)
	one.calls.await(t, "Deliver "+channel+` "plain"`) // recorded after all of that was heard
	if n := metric(t, registry, "aldaba_messages_dropped_total", reasonChannel); n != 0 {
		t.Errorf("%v of the hub's own messages were taken for a channel's", n)
	}
}
