package crowd

import (
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// second is a tally of what is measured for a second from noon.
func second() *tally {
	return &tally{from: noon, to: noon.Add(time.Second), latency: NewHistogram()}
}

// counts is what is compared of a tally.
type counts struct{ due, arrived, outstanding, lost, checked, unchecked int }

func (t *tally) counts() counts {
	return counts{t.due, t.arrived, t.outstanding, t.lost, t.checked, t.unchecked}
}

func TestRateCountsWhatCameInTheTime(t *testing.T) {
	t.Parallel()
	l := second()
	var place int64
	at := func(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }
	for i, m := range []struct{ due, now int }{
		{-20, -10},   // neither was due in the time, nor came in it
		{-10, 10},    // came
		{100, 200},   // both
		{900, 9000},  // was due: its latency counts
		{1000, 9000}, // neither
	} {
		l.expect(at(m.due), 1, true)
		l.hear(&place, int64(i+1), at(m.due), at(m.now), true)
	}
	if got, want := l.counts(), (counts{due: 2, arrived: 2, checked: 5}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if n, most := l.latency.TotalCount(), time.Duration(l.latency.Max()); n != 2 || most < 8*time.Second {
		t.Errorf("%d latencies, %s at most", n, most)
	}
}

func TestDoubleMakesUpForNoLoss(t *testing.T) {
	t.Parallel()
	l := second()
	var place int64
	l.expect(noon, 4, true)
	again := 0
	for _, n := range []int64{1, 2, 2, 4, 3} { // 3 is late: out of turn
		if l.hear(&place, n, noon, noon, true) {
			again++
		}
	}
	if got, want := l.counts(), (counts{due: 4, arrived: 3, lost: 1, checked: 3}); got != want || again != 2 {
		t.Errorf("%+v and %d again, want %+v and 2", got, again, want)
	}
}

func TestPageThatCameBackIsCheckedFromItsFirstMessage(t *testing.T) {
	t.Parallel()
	l := second()
	place := int64(unknown)
	for _, n := range []int64{7, 8, 10} {
		l.hear(&place, n, noon, noon, false)
	}
	if !l.hear(&place, 10, noon, noon, false) {
		t.Error("a double was not seen")
	}
	if got, want := l.counts(), (counts{arrived: 3, lost: 1, checked: 2, unchecked: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestLatencyOfTheFocus(t *testing.T) {
	t.Parallel()
	l := &tally{from: noon, to: noon.Add(4 * time.Second)}
	for after, covered := range map[time.Duration]bool{
		-time.Millisecond:       false,
		0:                       true,
		3 * time.Second:         true,
		3001 * time.Millisecond: false,
		5810 * time.Millisecond: false,
	} {
		l.focus = noon.Add(after)
		if l.covers() != covered {
			t.Errorf("%s after it began: %v", after, !covered)
		}
	}
	l.focus = noon.Add(time.Second)
	if l.times(noon) || !l.times(l.focus) || l.times(l.focus.Add(time.Second)) {
		t.Error("latency is that of another second")
	}
}
