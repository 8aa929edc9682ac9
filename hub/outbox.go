package hub

import "sync"

// outbox is what waits to be written to one session's socket. The session's
// mutex guards it.
//
// Frames are queued as pointers that all sessions of a channel share, and merged
// into one write when more than one waits: a write of 3 KB costs as much as one
// of 200 bytes. What has not been handed to the kernel can still be taken back,
// which is how a revoked channel or an ended session stays silent.
type outbox struct {
	frames  []*frame
	single  [1]*frame // what frames begins with: most often one waits alone
	several *several  // what it goes on with; nil until more than one waits
	cost    int64     // of frames
	rest    []byte    // of a frame whose beginning has been written
	state   outboxState
}

// several is room for the frames of a burst. Who has written all gives it back, so that
// a burst allocates nothing for a session.
type several [16]*frame

var severals = sync.Pool{New: func() any { return new(several) }}

type outboxState uint8

const (
	outboxIdle    outboxState = iota // nobody is about to write
	outboxListed                     // a flusher has it on its list
	outboxWaiting                    // a goroutine of its own writes, and waits for the socket
)

// fits reports whether f may be queued within limit.
func (o *outbox) fits(f *frame, limit int64) bool {
	return len(o.frames) < queueFrames && o.cost+f.cost() <= limit
}

func (o *outbox) push(f *frame) {
	switch {
	case o.frames == nil:
		o.frames = o.single[:0]
	case o.several == nil && len(o.frames) == cap(o.frames):
		o.several = severals.Get().(*several) //nolint:forcetypeassert // see severals
		o.frames = append(o.several[:0], o.frames...)
	}
	o.frames = append(o.frames, f)
	o.cost += f.cost()
}

// rid gives back what an outbox without frames has no use for.
func (o *outbox) rid() {
	o.frames, o.single[0] = nil, nil
	if o.several != nil {
		clear(o.several[:])
		severals.Put(o.several)
		o.several = nil
	}
}

func (o *outbox) empty() bool { return len(o.frames) == 0 && len(o.rest) == 0 }

// drop takes back the frames that unwanted says. The rest of a frame that has
// been begun stays: without it the peer could not read what follows.
func (o *outbox) drop(unwanted func(*frame) bool) {
	kept := o.frames[:0]
	o.cost = 0
	for _, f := range o.frames {
		if !unwanted(f) {
			kept = append(kept, f)
			o.cost += f.cost()
		}
	}
	clear(o.frames[len(kept):])
	o.frames = kept
	if len(kept) == 0 {
		o.rid()
	}
}

// batch returns the next bytes to write, never none unless the outbox is empty:
// a single frame as it is, several merged into scratch.
func (o *outbox) batch(scratch []byte) []byte {
	switch {
	case len(o.frames) == 0:
		return o.rest
	case len(o.rest) == 0 && (len(o.frames) == 1 || len(o.frames[0].bytes) > cap(scratch)):
		return o.frames[0].bytes
	case len(o.rest) > cap(scratch):
		return o.rest
	}
	b := scratch[:0]
	b = append(b, o.rest...)
	for _, f := range o.frames {
		if len(b)+len(f.bytes) > cap(scratch) {
			break
		}
		b = append(b, f.bytes...)
	}
	return b
}

// wrote takes the first n bytes out.
func (o *outbox) wrote(n int) {
	if n < len(o.rest) {
		o.rest = o.rest[n:]
		return
	}
	n -= len(o.rest)
	o.rest = nil
	done := 0
	for n > 0 {
		f := o.frames[done]
		o.cost -= f.cost()
		done++
		if n < len(f.bytes) {
			o.rest = f.bytes[n:]
		}
		n -= min(n, len(f.bytes))
	}
	clear(o.frames[:done])
	o.frames = o.frames[done:]
	if len(o.frames) == 0 {
		o.rid() // an idle session keeps nothing
	}
}
