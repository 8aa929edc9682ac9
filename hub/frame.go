package hub

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"time"
)

// frame is one complete WebSocket frame of the server (RFC 6455, section 5.2:
// unmasked, so that all sessions can share it), header included. It is
// immutable.
type frame struct {
	bytes   []byte
	channel *channel // whose message it is; nil for answers and control frames
	at      Position // of the message's entry; zero without history

	channels []channelState // of a welcome
}

// payload returns what stands behind the header.
func (f *frame) payload() []byte {
	switch f.bytes[1] {
	case 126:
		return f.bytes[4:]
	case 127:
		return f.bytes[10:]
	}
	return f.bytes[2:]
}

// cost is what a queued frame counts against a session's queue: its bytes, and
// the queue's own.
func (f *frame) cost() int64 { return int64(len(f.bytes)) + 16 }

const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	finBit  = 0x80

	opcodeBits = 0x0f
)

// appendHeader appends the header of an unfragmented frame with n bytes of payload.
func appendHeader(b []byte, opcode byte, n int) []byte {
	switch {
	case n < 126:
		return append(b, finBit|opcode, byte(n&0x7f))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, finBit|opcode, 126), uint16(n&0xffff))
	default:
		return binary.BigEndian.AppendUint64(append(b, finBit|opcode, 127), uint64(n))
	}
}

const headerMax = 10

// messageFrame encodes one message for all the sessions of its channel. Neither the
// channel's name nor a position needs escaping: they hold no quote, backslash or
// control character. data is copied byte for byte.
func messageFrame(ch *channel, at Position, data []byte) *frame {
	const head, where, middle, tail = `{"type":"message","channel":"`, `","position":"`, `","data":`, `}`
	var position [positionBytes]byte
	p := position[:0]
	n := len(head) + len(ch.name) + len(middle) + len(data) + len(tail)
	if !at.IsZero() {
		p = at.append(p)
		n += len(where) + len(p)
	}
	b := appendHeader(make([]byte, 0, headerMax+n), opText, n)
	b = append(b, head...)
	b = append(b, ch.name...)
	if !at.IsZero() {
		b = append(b, where...)
		b = append(b, p...)
	}
	b = append(b, middle...)
	b = append(b, data...)
	b = append(b, tail...)
	return &frame{bytes: b, channel: ch, at: at}
}

func resyncFrame(ch *channel, at Position) *frame {
	f := answerFrame(answer{Type: "resync", Channel: ch.name, Position: at.String()})
	f.channel, f.at = ch, at
	return f
}

func readFrame(ch *channel, at Position, unread int) *frame {
	f := answerFrame(answer{Type: "read", Channel: ch.name, Position: at.String(), Unread: &unread})
	f.channel = ch
	return f
}

// answer is every frame of the hub but `message`, with the fields that its type
// has (docs/protocol.md).
type answer struct {
	Type       string          `json:"type"`
	ID         json.RawMessage `json:"id,omitempty"`
	Session    string          `json:"session,omitempty"`
	User       string          `json:"user,omitempty"`
	ExpiresAt  int64           `json:"expires_at,omitempty"` // seconds since 1970
	Channel    string          `json:"channel,omitempty"`
	Position   string          `json:"position,omitempty"`
	Recovered  *bool           `json:"recovered,omitempty"`
	Unread     *int            `json:"unread,omitempty"`
	Messages   *[]entryState   `json:"messages,omitempty"`
	More       *bool           `json:"more,omitempty"`
	Channels   *[]channelState `json:"channels,omitempty"`
	Reason     string          `json:"reason,omitempty"`
	Code       string          `json:"code,omitempty"`
	Message    string          `json:"message,omitempty"`
	RetryAfter float64         `json:"retry_after,omitempty"` // seconds
}

// channelState is what `welcome` says of a channel; the position and what follows
// only if it keeps history.
type channelState struct {
	Channel   string `json:"channel"`
	Position  string `json:"position,omitempty"`
	Recovered *bool  `json:"recovered,omitempty"`
	Unread    *int   `json:"unread,omitempty"`
}

// entryState is what `history` says of a message.
type entryState struct {
	Position string          `json:"position"`
	Data     json.RawMessage `json:"data"`
}

func answerFrame(a answer) *frame {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // an id is repeated as it was
	if err := e.Encode(a); err != nil {
		// Strings, numbers and an id that was parsed before always can be.
		panic(err)
	}
	payload := bytes.TrimSuffix(text.Bytes(), []byte("\n"))
	b := appendHeader(make([]byte, 0, headerMax+len(payload)), opText, len(payload))
	return &frame{bytes: append(b, payload...)}
}

// closeFrame encodes RFC 6455, section 5.5.1: a code and a reason.
func closeFrame(code int, reason string) *frame {
	n := 2 + len(reason)
	b := appendHeader(make([]byte, 0, headerMax+n), opClose, n)
	b = binary.BigEndian.AppendUint16(b, uint16(code&0xffff))
	return &frame{bytes: append(b, reason...)}
}

var emptyCloseFrame = &frame{bytes: appendHeader(nil, opClose, 0)}

var pingFrame = &frame{bytes: appendHeader(nil, opPing, 0)}

// seconds turns a wait into what `retry_after` says, to the millisecond.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }
