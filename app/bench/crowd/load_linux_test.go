package crowd

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// loadOf is a load on so many open pages, measured for a second from noon. What it
// publishes goes nowhere.
func loadOf(t *testing.T, pages int, o Load) *load {
	t.Helper()
	c := &crowd{pages: make([]page, pages), open: pages, faults: make(map[string]int)}
	for i := range c.pages {
		c.pages[i] = page{fd: -1, state: pageOpen}
	}
	kind := o.Kind
	o.Kind, o.For, o.Size = Idle, time.Second, 200 // idle: no Redis
	l, err := c.newLoad(o)
	if err != nil {
		t.Fatal(err)
	}
	l.Kind, c.load = kind, l
	if l.pipe.fd, err = unix.Open("/dev/null", unix.O_WRONLY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(l.pipe.fd) })
	if err := l.begin(noon); err != nil {
		t.Fatal(err)
	}
	return l
}

// deliver has page i hear message n, due at noon.
func (l *load) deliver(i int, of stream, n int64) {
	s := stamp{due: noon.UnixNano(), of: of, n: n}
	l.crowd.message(i, append(s.append([]byte(`{"type":"message","channel":"c","data":`)), `}}`...))
}

func (l *load) publishAt(t *testing.T, now time.Time) {
	t.Helper()
	if err := l.publishDue(now); err != nil {
		t.Fatal(err)
	}
}

// faulty wants those faults, and no other.
func (l *load) faulty(t *testing.T, want string) {
	t.Helper()
	if got := Faults(l.crowd.faults); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAllThatIsDueIsPublishedAtTheEnd(t *testing.T) {
	t.Parallel()
	l := loadOf(t, 10, Load{Kind: Private, Rate: 1000})
	l.publishAt(t, noon.Add(700*time.Millisecond))
	l.publishAt(t, l.to.Add(30*time.Millisecond)) // this pass finds that the time is over
	if l.published != 1000 || l.due != 1000 || l.pipe.sent != 1000 {
		t.Errorf("%d published in time, %d due, %d in all", l.published, l.due, l.pipe.sent)
	}
}

func TestNothingIsPublishedAfterTheEndWithoutARate(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{Private, Room, Mixed} {
		l := loadOf(t, 10, Load{Kind: kind, Window: 5})
		if l.publishAt(t, l.to); l.pipe.sent != 0 {
			t.Errorf("%s: %d", kind, l.pipe.sent)
		}
	}
}

func TestFocusThatIsNotMeasuredIsRefused(t *testing.T) {
	t.Parallel()
	l := loadOf(t, 1, Load{})
	l.focus = noon.Add(5810 * time.Millisecond)
	const want = "the second from 12:00:05.810 is not within what is measured, from 12:00:00.000 to 12:00:01.000"
	if err := l.begin(noon); err == nil || err.Error() != want {
		t.Error(err)
	}
}

func TestSilentCrowdKnowsWhatItHasToHear(t *testing.T) {
	t.Parallel()
	l := loadOf(t, 2, Load{Kind: Room, Joint: true, Silent: true})
	if !l.unsettled() {
		t.Error("it does not wait for the end of the room")
	}
	l.deliver(0, room, 1)
	if l.outstanding != 1 {
		t.Errorf("%d outstanding: page 1 has to hear it, too", l.outstanding)
	}
	l.deliver(0, room, 2)
	l.deliver(1, room, 2)
	if l.lost != 1 || l.outstanding != 0 {
		t.Errorf("%d lost, %d outstanding: page 1 never heard message 1", l.lost, l.outstanding)
	}
	l.deliver(1, endOfRoom, 5)
	if l.lost != 3 || l.outstanding != 3 || !l.unsettled() {
		t.Errorf("%d lost, %d outstanding: page 0 has to hear 3, 4 and 5", l.lost, l.outstanding)
	}
	l.giveUp()
	l.faulty(t, "no faults") // they are counted as lost
}

func TestSilentCrowdThatNeverHearsTheEndIsAFault(t *testing.T) {
	t.Parallel()
	l := loadOf(t, 2, Load{Kind: Room, Joint: true, Silent: true})
	l.giveUp()
	l.faulty(t, "1 × a generator never heard the end of the room")
}

func TestEndOfTheRoomFollowsTheLastMessage(t *testing.T) {
	t.Parallel()
	l := loadOf(t, 2, Load{Kind: Room, Joint: true, Window: 3})
	l.publishAt(t, noon)
	if err := l.endRoom(); err != nil {
		t.Fatal(err)
	}
	if l.rooms[0] != 4 || l.outstanding != 8 || l.due != 6 || l.published != 3 {
		t.Errorf("number %d; %d outstanding, %d due of %d messages", l.rooms[0], l.outstanding, l.due, l.published)
	}
}

func TestDoubleIsAFault(t *testing.T) {
	t.Parallel()
	l := loadOf(t, 1, Load{Kind: Private, Window: 3})
	l.publishAt(t, noon)
	for _, n := range []int64{1, 1, 2} {
		l.deliver(0, private, n)
	}
	if l.outstanding != 1 {
		t.Errorf("%d outstanding", l.outstanding)
	}
	l.faulty(t, "1 × a message that was heard before, or is out of turn")
}

func TestMessageIsAsLongAsAskedFor(t *testing.T) {
	t.Parallel()
	l := loadOf(t, 1, Load{Kind: Private})
	l.publish(l.channelOf(0), noon, private, &l.crowd.pages[0].published, 1)
	if !strings.Contains(string(l.pipe.out), "\r\n$200\r\n{") {
		t.Errorf("%q", l.pipe.out)
	}
}

func TestPlaceOfAPageThatLeaves(t *testing.T) {
	t.Parallel()
	for durable, want := range map[bool][2]int64{
		false: {private: unknown, room: unknown},
		true:  {private: 4, room: unknown}, // it resumes its log
	} {
		l := loadOf(t, 1, Load{Kind: Mixed, Rate: 1, Churn: 1, Durable: durable})
		p := &l.crowd.pages[0]
		p.places = [2]int64{4, 9}
		if l.leave(0); p.places != want || p.state != pageClosed {
			t.Errorf("recorded %v: %v", durable, p.places)
		}
	}
}
