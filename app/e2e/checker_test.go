package e2e

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// checker judges deliveries on channels with history. Tests tell it what they
// publish and what their pages hear, from any goroutine and as it happens; it
// answers what promise was broken. It believes nothing but these reports: the
// order of a channel is what the positions say.
//
// What is owed to a page is what was recorded during its unbroken stretches on a
// channel. A stretch begins when the channel is joined without a position, and
// whenever the hub admits a break: `recovered: false` to a page that had a
// position, or `resync`. It goes on over reconnects that are `recovered: true`.
// Messages in a break are owed to nobody.
type checker struct {
	mu    sync.Mutex
	clock int // counts the reports: what the checker knows of time
	sent  map[string]*sent
	pages []*page
}

func newChecker() *checker { return &checker{sent: map[string]*sent{}} }

// said is the data of every message: who it is and where it belongs.
type said struct {
	Channel string `json:"channel"`
	ID      string `json:"id"` // of one message in the whole run
}

// way is how a message is published.
type way string

const (
	byPublish way = "publish" // plain PUBLISH: it is the recorder that records it
	byFcall   way = "fcall"   // FCALL, or a session: recorded when it is accepted
	byHTTP    way = "http"    // the same
)

// sent is a message, from before it leaves.
type sent struct {
	said
	way       way
	began     int
	accepted  int // 0: nobody knows, so it may come once or not at all
	positions []string
}

// Sending is to be told before a message leaves for the first time, since it may
// be heard before its answer. Until Accepted is told the message is uncertain: it
// may be heard, once, or never. That is where a publish stays whose answer was an
// error or lost.
func (c *checker) Sending(by way, m said) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sent[m.ID]; s != nil {
		panic("sent twice: " + m.ID)
	}
	c.clock++
	c.sent[m.ID] = &sent{said: m, way: by, began: c.clock}
}

// Accepted is told when a publish was answered without an error: the message is
// due. After a plain PUBLISH it must only be told if a recorder was listening.
// position is that of the receipt; empty if there was none.
func (c *checker) Accepted(id, position string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sent[id]
	if s == nil {
		panic("accepted, but never sent: " + id)
	}
	c.clock++
	if s.accepted == 0 {
		s.accepted = c.clock
	}
	if position != "" {
		s.positions = append(s.positions, position)
	}
}

// page is a client that survives its connections and keeps, of each channel, the
// newest position that it was told; that is the one it resumes with.
type page struct {
	*checker
	name  string
	may   map[string]bool
	heard []event
}

type event struct {
	kind        string // joined, message, resync, left, gone
	at          int
	channel     string
	position    string
	recovered   bool
	hadPosition bool
	data        said
}

// Page begins a page that may hear these channels and no others.
func (c *checker) Page(name string, channels ...string) *page {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &page{checker: c, name: name, may: map[string]bool{}}
	for _, channel := range channels {
		p.may[channel] = true
	}
	c.pages = append(c.pages, p)
	return p
}

// entry is what a log has at a position.
type entry struct {
	position string
	data     said
}

// Log is what the log of a channel holds by now, from its first entry on; it replaces
// what was told before. A log is judged like a page that joined before anything was
// sent and never had a break: what was accepted is in it once and in order, where its
// receipt says, even if no page was there to hear it.
func (c *checker) Log(channel, epoch string, entries []entry) {
	name := "the log"
	p := c.find(name, channel)
	if p == nil {
		p = c.Page(name, channel)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// At 0, as all of it: when an entry came nobody can tell.
	p.heard = []event{{kind: "joined", channel: channel, position: epoch + ":0-0"}}
	for _, e := range entries {
		p.heard = append(p.heard, event{kind: "message", channel: channel, position: e.position, data: e.data})
	}
}

// find returns the page of that name that may hear channel, or nil.
func (c *checker) find(name, channel string) *page {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.pages, func(p *page) bool { return p.name == name && p.may[channel] })
	if i < 0 {
		return nil
	}
	return c.pages[i]
}

func (p *page) hear(e event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock++
	e.at = p.clock
	p.heard = append(p.heard, e)
}

// Joined is a channel in `welcome`, or `joined`. hadPosition says that the page
// had sent its position.
func (p *page) Joined(channel, position string, recovered, hadPosition bool) {
	p.hear(event{kind: "joined", channel: channel, position: position, recovered: recovered, hadPosition: hadPosition})
}

// Message is a `message`.
func (p *page) Message(channel, position string, data said) {
	p.hear(event{kind: "message", channel: channel, position: position, data: data})
}

// Resync is a `resync`.
func (p *page) Resync(channel, position string) {
	p.hear(event{kind: "resync", channel: channel, position: position})
}

// Left is a `left`. As long as the page stays away nothing more is owed; if it
// joins again with its position, all that it missed is.
func (p *page) Left(channel string) { p.hear(event{kind: "left", channel: channel}) }

// Gone says that the page has left all its channels, for good or until it joins
// again. It need not be told of each lost connection, only of the last.
func (p *page) Gone() { p.hear(event{kind: "gone"}) }

// What a fault is. Each line of Faults begins with one of these.
const (
	loss           = "loss"            // owed and not heard
	duplicate      = "duplicate"       // heard twice by one page
	wrongOrder     = "wrong order"     // of one page, between two, or against the order of sending
	foreign        = "foreign"         // not this page's, not this channel's, or nobody's
	falseRecovered = "false recovered" // recovered: true, and it was not so
	wrongPosition  = "wrong position"  // two messages at one, one at two, or unreadable
)

// Faults returns what is wrong, a line for each fault, and nothing when all is
// well. It holds every page that is on a channel to all that was accepted by now:
// ask until the answer is empty, for as long as pages may need to catch up. Only
// losses go away by waiting.
//
// What it cannot see: the loss of a plain PUBLISH whose position nobody saw, if no
// page was in one stretch from before it was sent until the end, or until another
// plain PUBLISH was heard that was sent after it had been accepted. It takes the
// order of two such PUBLISHes for given, which it is on one Redis server, and not
// between the nodes of a cluster.
func (c *checker) Faults() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := &verdict{sent: c.sent, books: map[string]*book{}}
	for _, id := range slices.Sorted(maps.Keys(c.sent)) {
		b := v.book(c.sent[id].Channel)
		b.sent = append(b.sent, c.sent[id])
	}
	for _, p := range c.pages {
		v.replay(p)
	}
	for _, channel := range slices.Sorted(maps.Keys(v.books)) {
		b := v.books[channel]
		b.place(b.disagreement())
		b.judgeSending()
		for _, t := range b.tracks {
			t.judgeHoles()
			t.judgeStretches()
		}
	}
	return v.faults
}

// verdict is one judgement.
type verdict struct {
	sent   map[string]*sent
	books  map[string]*book
	faults []string
}

func (v *verdict) fault(kind, format string, args ...any) {
	v.faults = append(v.faults, kind+": "+fmt.Sprintf(format, args...))
}

// book is what is known of one channel.
type book struct {
	*verdict
	channel string
	sent    []*sent
	tracks  []*track
	at      map[place]string             // the message at a place
	of      map[string]map[string]uint64 // the offset of a message, by epoch
}

func (v *verdict) book(channel string) *book {
	if v.books[channel] == nil {
		v.books[channel] = &book{verdict: v, channel: channel, at: map[place]string{}, of: map[string]map[string]uint64{}}
	}
	return v.books[channel]
}

// place is a position without its tag.
type place struct {
	epoch  string
	offset uint64
}

func (p place) String() string { return p.epoch + ":" + strconv.FormatUint(p.offset, 10) }

// parsePlace reads a position. Only here and in the hub is it not opaque.
func parsePlace(position string) (place, bool) {
	epoch, entry, _ := strings.Cut(position, ":")
	offset, _, tagged := strings.Cut(entry, "-")
	n, err := strconv.ParseUint(offset, 10, 64)
	if err != nil || !tagged || epoch == "" {
		return place{}, false
	}
	return place{epoch, n}, true
}

// track is one page on one channel.
type track struct {
	*book
	page      *page
	on        bool
	received  map[string]bool   // messages
	offsets   map[place]bool    // where anything was heard
	newest    map[string]uint64 // offset heard, by epoch
	order     []spot            // what was heard as it should be
	holes     []hole
	stretches []stretch
}

type spot struct {
	id string
	place
}

// hole is a leap within a stretch.
type hole struct {
	kind     string
	from, to place // both heard, or stood upon
}

// stretch is a time without a break. Without a known place any message is next.
type stretch struct {
	began     int
	from, to  place // where the page stood at its begin, and stands
	known     bool
	position  string // of to, as the page knows it
	resumed   int    // when, if nothing was heard since the newest recovered: true
	recorded  int    // when the newest message heard was sent
	published int    // the same of those by plain PUBLISH
}

func (t *track) last() *stretch {
	if len(t.stretches) == 0 {
		return nil
	}
	return &t.stretches[len(t.stretches)-1]
}

func (t *track) fault(kind, format string, args ...any) {
	t.verdict.fault(kind, "%s on %s: %s", t.page.name, t.channel, fmt.Sprintf(format, args...))
}

// replay lives a page's life again.
func (v *verdict) replay(p *page) {
	tracks := map[string]*track{}
	for _, e := range p.heard {
		if e.kind == "gone" {
			for _, t := range tracks {
				t.on = false
			}
			continue
		}
		t := tracks[e.channel]
		if t == nil {
			b := v.book(e.channel)
			t = &track{book: b, page: p, received: map[string]bool{}, offsets: map[place]bool{}, newest: map[string]uint64{}}
			tracks[e.channel], b.tracks = t, append(b.tracks, t)
		}
		t.replay(e)
	}
}

func (t *track) replay(e event) {
	switch e.kind {
	case "joined":
		t.join(e)
	case "message":
		t.hear(e)
	case "resync":
		t.begin(e)
	case "left":
		t.on = false
	}
}

func (t *track) join(e event) {
	if !t.page.may[t.channel] {
		t.fault(foreign, "joined without a grant")
	}
	t.on = true
	s := t.last()
	switch {
	case !e.recovered:
		t.begin(e)
	case !e.hadPosition:
		t.fault(falseRecovered, "without a position")
		t.begin(e)
	case s == nil: // its position is from before the checker's time
		t.begin(e)
		t.last().resumed = e.at
	case e.position != s.position:
		t.fault(falseRecovered, "at %s, but it stood at %s", e.position, s.position)
		t.begin(e)
	default:
		s.resumed = e.at
	}
}

// begin begins a stretch where e says.
func (t *track) begin(e event) {
	at, ok := parsePlace(e.position)
	if !ok {
		t.fault(wrongPosition, "%s at %q", e.kind, e.position)
	}
	t.stretches = append(t.stretches, stretch{began: e.at, from: at, to: at, known: ok, position: e.position})
}

func (t *track) hear(e event) {
	at, ok := parsePlace(e.position)
	again := t.received[e.data.ID]
	t.received[e.data.ID] = true
	newest, heard := t.newest[at.epoch]
	if ok {
		t.offsets[at] = true
	}
	switch stranger := t.stranger(e); {
	case stranger != "":
		t.fault(foreign, "%q, %s", e.data.ID, stranger)
	case again:
		t.fault(duplicate, "%q, now at %s", e.data.ID, e.position)
	case !ok:
		t.fault(wrongPosition, "%q at %q", e.data.ID, e.position)
	case heard && at.offset <= newest:
		t.fault(wrongOrder, "%q at %s after %d", e.data.ID, at, newest)
	case t.last().known && at.epoch == t.last().to.epoch && at.offset <= t.last().to.offset:
		t.fault(wrongOrder, "%q at %s, but it stood at %s", e.data.ID, at, t.last().to)
	default:
		t.newest[at.epoch] = at.offset
		t.order = append(t.order, spot{e.data.ID, at})
		t.step(e, at)
	}
}

// stranger says why a message is none of this page's business on this channel.
func (t *track) stranger(e event) string {
	s := t.verdict.sent[e.data.ID]
	switch {
	case s == nil:
		return "which nobody published"
	case s.Channel != t.channel || e.data.Channel != t.channel:
		return fmt.Sprintf("published on %s, saying %s", s.Channel, e.data.Channel)
	case !t.page.may[t.channel]:
		return "without a grant"
	case !t.on:
		return "not joined"
	}
	return ""
}

// step moves the page to a message that is new to it.
func (t *track) step(e event, at place) {
	s := t.last()
	kind := loss
	if s.resumed > 0 {
		kind = falseRecovered
	}
	switch {
	case !s.known:
		s.from, s.known = at, true
	case at.epoch != s.to.epoch:
		t.fault(kind, "%q at %s follows %s without a word", e.data.ID, at, s.to)
		t.begin(e)
		s = t.last()
	case at.offset != s.to.offset+1:
		t.holes = append(t.holes, hole{kind, s.to, at})
	}
	m := t.verdict.sent[e.data.ID]
	s.to, s.position, s.resumed = at, e.position, 0
	s.recorded = max(s.recorded, m.began)
	if m.way == byPublish {
		s.published = max(s.published, m.began)
	}
}

// disagreement says that there is no one order in which all pages heard the
// channel, and returns messages that go round in a circle.
func (b *book) disagreement() map[string]bool {
	before, after, waits := map[string][]string{}, map[string][]string{}, map[string]int{}
	for _, t := range b.tracks {
		for i, s := range t.order {
			waits[s.id] += 0
			if i == 0 || slices.Contains(before[s.id], t.order[i-1].id) {
				continue
			}
			x := t.order[i-1].id
			before[s.id], after[x] = append(before[s.id], x), append(after[x], s.id)
			waits[s.id]++
		}
	}
	var free []string
	for id, n := range waits {
		if n == 0 {
			free = append(free, id)
		}
	}
	for len(free) > 0 {
		id := free[len(free)-1]
		free = free[:len(free)-1]
		delete(waits, id)
		for _, next := range after[id] {
			if waits[next]--; waits[next] == 0 {
				free = append(free, next)
			}
		}
	}
	if len(waits) == 0 {
		return nil
	}
	circle := backwards(before, waits)
	b.verdict.fault(wrongOrder, "pages on %s do not agree on the order of %q", b.channel, circle)
	all := map[string]bool{}
	for _, id := range circle {
		all[id] = true
	}
	return all
}

// backwards walks from any message that waits to one before it that waits too,
// which each has, until it comes round, and returns the circle.
func backwards(before map[string][]string, waits map[string]int) []string {
	var path []string
	id := slices.Min(slices.Collect(maps.Keys(waits)))
	for !slices.Contains(path, id) {
		path = append(path, id)
		id = before[id][slices.IndexFunc(before[id], func(x string) bool { return waits[x] > 0 })]
	}
	return path[slices.Index(path, id):]
}

// place gives each message its place, by receipts and by what was heard. Messages
// that pages do not agree on are at two places or share one; that is said already.
func (b *book) place(disagreed map[string]bool) {
	put := func(id string, at place) {
		if b.at[at] == id {
			return
		}
		if b.of[id] == nil {
			b.of[id] = map[string]uint64{}
		}
		offset, placed := b.of[id][at.epoch]
		other, taken := b.at[at]
		switch {
		case disagreed[id] && (placed || disagreed[other]):
		case placed:
			b.verdict.fault(wrongPosition, "%q on %s is at %s, and at %d too", id, b.channel, at, offset)
		case taken:
			b.verdict.fault(wrongPosition, "%q on %s is at %s, where %q is", id, b.channel, at, other)
		default:
			b.of[id][at.epoch], b.at[at] = at.offset, id
		}
	}
	for _, s := range b.sent {
		for _, position := range s.positions {
			if at, ok := parsePlace(position); ok {
				put(s.ID, at)
			} else {
				b.verdict.fault(wrongPosition, "the receipt of %q says %q", s.ID, position)
			}
		}
	}
	for _, t := range b.tracks {
		for _, s := range t.order {
			put(s.id, s.place)
		}
	}
}

// judgeSending compares the places with the order of sending, as far as that was
// certain: what is accepted is before what is sent afterwards. After a plain
// PUBLISH that holds for plain PUBLISHes only.
func (b *book) judgeSending() {
	places := slices.SortedFunc(maps.Keys(b.at), func(x, y place) int {
		return cmp.Or(cmp.Compare(x.epoch, y.epoch), cmp.Compare(y.offset, x.offset))
	})
	var epoch string
	var first map[bool]*sent // of those behind, the first accepted: by plain PUBLISH, or not
	for _, at := range places {
		if at.epoch != epoch {
			epoch, first = at.epoch, map[bool]*sent{}
		}
		m := b.verdict.sent[b.at[at]]
		plain := m.way == byPublish
		for _, by := range []bool{false, true} {
			if x := first[by]; x != nil && x.accepted < m.began && (!by || plain) {
				b.verdict.fault(wrongOrder, "%q on %s is at %s, before %q, but was sent after that was accepted", m.ID, b.channel, at, x.ID)
			}
		}
		if x := first[plain]; m.accepted > 0 && (x == nil || m.accepted < x.accepted) {
			first[plain] = m
		}
	}
}

// judgeHoles looks for what was leapt over. What came nevertheless, too late or as
// something else, has been said.
func (t *track) judgeHoles() {
	for _, h := range t.holes {
		missing := h.to.offset - h.from.offset - 1
		for at := range t.offsets {
			if at.epoch == h.to.epoch && h.from.offset < at.offset && at.offset < h.to.offset {
				missing--
			}
		}
		if missing == 0 {
			continue
		}
		var some []string
		for at := (place{h.to.epoch, h.from.offset + 1}); at.offset < h.to.offset && len(some) < 3; at.offset++ {
			if !t.offsets[at] {
				some = append(some, nameOf(t.at[at])+" at "+at.String())
			}
		}
		t.fault(h.kind, "%d missing between %s and %s: %s", missing, h.from, h.to, strings.Join(some, ", "))
	}
}

// nameOf names a message, known or not.
func nameOf(id string) string {
	if id == "" {
		return "an unknown message"
	}
	return strconv.Quote(id)
}

// judgeStretches looks for what was owed in each stretch and is in no hole.
func (t *track) judgeStretches() {
	for i, s := range t.stretches {
		open := t.on && i == len(t.stretches)-1
		kind := loss
		var missing []string
		for _, m := range t.book.sent {
			if t.received[m.ID] || !t.owed(s, open, m) {
				continue
			}
			missing = append(missing, m.ID)
			if m.accepted < s.resumed {
				kind = falseRecovered
			}
		}
		if n := len(missing); n > 0 {
			t.fault(kind, "%d accepted and never heard, standing at %s: %q", n, s.to, missing[:min(n, 3)])
		}
	}
}

// owed reports whether m had to come in s. If the place of m does not tell, time
// does: sent after the stretch had begun, and accepted before it ended, or before
// something was sent that was heard in it.
func (b *book) owed(s stretch, open bool, m *sent) bool {
	offset, placed := b.of[m.ID][s.to.epoch]
	switch {
	case m.accepted == 0:
		return false
	case placed && offset > s.to.offset:
		return open
	case placed && offset > s.from.offset:
		return false // there is a hole, or another message
	}
	until := s.recorded
	if m.way == byPublish {
		until = s.published
	}
	return m.began > s.began && (open || m.accepted < until)
}
