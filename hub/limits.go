package hub

import "time"

// Limits bound what one client may take. A zero value takes its default.
type Limits struct {
	Message            int64 // bytes of one message's data; 64 KiB
	Queue              int64 // bytes waiting for one session; 1 MiB
	ChannelsPerSession int   // 200
	SessionsPerUser    int   // of this replica; 50
	SessionsPerAddress int   // of this replica; an IPv6 address counts by its /64; 1000
	FramesPerSecond    int   // frames from one session; 20
	ConnectsPerSecond  int   // upgrades of this replica; 2000
}

// DefaultLimits are the limits of a hub that was told nothing else.
func DefaultLimits() Limits {
	return Limits{
		Message:            64 << 10,
		Queue:              1 << 20,
		ChannelsPerSession: 200,
		SessionsPerUser:    50,
		SessionsPerAddress: 1000,
		FramesPerSecond:    20,
		ConnectsPerSecond:  2000,
	}
}

func (l Limits) orDefaults() Limits {
	d := DefaultLimits()
	orDefault(&l.Message, d.Message)
	orDefault(&l.Queue, d.Queue)
	orDefault(&l.ChannelsPerSession, d.ChannelsPerSession)
	orDefault(&l.SessionsPerUser, d.SessionsPerUser)
	orDefault(&l.SessionsPerAddress, d.SessionsPerAddress)
	orDefault(&l.FramesPerSecond, d.FramesPerSecond)
	orDefault(&l.ConnectsPerSecond, d.ConnectsPerSecond)
	return l
}

func orDefault[T int | int64](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// frame returns how many bytes a client's frame may have: who may join so many channels
// may resume all of them, however short a message must be.
func (l Limits) frame() int64 {
	return max(l.Message, int64(l.ChannelsPerSession)*resumeEntry) + frameEnvelope
}

const (
	// queueFrames bounds a session's queue by count: many tiny frames cost more
	// than their bytes.
	queueFrames = 8192

	// frameEnvelope is what a client frame may hold besides a message's data:
	// the longest token (16 KiB), a channel name, an id.
	frameEnvelope = 20 << 10
	// resumeEntry is what a `resume` may hold for each channel: a name, a position, signs.
	resumeEntry = 400

	// idBytes bounds the id of a command, which the hub repeats.
	idBytes = 64

	// longestControl is how many bytes a control frame may hold (RFC 6455, section 5.5).
	longestControl = 125

	pingPeriod = 25 * time.Second
	heartbeat  = 15 * time.Second // of an event stream
	pongWait   = 60 * time.Second

	// joinWait is how long a session waits for the broker before its welcome.
	joinWait = 10 * time.Second
	// resumeWait is how long a client that resumes has to say from where.
	resumeWait = 10 * time.Second
	// readAgain is after how long a history that could not be read is read again.
	readAgain = 200 * time.Millisecond
	// heldBytes bounds what is held for a session that catches up.
	heldBytes = 256 << 10
	// publishWait is how long the broker may take for a session's publish.
	publishWait = 5 * time.Second
	// stallWait is how long a socket may take no byte at all before its session
	// counts as slow.
	stallWait = 10 * time.Second
	// closeWait is how long a peer may take to answer a close frame.
	closeWait = 5 * time.Second
	// cutWait is how long sessions that are hung up on may take to be gone.
	cutWait = time.Second
	// limitWait is after how long something beyond a limit may be tried again.
	limitWait = 10 * time.Second
	// expirySpread is over how long the timers cut sessions whose tokens end together.
	expirySpread = 600 * time.Millisecond
	// expiryNotice is how long before its token's end a session is told.
	expiryNotice = time.Minute
)
