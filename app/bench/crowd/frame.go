package crowd

import (
	"bytes"
	"encoding/binary"
)

// Frames of a server (RFC 6455, section 5.2): never masked, and a hub of ours sends
// none in fragments.

const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xa
)

// cutFrame takes the first whole frame off b. ok is false while it is not whole.
func cutFrame(b []byte) (opcode byte, payload, rest []byte, ok bool) {
	if len(b) < 2 {
		return 0, nil, b, false
	}
	head, n := 2, int(b[1]&0x7f)
	switch n {
	case 126:
		if head = 4; len(b) < head {
			return 0, nil, b, false
		}
		n = int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if head = 10; len(b) < head {
			return 0, nil, b, false
		}
		n = int(binary.BigEndian.Uint64(b[2:]) & (1<<31 - 1))
	}
	if len(b) < head+n {
		return 0, nil, b, false
	}
	return b[0] & 0x0f, b[head : head+n], b[head+n:], true
}

// clientFrame encodes a frame of a client. Its masking key is zero: what is masked
// is not secret, and no proxy stands between.
func clientFrame(opcode byte, payload []byte) []byte {
	b := []byte{0x80 | opcode}
	if n := len(payload); n < 126 {
		b = append(b, 0x80|byte(n))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n)) //nolint:gosec // a resume of few channels
	}
	b = append(b, 0, 0, 0, 0)
	return append(b, payload...)
}

// number reads the digits that follow key in b.
func number(b []byte, key string) (n int64, ok bool) {
	i := bytes.Index(b, []byte(key))
	if i < 0 {
		return 0, false
	}
	n, _, ok = digits(b[i+len(key):])
	return n, ok
}

// digits reads the number that b begins with.
func digits(b []byte) (n int64, rest []byte, ok bool) {
	for len(b) > 0 && b[0] >= '0' && b[0] <= '9' {
		n, b, ok = n*10+int64(b[0]-'0'), b[1:], true
	}
	return n, b, ok
}

// text reads the string that follows key in b; it has no escapes.
func text(b []byte, key string) []byte {
	i := bytes.Index(b, []byte(key))
	if i < 0 {
		return nil
	}
	b = b[i+len(key):]
	return b[:max(0, bytes.IndexByte(b, '"'))]
}
