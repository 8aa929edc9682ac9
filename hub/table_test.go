package hub

import (
	"runtime"
	"strconv"
	"testing"

	"aldaba/auth"

	"github.com/prometheus/client_golang/prometheus"
)

func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMillionChannelNames holds and releases a million channels, one after the
// other and all at once: the index and the metrics return to where they were.
func TestMillionChannelNames(t *testing.T) {
	const names = 1_000_000
	registry := prometheus.NewRegistry()
	w := newWorld(t, func(o *Options) { o.Metrics = registry })
	w.login("ann", nil).Close()
	w.eventually("it is gone", func() bool { return w.hub.Sessions() == 0 })
	series := func() (n int) {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			n += len(f.GetMetric())
		}
		return n
	}
	grant := func(i int) auth.Grant { return auth.Grant{Channel: "room:" + strconv.Itoa(i), Pattern: "room:*"} }
	w.hub.index.release(w.hub.index.hold(grant(0))) // the pattern's own series
	heap, before := liveHeap(), series()

	for i := range names {
		w.hub.index.release(w.hub.index.hold(grant(i)))
	}
	for i := range names {
		w.hub.index.hold(grant(i))
	}
	if n := w.hub.index.count(); n != names {
		t.Fatalf("%d channels are held", n)
	}
	for i := range names {
		w.hub.index.release(w.hub.index.lookup(grant(i).Channel))
	}
	if grown := liveHeap() - heap; grown > 1<<20 {
		t.Errorf("%d KiB are left", grown>>10)
	}
	if after := series(); after != before {
		t.Errorf("%d series, %d before", after, before)
	}
}
