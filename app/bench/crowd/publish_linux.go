package crowd

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// publishOne publishes a message to whom the load's kind says. What a page may miss
// since it is away is not waited for.
func (l *load) publishOne(due time.Time) {
	switch {
	case l.Kind == Room:
		l.publish(append(l.pipe.commands[:0], l.prefix...), due, l.crowd.open, false)
	case l.Kind == Mixed && l.rng.IntN(5) == 0:
		i := l.rng.IntN(len(l.crowd.pages))
		heard := l.neighbours(i)
		if l.Churn > 0 {
			heard = 0
		}
		l.publish(fmt.Appendf(l.pipe.commands[:0], "%s%s%s", l.room[0], l.crowd.small(i), l.room[1]), due, heard, false)
	default:
		heard := 1
		if l.Churn > 0 && !l.Durable {
			heard = 0
		}
		l.publish(l.channelOf(l.rng.IntN(len(l.crowd.pages))), due, heard, l.Durable)
	}
}

// neighbours is how many pages hear the small room of page i.
func (l *load) neighbours(i int) int {
	first := i - (l.crowd.order.First+i)%RoomSize
	return min(first+RoomSize, len(l.crowd.pages)) - max(first, 0)
}

// channelOf is the private channel of page i, in scratch.
func (l *load) channelOf(i int) []byte {
	b := l.pipe.commands[:0]
	b = append(b, l.prefix...)
	b = strconv.AppendInt(b, int64(l.crowd.order.First+i), 10)
	return append(b, l.suffix...)
}

var fcall, publish, aldabaPublish, one = []byte("FCALL"), []byte("PUBLISH"), []byte("aldaba_publish"), []byte("1")

// What a message says before the moment at which it was due.
const (
	keyDue   = `"due":`   // its deliveries are waited for
	keyLoose = `"loose":` // they are not
)

// publish queues one message to channel, which that many pages have to hear; 0 if
// nobody waits for them.
func (l *load) publish(channel []byte, due time.Time, heard int, durable bool) {
	l.pipe.commands = channel
	var scratch [1 << 10]byte
	data := append(scratch[:0], '{')
	if heard > 0 {
		data = append(data, keyDue...)
	} else {
		data = append(data, keyLoose...)
	}
	data = strconv.AppendInt(data, due.UnixNano(), 10)
	data = append(data, `,"pad":"`...)
	data = append(data, l.pad...)
	data = append(data, `"}`...)
	if durable {
		l.pipe.out = appendCommand(l.pipe.out, fcall, aldabaPublish, one, channel, data)
	} else {
		l.pipe.out = appendCommand(l.pipe.out, publish, channel, data)
	}
	l.pipe.sent++
	l.outstanding += heard
	if l.measures(due) {
		l.published++
	}
}

func (l *load) measures(due time.Time) bool { return !due.Before(l.from) && due.Before(l.to) }

// heard counts a delivery of what was due then.
func (l *load) heard(due int64) {
	if at := time.Unix(0, due); l.measures(at) {
		l.counted++
		_ = l.latency.RecordValue(time.Since(at).Nanoseconds()) // more than two minutes is lost
	}
}

// answered reads what Redis answers.
func (l *load) answered(buffer []byte) error {
	for {
		n, err := unix.Read(l.pipe.fd, buffer)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil:
			return fmt.Errorf("redis: %w", err)
		case n == 0:
			return errors.New("redis has hung up")
		}
		l.pipe.in = append(l.pipe.in, buffer[:n]...)
		if err := l.pipe.answers(); err != nil {
			return err
		}
		if n < len(buffer) {
			return nil
		}
	}
}

// flush writes what Redis takes at once.
func (p *pipe) flush() error {
	for len(p.out) > 0 {
		n, err := unix.Write(p.fd, p.out)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("redis: %w", err)
		}
		p.out = p.out[:copy(p.out, p.out[n:])]
	}
	return nil
}

// churn has pages come back on a new connection.
func (l *load) churn(now time.Time) error {
	if l.Churn <= 0 {
		return nil
	}
	for due := l.Churn * now.Sub(l.began).Seconds(); l.churned < due; l.churned++ {
		i := l.rng.IntN(len(l.crowd.pages))
		if s := l.crowd.pages[i].state; s != pageOpen && s != pageClosed {
			continue // on its way
		}
		l.crowd.drop(i)
		request, err := l.crowd.request(i)
		if err != nil {
			return err
		}
		if err := l.crowd.dial(i, request); err != nil {
			return err
		}
		l.returned++
	}
	return nil
}
