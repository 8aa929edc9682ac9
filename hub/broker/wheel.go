package broker

import "time"

// wheel holds appointments for the next half minute, to the tick. The zero value is
// empty. It is not safe for concurrent use.
type wheel struct {
	slots [wheelSlots][]appointment
	now   int
}

const (
	wheelSlots = 128
	wheelTick  = 250 * time.Millisecond
)

// add makes an appointment in d, at the next tick or later, at most a round away.
func (w *wheel) add(d time.Duration, a appointment) {
	ticks := min(max(int(d/wheelTick), 1), wheelSlots-1)
	i := (w.now + ticks) % wheelSlots
	w.slots[i] = append(w.slots[i], a)
}

// turn goes one tick on, and returns what is due.
func (w *wheel) turn() []appointment {
	w.now = (w.now + 1) % wheelSlots
	due := w.slots[w.now]
	w.slots[w.now] = nil
	return due
}
