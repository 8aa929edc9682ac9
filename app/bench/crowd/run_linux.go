package crowd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// Sign returns a token for user as o asks for it.
type Sign func(o *Connect, user string, claims map[string]any) (string, error)

// crowd is the state of one generator. One goroutine has it.
type crowd struct {
	poll   *poll
	sign   Sign
	say    func(Event)
	pages  []page
	order  Connect
	remote unix.SockaddrInet4

	recorded []byte // what only a message of a user's recorded channel has

	faults   map[string]int
	open     int       // pages that are welcomed and have heard what they await
	pending  int       // pages on their way there
	progress time.Time // when something last happened
	load     *load     // nil: none
}

// Run obeys the orders of in until it ends. An order that cannot be obeyed is
// answered with Failed and ends it, without an error.
func Run(in io.Reader, out io.Writer, sign Sign) error {
	p, err := newPoll()
	if err != nil {
		return err
	}
	defer p.close()
	events := json.NewEncoder(out)
	var failed error
	c := &crowd{poll: p, sign: sign, say: func(e Event) { failed = errors.Join(failed, events.Encode(e)) }}
	orders := json.NewDecoder(in)
	for failed == nil {
		var o Order
		err := orders.Decode(&o)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.obey(o); err != nil {
			c.say(Event{Failed: err.Error()})
			return failed
		}
	}
	return failed
}

func (c *crowd) obey(o Order) error {
	c.faults = make(map[string]int)
	switch {
	case o.Connect != nil:
		connected, err := c.connect(*o.Connect)
		if err != nil {
			return err
		}
		c.say(Event{Connected: &connected})
	case o.Load != nil:
		loaded, err := c.carry(*o.Load)
		if err != nil {
			return err
		}
		c.say(Event{Loaded: &loaded})
	case o.Drop != nil:
		for i := range c.pages {
			c.drop(i)
		}
		c.say(Event{Dropped: true})
	default:
		return errors.New("an order that says nothing")
	}
	return nil
}

func (c *crowd) fault(format string, args ...any) { c.faults[fmt.Sprintf(format, args...)]++ }

// patience is how long nothing may happen while something should.
const patience = 20 * time.Second

// step waits for sockets, at most that long, and does what they ask for.
func (c *crowd) step(most time.Duration) error {
	return c.poll.wait(most, func(token int32, flags uint32) error {
		switch {
		case token >= 0:
			c.ready(int(token), flags)
			return nil
		case token == redisToken && c.load != nil:
			return c.load.answered(c.poll.buffer)
		default:
			return nil // the timer, or the Redis of a load that is over
		}
	})
}
