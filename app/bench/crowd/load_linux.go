package crowd

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// load is one Load under way.
type load struct {
	Load
	tally

	crowd  *crowd
	pipe   pipe
	rng    *rand.Rand
	pad    []byte
	prefix []byte // of a private channel, before the user
	suffix []byte
	room   [2]string // of a mixed load, before and after its name

	began    time.Time               // published from
	next     time.Time               // when the next message is due, with a rate
	each     int                     // of Each, the next page
	rooms    []int64                 // how many messages have gone to each; one, or the small ones
	over     bool                    // the end of the room was heard
	late     *hdrhistogram.Histogram // between due and published
	churned  float64                 // connections to be made anew so far
	returned int                     // that were made anew
}

// carry publishes and listens as o says.
func (c *crowd) carry(o Load) (Loaded, error) {
	l, err := c.newLoad(o)
	if err != nil {
		return Loaded{}, err
	}
	defer func() { _ = unix.Close(l.pipe.fd) }()
	c.load = l
	defer func() { c.load = nil }()
	if err := c.poll.every(l.tick()); err != nil {
		return Loaded{}, err
	}
	if o.Silent {
		c.say(Event{Listening: true})
	}
	if err := l.run(); err != nil {
		return Loaded{}, err
	}
	took := time.Since(l.began)
	if err := l.settle(); err != nil {
		return Loaded{}, err
	}
	encoded, err := l.latency.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return Loaded{}, err
	}
	return Loaded{
		Published: l.published, Due: l.due, Arrived: l.arrived, Lost: l.lost + l.outstanding,
		Checked: l.checked, Unchecked: l.unchecked, Took: took, Latency: encoded, Late: time.Duration(l.late.ValueAtQuantile(99)), Returned: l.returned, Faults: c.faults,
	}, nil
}

func (c *crowd) newLoad(o Load) (*load, error) {
	if o.Churn > 0 && o.Rate <= 0 {
		return nil, errors.New("a load with churn needs a rate")
	}
	l := &load{
		Load: o, crowd: c, late: NewHistogram(),
		tally: tally{focus: o.Focus, latency: NewHistogram()},
		rng:   rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), //nolint:gosec // it picks users
		pad:   bytes.Repeat([]byte{'x'}, o.Size),
		rooms: make([]int64, 1+len(c.pages)/RoomSize+1),
	}
	for i := range c.pages {
		p := &c.pages[i]
		p.published, p.places = 0, [2]int64{}
	}
	before, after, private := strings.Cut(o.Channel, "{sub}")
	if private {
		before += Prefix
	}
	l.prefix, l.suffix = []byte(o.Redis.Prefix+before), []byte(after)
	before, after, _ = strings.Cut(o.Room, "{rooms}")
	l.room = [2]string{o.Redis.Prefix + before, after}
	l.pipe.fd = -1
	if o.Kind == Idle {
		return l, nil
	}
	fd, err := dialRedis(o.Redis)
	if err != nil {
		return nil, err
	}
	l.pipe.fd = fd
	return l, c.poll.watch(fd, redisToken, unix.EPOLLIN)
}

// dialRedis returns the descriptor of a connection that does not block.
func dialRedis(r Redis) (int, error) {
	conn, err := net.Dial("tcp", r.Address) //nolint:noctx // Redis is near
	if err != nil {
		return -1, err
	}
	defer func() { _ = conn.Close() }()
	if err := r.enter(conn); err != nil {
		return -1, err
	}
	file, err := conn.(*net.TCPConn).File()
	if err != nil {
		return -1, err
	}
	defer func() { _ = file.Close() }()
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		return -1, err
	}
	return fd, unix.SetNonblock(fd, true)
}

// tick is how often the crowd has to look at the clock.
func (l *load) tick() time.Duration {
	if l.Rate <= 0 {
		return 20 * time.Millisecond
	}
	interval := time.Duration(float64(time.Second) / l.Rate)
	return max(200*time.Microsecond, min(interval, 20*time.Millisecond))
}

// begin sets the times of l.
func (l *load) begin(now time.Time) error {
	l.began, l.next = now, now
	l.from = now.Add(l.Warm)
	l.to = l.from.Add(l.For)
	if !l.covers() {
		return fmt.Errorf("the second from %s is not within what is measured, from %s to %s",
			l.focus.Format(clock), l.from.Format(clock), l.to.Format(clock))
	}
	return nil
}

const clock = "15:04:05.000"

// run goes on until the last message to be measured is published.
func (l *load) run() error {
	if err := l.begin(time.Now()); err != nil {
		return err
	}
	l.crowd.progress = l.began
	told, heard := l.began, 0
	for began := false; ; {
		now := time.Now()
		if !began && !now.Before(l.from) {
			began = true
			l.crowd.say(Event{Began: true})
		}
		if err := l.publishDue(now); err != nil {
			return err
		}
		if !now.Before(l.to) {
			l.crowd.say(Event{Ended: true})
			return l.endRoom()
		}
		if now.Sub(told) >= time.Second {
			l.crowd.say(Event{Progress: &Progress{Heard: l.arrived - heard}})
			told, heard = now, l.arrived
		}
		if err := l.churn(now); err != nil {
			return err
		}
		if l.full() {
			nap(pause)
		}
		if err := l.crowd.step(20 * time.Millisecond); err != nil {
			return err
		}
		if l.outstanding > 0 && time.Since(l.crowd.progress) > patience {
			return fmt.Errorf("nothing was heard for %s, %d deliveries are missing; %s", patience, l.outstanding, Faults(l.crowd.faults))
		}
	}
}

// pause is how long the crowd leaves its core to Redis, with which it shares it, while
// the window is full. To look at each delivery by itself would cost both of them more in
// switches than in work.
const pause = time.Millisecond

// full reports whether a window of many messages is under way, so that none is late for
// a pause.
func (l *load) full() bool {
	return l.Durable && l.Rate <= 0 && l.Window >= 1000 && l.outstanding >= l.Window
}

// settling is how long what is under way may take when nothing more is published.
const settling = time.Minute

// settle waits for what is under way.
func (l *load) settle() error {
	l.crowd.progress = time.Now()
	began := l.crowd.progress
	for l.unsettled() {
		if time.Since(l.crowd.progress) > patience/2 || time.Since(began) > settling {
			l.giveUp()
			return nil
		}
		if err := l.pipe.flush(); err != nil {
			return err
		}
		if err := l.crowd.step(20 * time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) unsettled() bool {
	return l.outstanding > 0 || l.pipe.heard < l.pipe.sent || l.Churn > 0 && l.crowd.pending > 0 || l.Silent && !l.over
}

// giveUp says what is missing and has no number: what is outstanding is lost.
func (l *load) giveUp() {
	if l.pipe.heard < l.pipe.sent {
		l.crowd.fault("redis did not answer all that was published")
	}
	if l.Silent && !l.over {
		l.crowd.fault("a generator never heard the end of the room")
	}
}

// publishDue publishes what is due at now and before the end.
func (l *load) publishDue(now time.Time) error {
	switch {
	case l.Kind == Idle || l.Silent:
		return nil
	case l.Kind == Each:
		for ; l.each < len(l.crowd.pages); l.each++ {
			l.publish(l.channelOf(l.each), now, private, &l.crowd.pages[l.each].published, 0)
		}
	case l.Rate > 0:
		interval := time.Duration(float64(time.Second) / l.Rate)
		for ; !l.next.After(now) && l.next.Before(l.to); l.next = l.next.Add(interval) {
			l.publishOne(l.next)
			_ = l.late.RecordValue(now.Sub(l.next).Nanoseconds()) // more than two minutes is all the same
		}
	case !now.Before(l.to):
		// Without a rate nothing more is due.
	case l.Kind == Room:
		if l.outstanding > 0 {
			break // one burst at a time
		}
		for range l.Window {
			l.publishOne(now)
		}
	default:
		for l.outstanding < l.Window {
			l.publishOne(now)
		}
	}
	return l.pipe.flush()
}
