package crowd

import (
	"bytes"
	"strconv"
)

// stamp is what a message says of itself, in front of its padding.
type stamp struct {
	due int64  // when it was to be published, in nanoseconds since 1970
	of  stream // whom it goes to
	n   int64  // its number among the messages of that channel, from 1
}

// stream is one of the two that a page hears: each numbers its messages by itself.
type stream uint8

const (
	private   stream = iota
	room             // large or small; a page is in one of them
	endOfRoom        // the same, and nothing follows
)

var streamKeys = [...][]byte{private: []byte(`,"private":`), room: []byte(`,"room":`), endOfRoom: []byte(`,"last":`)}

var keyDue = []byte(`{"due":`)

// append appends the beginning of a JSON object.
func (s stamp) append(b []byte) []byte {
	b = strconv.AppendInt(append(b, keyDue...), s.due, 10)
	return strconv.AppendInt(append(b, streamKeys[s.of]...), s.n, 10)
}

// readStamp finds the stamp in the frame that carries it.
func readStamp(b []byte) (s stamp, ok bool) {
	i := bytes.Index(b, keyDue)
	if i < 0 {
		return s, false
	}
	s.due, b, _ = digits(b[i+len(keyDue):])
	for of, key := range streamKeys {
		if rest, found := bytes.CutPrefix(b, key); found {
			s.of = stream(of)
			s.n, _, ok = digits(rest)
			return s, ok
		}
	}
	return s, false
}
