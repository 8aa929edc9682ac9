package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// tale is a history written by hand, of one channel unless it says otherwise.
type tale struct {
	*checker
	p, q *page // both may hear "c"; p stands at e:0 on it
}

func newTale() *tale {
	c := newChecker()
	t := &tale{c, c.Page("p", "c"), c.Page("q", "c")}
	t.p.Joined("c", pos("e", 0), false, false)
	return t
}

// accept publishes each id by FCALL, with a receipt for its place from first on.
func (t *tale) accept(first int, ids ...string) {
	for i, id := range ids {
		t.Sending(byFcall, said{"c", id})
		t.Accepted(id, pos("e", first+i))
	}
}

// hears lets p hear each id, the first at that offset.
func (t *tale) hears(p *page, first int, ids ...string) {
	for i, id := range ids {
		p.Message("c", pos("e", first+i), said{"c", id})
	}
}

// logs says that the log has each id, the first at offset 1.
func (t *tale) logs(ids ...string) {
	var all []entry
	for i, id := range ids {
		all = append(all, entry{pos("e", 1+i), said{"c", id}})
	}
	t.Log("c", "e", all)
}

func pos(epoch string, offset int) string { return fmt.Sprintf("%s:%d-%d", epoch, offset, offset+1000) }

// one lets p hear one message with any position.
func one(p *page, position, id string) { p.Message("c", position, said{"c", id}) }

// tales are histories, and the kinds of fault in them, in order of the lines.
var tales = []struct {
	name  string
	tell  func(t *tale)
	wants []string
}{
	{"clean", func(t *tale) {
		t.accept(1, "a", "b")
		t.hears(t.p, 1, "a", "b")
		t.q.Joined("c", pos("e", 1), false, false)
		t.hears(t.q, 2, "b")
		t.p.Joined("c", pos("e", 2), true, true)
		t.accept(3, "d")
		t.hears(t.p, 3, "d")
		t.hears(t.q, 3, "d")
	}, nil},
	{"recovered", func(t *tale) {
		t.accept(1, "a", "b", "d")
		t.hears(t.p, 1, "a")
		t.p.Joined("c", pos("e", 1), true, true)
		t.hears(t.p, 2, "b", "d")
	}, nil},
	{"a log that kept what an honest hole cost", func(t *tale) {
		t.accept(1, "a", "b")
		t.p.Joined("c", pos("e", 2), false, true)
		t.logs("a", "b")
	}, nil},
	{"a log that lost its newest, in an honest hole", func(t *tale) {
		t.accept(1, "a", "b")
		t.p.Joined("c", pos("e", 2), false, true)
		t.logs("a")
	}, []string{loss}},
	{"a log that lost a plain publish, in an honest hole", func(t *tale) {
		t.Sending(byPublish, said{"c", "a"})
		t.Accepted("a", "")
		t.p.Joined("c", pos("e", 1), false, true)
		t.logs()
	}, []string{loss}},
	{"a log that lost its first, in an honest hole", func(t *tale) {
		t.accept(1, "a", "b")
		t.p.Joined("c", pos("e", 2), false, true)
		t.Log("c", "e", []entry{{pos("e", 2), said{"c", "b"}}})
	}, []string{loss}},
	{"a log that has a message twice", func(t *tale) {
		t.Sending(byFcall, said{"c", "a"})
		t.p.Joined("c", pos("e", 2), false, true)
		t.logs("a", "a")
	}, []string{duplicate}},
	{"a log that was lost and begun again, in an honest hole", func(t *tale) {
		t.accept(1, "a")
		t.p.Joined("c", pos("e2", 0), false, true)
		t.Log("c", "e2", nil)
	}, []string{loss}},
	{"a log that was read too early at first", func(t *tale) {
		t.accept(1, "a")
		t.hears(t.p, 1, "a")
		t.logs()
		t.logs("a")
	}, nil},
	{"came before its answer", func(t *tale) {
		t.Sending(byHTTP, said{"c", "a"})
		t.hears(t.p, 1, "a")
		t.Accepted("a", pos("e", 1))
	}, nil},
	{"recorded before the page joined, answered after", func(t *tale) {
		t.Sending(byHTTP, said{"c", "a"})
		t.hears(t.p, 1, "a")
		t.q.Joined("c", pos("e", 1), false, false)
		t.Accepted("a", "")
	}, nil},
	{"an honest hole", func(t *tale) {
		t.accept(1, "a", "b", "d")
		t.hears(t.p, 1, "a")
		t.p.Joined("c", pos("e", 2), false, true)
		t.hears(t.p, 3, "d")
	}, nil},
	{"an honest hole of plain publishes", func(t *tale) {
		t.Sending(byPublish, said{"c", "a"})
		t.Accepted("a", "")
		t.p.Joined("c", pos("e", 1), false, true)
	}, nil},
	{"an honest resync", func(t *tale) {
		t.accept(1, "a", "b", "d")
		t.hears(t.p, 1, "a")
		t.p.Resync("c", pos("e2", 7))
		t.Sending(byPublish, said{"c", "f"})
		t.Accepted("f", "")
		one(t.p, pos("e2", 8), "f")
	}, nil},
	{"a message that a failover lost", func(t *tale) {
		t.accept(1, "a")
		t.p.Resync("c", pos("e2", 0))
	}, nil},
	{"a message that a failover moved", func(t *tale) {
		t.accept(1, "a", "b")
		t.hears(t.p, 1, "a", "b")
		t.p.Resync("c", pos("e2", 0))
		t.q.Joined("c", pos("e2", 0), false, false)
		one(t.q, pos("e2", 1), "b")
	}, nil},
	{"uncertain, came", func(t *tale) {
		t.Sending(byHTTP, said{"c", "a"})
		t.hears(t.p, 1, "a")
	}, nil},
	{"uncertain, never came", func(t *tale) {
		t.Sending(byHTTP, said{"c", "a"})
		t.accept(1, "b")
		t.hears(t.p, 1, "b")
	}, nil},
	{"a plain publish that an FCALL overtook", func(t *tale) {
		t.Sending(byPublish, said{"c", "a"})
		t.Accepted("a", "")
		t.accept(1, "b")
		t.hears(t.p, 1, "b", "a")
	}, nil},
	{"left", func(t *tale) {
		t.p.Left("c")
		t.accept(1, "a")
	}, nil},
	{"left and back", func(t *tale) {
		t.p.Left("c")
		t.accept(1, "a")
		t.p.Joined("c", pos("e", 0), true, true)
		t.hears(t.p, 1, "a")
		t.p.Gone()
		t.accept(2, "b")
	}, nil},
	{"a position from an earlier life", func(t *tale) {
		t.accept(1, "a")
		t.hears(t.p, 1, "a")
		t.q.Joined("c", pos("e", 0), true, true)
		t.hears(t.q, 1, "a")
	}, nil},
	{"overtaken by one sent meanwhile, before a break", func(t *tale) {
		t.Sending(byPublish, said{"c", "a"})
		t.Sending(byPublish, said{"c", "b"})
		t.Accepted("a", "")
		t.hears(t.p, 1, "b")
		t.p.Resync("c", pos("e", 2))
	}, nil},

	{"lost in the middle", func(t *tale) {
		t.accept(1, "a", "b", "d")
		t.hears(t.p, 1, "a")
		t.hears(t.p, 3, "d")
	}, []string{loss}},
	{"lost in the middle, unknown", func(t *tale) {
		t.accept(1, "a")
		t.accept(3, "d")
		t.hears(t.p, 1, "a")
		t.hears(t.p, 3, "d")
	}, []string{loss}},
	{"lost right after joining", func(t *tale) {
		t.accept(1, "a", "b")
		t.hears(t.p, 2, "b")
	}, []string{loss}},
	{"lost by the recorder, before a break", func(t *tale) {
		for _, id := range []string{"a", "b"} {
			t.Sending(byPublish, said{"c", id})
			t.Accepted(id, "")
		}
		t.hears(t.p, 1, "b")
		t.p.Resync("c", pos("e", 1))
	}, []string{loss}},
	{"lost without a receipt, before a break", func(t *tale) {
		for _, id := range []string{"a", "b"} {
			t.Sending(byFcall, said{"c", id})
			t.Accepted(id, "")
		}
		t.hears(t.p, 1, "b")
		t.p.Resync("c", pos("e", 1))
	}, []string{loss}},
	{"lost by the recorder", func(t *tale) {
		t.Sending(byPublish, said{"c", "a"})
		t.Accepted("a", "")
	}, []string{loss}},
	{"lost at the end", func(t *tale) {
		t.accept(1, "a", "b")
		t.hears(t.p, 1, "a")
	}, []string{loss}},
	{"lost at the end, sent before the page came", func(t *tale) {
		t.Sending(byHTTP, said{"c", "a"})
		t.q.Joined("c", pos("e", 0), false, false)
		t.Accepted("a", "")
		t.hears(t.p, 1, "a")
	}, []string{loss}},
	{"lost at the end of a page that nobody told of the failover", func(t *tale) {
		t.q.Joined("c", pos("e2", 0), false, false)
		t.Sending(byHTTP, said{"c", "a"})
		t.Accepted("a", pos("e2", 1))
		one(t.q, pos("e2", 1), "a")
	}, []string{loss}},
	{"joined ahead of what there is", func(t *tale) {
		t.q.Joined("c", pos("e", 9), false, false)
		t.accept(1, "a")
		t.hears(t.p, 1, "a")
	}, []string{loss}},
	{"another epoch without a word", func(t *tale) {
		t.Sending(byHTTP, said{"c", "a"})
		one(t.p, pos("e2", 1), "a")
	}, []string{loss}},

	{"duplicate", func(t *tale) {
		t.accept(1, "a")
		t.hears(t.p, 1, "a")
		t.hears(t.p, 1, "a")
	}, []string{duplicate}},
	{"duplicate, recorded twice", func(t *tale) {
		t.accept(1, "a")
		t.accept(3, "b")
		t.hears(t.p, 1, "a", "a", "b")
	}, []string{duplicate}},
	{"duplicate over a reconnect", func(t *tale) {
		t.accept(1, "a", "b")
		t.hears(t.p, 1, "a")
		t.p.Joined("c", pos("e", 1), true, true)
		t.hears(t.p, 1, "a", "b")
	}, []string{duplicate}},
	{"duplicate over a break", func(t *tale) {
		t.accept(1, "a", "b")
		t.hears(t.p, 1, "a", "b")
		t.p.Joined("c", pos("e2", 1), false, true)
		one(t.p, pos("e2", 2), "b")
	}, []string{duplicate}},

	{"wrong order in a page", func(t *tale) {
		t.accept(1, "a", "b", "d")
		t.hears(t.p, 2, "b")
		t.hears(t.p, 1, "a")
		t.hears(t.p, 3, "d")
	}, []string{wrongOrder}},
	{"older than where it joined", func(t *tale) {
		t.accept(1, "a", "b")
		t.hears(t.p, 1, "a", "b")
		t.q.Joined("c", pos("e", 2), false, false)
		t.hears(t.q, 1, "a")
	}, []string{wrongOrder}},
	{"back behind what it heard, over a break", func(t *tale) {
		for _, id := range []string{"a", "b"} {
			t.Sending(byPublish, said{"c", id})
		}
		t.p.Resync("c", pos("e", 4))
		t.hears(t.p, 5, "b")
		t.p.Resync("c", pos("e", 1))
		t.hears(t.p, 2, "a")
	}, []string{wrongOrder}},
	{"opposite order in two pages", func(t *tale) {
		t.q.Joined("c", pos("e", 0), false, false)
		for _, id := range []string{"a", "b"} {
			t.Sending(byPublish, said{"c", id})
		}
		t.hears(t.p, 1, "a", "b")
		t.hears(t.q, 1, "b", "a")
	}, []string{wrongOrder}},
	{"opposite order in two epochs", func(t *tale) {
		for _, id := range []string{"a", "b"} {
			t.Sending(byPublish, said{"c", id})
		}
		t.q.Joined("c", pos("e2", 0), false, false)
		one(t.q, pos("e2", 1), "b")
		one(t.q, pos("e2", 2), "a")
		t.hears(t.p, 1, "a", "b")
	}, []string{wrongOrder}},
	{"against the order of sending", func(t *tale) {
		for _, id := range []string{"a", "b"} {
			t.Sending(byPublish, said{"c", id})
			t.Accepted(id, "")
		}
		t.hears(t.p, 1, "b", "a")
	}, []string{wrongOrder}},
	{"against the order of sending, by FCALL", func(t *tale) {
		for _, id := range []string{"a", "b"} {
			t.Sending(byFcall, said{"c", id})
			t.Accepted(id, "")
		}
		t.hears(t.p, 1, "b", "a")
	}, []string{wrongOrder}},
	{"against the order of sending, with one that may be anywhere", func(t *tale) {
		t.Sending(byFcall, said{"c", "d"})
		t.Sending(byFcall, said{"c", "a"})
		t.Accepted("a", "")
		t.Sending(byFcall, said{"c", "b"})
		t.Accepted("d", "")
		t.hears(t.p, 1, "b", "d", "a")
	}, []string{wrongOrder}},
	{"against the order of sending, answered twice", func(t *tale) {
		t.Sending(byHTTP, said{"c", "a"})
		t.Accepted("a", "")
		t.Sending(byHTTP, said{"c", "b"})
		t.Accepted("a", "")
		t.hears(t.p, 1, "b", "a")
	}, []string{wrongOrder}},

	{"foreign channel", func(t *tale) {
		r := t.Page("r", "d")
		t.accept(1, "a")
		t.hears(t.p, 1, "a")
		t.hears(r, 1, "a")
	}, []string{foreign}},
	{"joined a foreign channel", func(t *tale) {
		t.Page("r", "d").Joined("c", pos("e", 0), false, false)
	}, []string{foreign}},
	{"joined and heard a foreign channel", func(t *tale) {
		r := t.Page("r", "d")
		r.Joined("c", pos("e", 0), false, false)
		t.accept(1, "a")
		t.hears(t.p, 1, "a")
		t.hears(r, 1, "a")
	}, []string{foreign, foreign}},
	{"published on a foreign channel", func(t *tale) {
		t.Sending(byFcall, said{"d", "x"})
		t.hears(t.p, 1, "x")
	}, []string{foreign}},
	{"data of a foreign channel", func(t *tale) {
		t.Sending(byFcall, said{"d", "x"})
		t.p.Message("c", pos("e", 1), said{"d", "x"})
	}, []string{foreign}},
	{"data that says another channel", func(t *tale) {
		t.accept(1, "a")
		t.p.Message("c", pos("e", 1), said{"d", "a"})
	}, []string{foreign}},
	{"nobody's message", func(t *tale) {
		t.accept(1, "a")
		t.hears(t.p, 1, "a", "x")
		t.accept(3, "b")
		t.hears(t.p, 3, "b")
	}, []string{foreign}},
	{"after it left", func(t *tale) {
		t.p.Left("c")
		t.accept(1, "a")
		t.hears(t.p, 1, "a")
	}, []string{foreign}},

	{"recovered without a position", func(t *tale) {
		t.q.Joined("c", pos("e", 0), true, false)
	}, []string{falseRecovered}},
	{"recovered elsewhere", func(t *tale) {
		t.accept(1, "a", "b")
		t.hears(t.p, 1, "a")
		t.p.Joined("c", pos("e", 2), true, true)
	}, []string{falseRecovered}},
	{"recovered in another epoch", func(t *tale) {
		t.p.Joined("c", pos("e2", 0), true, true)
	}, []string{falseRecovered}},
	{"recovered, and another epoch follows", func(t *tale) {
		t.Sending(byHTTP, said{"c", "a"})
		t.p.Joined("c", pos("e", 0), true, true)
		one(t.p, pos("e2", 1), "a")
	}, []string{falseRecovered}},
	{"recovered with a hole", func(t *tale) {
		t.accept(1, "a", "b", "d")
		t.hears(t.p, 1, "a")
		t.p.Joined("c", pos("e", 1), true, true)
		t.hears(t.p, 3, "d")
	}, []string{falseRecovered}},
	{"recovered, and nothing follows", func(t *tale) {
		t.accept(1, "a", "b")
		t.hears(t.p, 1, "a")
		t.p.Joined("c", pos("e", 1), true, true)
	}, []string{falseRecovered}},
	{"recovered from an earlier life, and nothing follows", func(t *tale) {
		t.accept(1, "a")
		t.hears(t.p, 1, "a")
		t.q.Joined("c", pos("e", 0), true, true)
	}, []string{falseRecovered}},
	{"recovered, and later a hole", func(t *tale) {
		t.accept(1, "a", "b", "d")
		t.p.Joined("c", pos("e", 0), true, true)
		t.hears(t.p, 1, "a")
		t.hears(t.p, 3, "d")
	}, []string{loss}},
	{"recovered, then lost alive", func(t *tale) {
		t.p.Joined("c", pos("e", 0), true, true)
		t.accept(1, "a")
	}, []string{loss}},

	{"two messages at one position", func(t *tale) {
		t.Sending(byPublish, said{"c", "x"})
		t.accept(1, "a")
		t.hears(t.p, 1, "a")
		t.q.Joined("c", pos("e", 0), false, false)
		t.hears(t.q, 1, "x")
	}, []string{wrongPosition}},
	{"one message at two positions", func(t *tale) {
		t.Sending(byPublish, said{"c", "a"})
		t.hears(t.p, 1, "a")
		t.q.Joined("c", pos("e", 1), false, false)
		t.hears(t.q, 2, "a")
	}, []string{wrongPosition}},
	{"a receipt that lies", func(t *tale) {
		t.accept(1, "a")
		t.Accepted("a", pos("e", 2))
		t.hears(t.p, 1, "a")
	}, []string{wrongPosition}},
	{"not a position, then all is well", func(t *tale) {
		t.p.Resync("c", "")
		t.accept(4, "a", "b")
		t.hears(t.p, 4, "a", "b")
	}, []string{wrongPosition}},
	{"not a position, then one is lost", func(t *tale) {
		t.p.Resync("c", "")
		t.accept(4, "a", "b")
		t.hears(t.p, 5, "b")
	}, []string{wrongPosition, loss}},
	{"not a position", func(t *tale) {
		t.p.Resync("c", "")
		t.Sending(byPublish, said{"c", "a"})
		one(t.p, "e:1", "a")
	}, []string{wrongPosition, wrongPosition}},
}

func TestCheckerTellsWhatIsWrong(t *testing.T) {
	for _, tale := range tales {
		t.Run(tale.name, func(t *testing.T) {
			told := newTale()
			tale.tell(told)
			faults := told.Faults()
			if !slices.Equal(kinds(faults), tale.wants) {
				t.Errorf("want %q, got %q", tale.wants, faults)
			}
			if again := told.Faults(); !slices.Equal(again, faults) {
				t.Errorf("asked again it says %q", again)
			}
		})
	}
}

func kinds(faults []string) (all []string) {
	for _, f := range faults {
		kind, _, _ := strings.Cut(f, ":")
		all = append(all, kind)
	}
	return all
}

// world is a hub that keeps its promises: it tells its checker random histories
// that are valid.
type world struct {
	*checker
	rnd      *rand.Rand
	channels []*log
	ids      int
	waiting  []func() // answers on their way
}

// log is a channel.
type log struct {
	name    string
	epoch   int
	entries []string // the first at offset 1
	plain   []string // for the recorder, in order
	readers []*reader
}

// reader is a page on a channel.
type reader struct {
	*page
	log     *log
	on      bool
	epoch   int
	offset  int
	visited bool
}

func (l *log) pos(offset int) string { return pos("e"+strconv.Itoa(l.epoch), offset) }

func newWorld(rnd *rand.Rand) *world {
	w := &world{checker: newChecker(), rnd: rnd}
	for n := range 3 {
		w.channels = append(w.channels, &log{name: "c" + strconv.Itoa(n)})
	}
	for n := range 4 {
		p := w.Page("p"+strconv.Itoa(n), "c0", "c1", "c2")
		for _, l := range w.channels {
			l.readers = append(l.readers, &reader{page: p, log: l})
		}
	}
	return w
}

// run lives for a while; at the end nothing is on its way.
func (w *world) run() {
	for range 300 {
		l := w.channels[w.rnd.IntN(len(w.channels))]
		r := l.readers[w.rnd.IntN(len(l.readers))]
		switch n := w.rnd.IntN(100); {
		case n < 25:
			w.publish(l)
		case n < 35:
			l.record()
		case n < 45:
			w.answer()
		case n < 80:
			r.read()
		case n < 90:
			r.join(w.rnd)
		case n < 93:
			r.leave()
		case n < 95:
			r.resync()
		case n < 96:
			l.failOver(w.rnd.IntN(3))
		}
	}
	for _, l := range w.channels {
		for l.record() {
		}
		w.publish(l)
		l.record()
	}
	for len(w.waiting) > 0 {
		w.answer()
	}
	for _, l := range w.channels {
		for _, r := range l.readers {
			for r.read() {
			}
		}
	}
}

// publish begins one that may be answered at any time, or is never certain.
func (w *world) publish(l *log) {
	w.ids++
	id := "m" + strconv.Itoa(w.ids)
	by := []way{byPublish, byFcall, byHTTP}[w.rnd.IntN(3)]
	w.Sending(by, said{l.name, id})
	receipt := ""
	switch certain := w.rnd.IntN(5) > 0; {
	case !certain && w.rnd.IntN(2) == 0:
		return // never came
	case by == byPublish:
		l.plain = append(l.plain, id)
	default:
		l.entries = append(l.entries, id)
		if w.rnd.IntN(4) > 0 {
			receipt = l.pos(len(l.entries))
		}
	}
	if w.rnd.IntN(5) > 0 {
		w.waiting = append(w.waiting, func() { w.Accepted(id, receipt) })
	}
}

func (w *world) answer() {
	if n := len(w.waiting); n > 0 {
		i := w.rnd.IntN(n)
		w.waiting[i]()
		w.waiting = slices.Delete(w.waiting, i, i+1)
	}
}

func (l *log) record() bool {
	if len(l.plain) == 0 {
		return false
	}
	l.entries, l.plain = append(l.entries, l.plain[0]), l.plain[1:]
	return true
}

// failOver loses the newest entries, and tells all who were there.
func (l *log) failOver(lost int) {
	l.epoch++
	l.entries = slices.Clone(l.entries[:max(0, len(l.entries)-lost)])
	for _, r := range l.readers {
		r.resync()
	}
}

func (r *reader) read() bool {
	if !r.on || r.offset == len(r.log.entries) {
		return false
	}
	r.offset++
	r.Message(r.log.name, r.log.pos(r.offset), said{r.log.name, r.log.entries[r.offset-1]})
	return true
}

// join also reconnects.
func (r *reader) join(rnd *rand.Rand) {
	head := len(r.log.entries)
	missed := r.epoch != r.log.epoch || r.offset != head
	forgets := !r.visited || rnd.IntN(5) == 0
	if !forgets && r.epoch == r.log.epoch && (!missed || rnd.IntN(4) > 0) {
		r.Joined(r.log.name, r.log.pos(r.offset), true, true)
	} else {
		r.offset, r.epoch = head, r.log.epoch
		r.Joined(r.log.name, r.log.pos(head), false, !forgets)
	}
	r.on, r.visited = true, true
}

func (r *reader) leave() {
	if r.on {
		r.on = false
		r.Left(r.log.name)
	}
}

func (r *reader) resync() {
	if r.on {
		r.offset, r.epoch = len(r.log.entries), r.log.epoch
		r.Resync(r.log.name, r.log.pos(r.offset))
	}
}

// mutations spoil the i-th event of a page, if that is sure to be a fault. next is
// the index of the page's next event on the same channel, or 0.
var mutations = map[string]func(p *page, i, next int) bool{
	"drop": func(p *page, i, next int) bool {
		if p.heard[i].kind != "message" || next == 0 || p.heard[next].kind != "message" && !p.heard[next].recovered {
			return false // it could be the last before a break
		}
		p.heard = slices.Delete(p.heard, i, i+1)
		return true
	},
	"drop the last": func(p *page, i, next int) bool {
		if e := p.heard[i]; e.kind != "message" || next != 0 || p.sent[e.data.ID].accepted == 0 || p.sent[e.data.ID].positions == nil {
			return false // it could be uncertain, or nowhere
		}
		p.heard = slices.Delete(p.heard, i, i+1)
		return true
	},
	"duplicate": func(p *page, i, _ int) bool {
		if p.heard[i].kind != "message" {
			return false
		}
		p.heard = append(p.heard, p.heard[i])
		return true
	},
	"swap": func(p *page, i, next int) bool {
		if p.heard[i].kind != "message" || next == 0 || p.heard[next].kind != "message" {
			return false
		}
		p.heard[i], p.heard[next] = p.heard[next], p.heard[i]
		return true
	},
	"retarget": func(p *page, i, _ int) bool {
		e := &p.heard[i]
		if e.kind != "message" {
			return false
		}
		e.channel = map[string]string{"c0": "c1", "c1": "c2", "c2": "c0"}[e.channel]
		return true
	},
	"rename": func(p *page, i, _ int) bool {
		if p.heard[i].kind != "message" {
			return false
		}
		p.heard[i].data.ID += "?"
		return true
	},
	"flip recovered": func(p *page, i, _ int) bool {
		if e := p.heard[i]; e.kind != "joined" || e.recovered {
			return false // a break that is admitted without need is honest
		}
		p.heard[i].recovered = true
		return true
	},
}

// spoil applies a mutation somewhere, if it can.
func spoil(w *world, mutate func(p *page, i, next int) bool) bool {
	for _, n := range w.rnd.Perm(len(w.pages)) {
		p := w.pages[n]
		for _, i := range w.rnd.Perm(len(p.heard)) {
			next := 1 + slices.IndexFunc(p.heard[i+1:], func(e event) bool { return e.channel == p.heard[i].channel })
			if next > 0 {
				next += i
			}
			if mutate(p, i, next) {
				return true
			}
		}
	}
	return false
}

func TestCheckerFindsWhatWasSpoiledInRandomHistories(t *testing.T) {
	spoiled := map[string]int{}
	for seed := range uint64(300) {
		if faults := randomWorld(seed).Faults(); faults != nil {
			t.Fatalf("seed %d: a valid history has faults: %q", seed, faults)
		}
		for name, mutate := range mutations {
			w := randomWorld(seed)
			if !spoil(w, mutate) {
				continue
			}
			spoiled[name]++
			if len(w.Faults()) == 0 {
				t.Fatalf("seed %d: %s was not found", seed, name)
			}
		}
	}
	for name := range mutations {
		if spoiled[name] < 200 {
			t.Errorf("only %d times %s", spoiled[name], name)
		}
	}
}

func randomWorld(seed uint64) *world {
	w := newWorld(rand.New(rand.NewPCG(seed, 0)))
	w.run()
	return w
}

// TestCheckerIsSafeForConcurrentUse has pages hear while others publish and ask.
func TestCheckerIsSafeForConcurrentUse(t *testing.T) {
	c := newChecker()
	done := make(chan struct{})
	heard := make([]chan string, 4)
	for i := range heard {
		heard[i] = make(chan string, 100)
		p := c.Page("p"+strconv.Itoa(i), "c")
		p.Joined("c", pos("e", 0), false, false)
		go func() {
			defer func() { done <- struct{}{} }()
			offset := 0
			for id := range heard[i] {
				offset++
				p.Message("c", pos("e", offset), said{"c", id})
				_ = c.Faults()
			}
		}()
	}
	for n := range 100 {
		id := strconv.Itoa(n)
		c.Sending(byHTTP, said{"c", id})
		for _, to := range heard {
			to <- id
		}
		c.Accepted(id, pos("e", n+1))
	}
	for _, to := range heard {
		close(to)
		<-done
	}
	if faults := c.Faults(); faults != nil {
		t.Error(faults)
	}
}
