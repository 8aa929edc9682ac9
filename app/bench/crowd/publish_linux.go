package crowd

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// publishOne publishes a message to whom the load's kind says.
func (l *load) publishOne(due time.Time) {
	switch {
	case l.Kind == Room:
		l.publish(l.channelOfRoom(), due, room, &l.rooms[0], l.crowd.open)
	case l.Kind == Mixed && l.rng.IntN(5) == 0:
		i := l.rng.IntN(len(l.crowd.pages))
		small := (l.crowd.order.First+i)/RoomSize - l.crowd.order.First/RoomSize
		l.publish(fmt.Appendf(l.pipe.commands[:0], "%s%s%s", l.room[0], l.crowd.small(i), l.room[1]), due, room, &l.rooms[small], l.neighbours(i))
	default:
		i := l.rng.IntN(len(l.crowd.pages))
		l.publish(l.channelOf(i), due, private, &l.crowd.pages[i].published, 1)
	}
}

// endRoom tells the crowds that only listen how many messages there were.
func (l *load) endRoom() error {
	if !l.Joint || l.Silent {
		return nil
	}
	l.publish(l.channelOfRoom(), l.to, endOfRoom, &l.rooms[0], l.crowd.open)
	return l.pipe.flush()
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

// channelOfRoom is the channel of the one room, in scratch.
func (l *load) channelOfRoom() []byte { return append(l.pipe.commands[:0], l.prefix...) }

var fcall, publish, aldabaPublish, one = []byte("FCALL"), []byte("PUBLISH"), []byte("aldaba_publish"), []byte("1")

// publish queues a message to channel, for that many pages. count is how many have gone
// there before, and goes up.
func (l *load) publish(channel []byte, due time.Time, of stream, count *int64, pages int) {
	l.pipe.commands = channel
	*count++
	var scratch [1 << 10]byte
	data := stamp{due: due.UnixNano(), of: of, n: *count}.append(scratch[:0])
	data = append(data, `,"pad":"`...)
	data = append(data, l.pad[:max(0, l.Size-len(data)-len(`"}`))]...)
	data = append(data, `"}`...)
	if l.Durable && of == private {
		l.pipe.out = appendCommand(l.pipe.out, fcall, aldabaPublish, one, channel, data)
	} else {
		l.pipe.out = appendCommand(l.pipe.out, publish, channel, data)
	}
	l.pipe.sent++
	if l.measures(due) {
		l.published++
	}
	l.expect(due, pages, l.awaits(of))
}

// awaits reports whether each delivery is waited for. With churn a page may be away, and
// misses what is not recorded.
func (l *load) awaits(of stream) bool { return l.Churn <= 0 || l.Durable && of == private }

// heard counts what page p has heard just now.
func (l *load) heard(p *page, s stamp, now time.Time) {
	due, of := time.Unix(0, s.due), s.of
	if of == endOfRoom {
		l.over, of = true, room
	}
	if l.Silent {
		l.learn(s, due)
	}
	if l.hear(&p.places[of], s.n, due, now, l.awaits(of)) {
		l.crowd.fault("a message that was heard before, or is out of turn")
	}
}

// learn notes what another crowd has published until s: all pages here are to hear it.
func (l *load) learn(s stamp, due time.Time) {
	if more := s.n - l.rooms[0]; more > 0 {
		l.rooms[0] = s.n
		l.expect(due, int(more)*l.crowd.open, l.awaits(room))
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
		l.leave(i)
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

// leave closes page i, which loses its place in what is not recorded.
func (l *load) leave(i int) {
	l.crowd.drop(i)
	for of := range l.crowd.pages[i].places {
		if !l.awaits(stream(of)) {
			l.crowd.pages[i].places[of] = unknown
		}
	}
}
