package broker

import "time"

// timing is every duration of the package in one place; tests shorten some.
type timing struct {
	dial    time.Duration // until TCP and TLS stand
	command time.Duration // until a command is written and answered
	ping    time.Duration // between two PINGs of the subscription
	silence time.Duration // no byte from Redis for so long: the link is frozen
	probe   time.Duration // between two probes
	fresh   time.Duration // a probe that came back since then: ready
	deaf    time.Duration // a probe that Redis took has not come back by then

	tick   time.Duration // how often a link's chores are looked at
	batch  time.Duration // how long a SUBSCRIBE waits for company
	linger time.Duration // how long an unwanted channel is kept
	denied time.Duration // when a refused channel is asked for again

	lease   time.Duration // of a recorder or a standby that does not renew it
	renew   time.Duration // between two renewals
	poll    time.Duration // between two looks of a standby at the recorder's lease
	vacancy timeRange     // between two looks of the others
	heir    time.Duration // how long a recorder that leaves waits for a standby

	receipt time.Duration // how long replicas may take to say what a message came to

	library time.Duration // between two looks at the library of functions

	quiet timeRange // between two looks at the log of a quiet channel

	backoff timeRange // between two dials, and between two tries of a read
	steady  time.Duration
}

type timeRange struct{ min, max time.Duration }

// Delivery must go on within three seconds of Redis' return, whatever it was doing.
// So a dial that hangs on a frozen Redis is answered as soon as that thaws, and
// between dials there is never more than a second.
var defaultTiming = timing{
	dial:    2 * time.Second,
	command: 3 * time.Second,
	ping:    time.Second,
	silence: 5 * time.Second,
	probe:   time.Second,
	fresh:   3 * time.Second,
	deaf:    4 * time.Second,

	tick:   250 * time.Millisecond,
	batch:  2 * time.Millisecond,
	linger: 5 * time.Second,
	denied: 10 * time.Second,

	lease:   3 * time.Second,
	renew:   time.Second,
	poll:    250 * time.Millisecond,
	vacancy: timeRange{time.Second, 2 * time.Second},
	heir:    4 * time.Second,

	receipt: time.Second,

	library: time.Minute,

	quiet: timeRange{10 * time.Second, 25 * time.Second},

	backoff: timeRange{50 * time.Millisecond, time.Second},
	steady:  5 * time.Second,
}
