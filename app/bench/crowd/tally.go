package crowd

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// tally counts what is published in one load, and what the pages hear of it.
type tally struct {
	from, to time.Time // measured
	focus    time.Time // latency is that of what is due in the second after; zero: in all the time

	published   int // messages due while it is measured
	due         int // deliveries due then
	arrived     int // deliveries that came then, whenever they were due
	outstanding int // deliveries that must come yet
	lost        int // deliveries that later ones have overtaken
	checked     int // deliveries whose number is known to be the next one, or not
	unchecked   int // the first after a page has come back: what it missed is not known
	latency     *hdrhistogram.Histogram
}

// focused is how long the second of the focus is.
const focused = time.Second

// covers reports whether all of the focus is measured.
func (t *tally) covers() bool {
	return t.focus.IsZero() || !t.focus.Before(t.from) && !t.focus.Add(focused).After(t.to)
}

func (t *tally) measures(at time.Time) bool { return !at.Before(t.from) && at.Before(t.to) }

// times reports whether the latency of what is due then counts.
func (t *tally) times(due time.Time) bool {
	if t.focus.IsZero() {
		return t.measures(due)
	}
	return !due.Before(t.focus) && due.Before(t.focus.Add(focused))
}

// expect notes deliveries that are due then.
func (t *tally) expect(due time.Time, deliveries int, awaited bool) {
	if t.measures(due) {
		t.due += deliveries
	}
	if awaited {
		t.outstanding += deliveries
	}
}

// unknown is the place of a page that has just come back: what was published meanwhile
// went to nobody.
const unknown = -1

// hear takes message n, due then, at now. place is the number that its page heard last
// in the same stream, and is set forward. again: it was heard before, or is out of turn;
// it is then not counted.
func (t *tally) hear(place *int64, n int64, due, now time.Time, awaited bool) (again bool) {
	switch {
	case *place == unknown:
		t.unchecked++
	case n <= *place:
		return true
	default:
		missed := int(n - *place - 1)
		t.checked++
		t.lost += missed
		if awaited {
			t.outstanding -= missed + 1
		}
	}
	*place = n
	if t.measures(now) {
		t.arrived++
	}
	if t.times(due) {
		_ = t.latency.RecordValue(now.Sub(due).Nanoseconds()) // more than two minutes is lost
	}
	return false
}
