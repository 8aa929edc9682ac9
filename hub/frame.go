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

// messageFrame encodes one message for all the sessions of its channel. The
// channel's name needs no escaping: no valid name holds a quote, a backslash or
// a control character. data is copied byte for byte.
func messageFrame(ch *channel, data []byte) *frame {
	const head, middle, tail = `{"type":"message","channel":"`, `","data":`, `}`
	n := len(head) + len(ch.name) + len(middle) + len(data) + len(tail)
	b := appendHeader(make([]byte, 0, headerMax+n), opText, n)
	b = append(b, head...)
	b = append(b, ch.name...)
	b = append(b, middle...)
	b = append(b, data...)
	b = append(b, tail...)
	return &frame{bytes: b, channel: ch}
}

func resyncFrame(ch *channel) *frame {
	f := answerFrame(answer{Type: "resync", Channel: ch.name})
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
	Channels   *[]channelState `json:"channels,omitempty"`
	Reason     string          `json:"reason,omitempty"`
	Code       string          `json:"code,omitempty"`
	Message    string          `json:"message,omitempty"`
	RetryAfter float64         `json:"retry_after,omitempty"` // seconds
}

// channelState is what `welcome` says of a channel.
type channelState struct {
	Channel string `json:"channel"`
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
