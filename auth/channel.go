package auth

import "strings"

const (
	// maxChannel bounds a channel's name, in bytes.
	maxChannel = 255
	// reserved begins the names that are the hub's own.
	reserved = "aldaba:"
)

// What a byte may be part of.
const (
	inValue   = 1 << iota // a claim's value, as it is
	inChannel             // the name of a channel
)

// alphabet says for each byte what it may be part of.
var alphabet = func() (table [256]byte) {
	for c := range byte(128) {
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9',
			strings.IndexByte("_.@#/|+=~-", c) >= 0:
			table[c] = inValue | inChannel
		case c == ':', c == '%':
			table[c] = inChannel
		}
	}
	return table
}()

// ValidChannel reports whether name is a channel's: 1 to 255 bytes of
// `A-Z a-z 0-9 _ . : @ # / | + = ~ - %`, and not one of the hub's own
// (`aldaba:`).
func ValidChannel(name string) bool { return channelFault(name) == "" }

// channelFault says why name cannot be a channel's, or returns the empty string.
func channelFault(name string) string {
	switch {
	case name == "":
		return "a channel's name is not empty"
	case len(name) > maxChannel:
		return "a channel's name has at most 255 bytes"
	case strings.HasPrefix(name, reserved):
		return "names that begin with aldaba: are the hub's own"
	case !consistsOf(name, inChannel):
		return "a channel's name consists of A-Z a-z 0-9 _ . : @ # / | + = ~ - %"
	}
	return ""
}

func consistsOf(text string, part byte) bool {
	for i := range len(text) {
		if alphabet[text[i]]&part == 0 {
			return false
		}
	}
	return true
}

// escape returns value as it is filled into a channel's name: bytes that could
// mean something there, or cannot be there, become %XX (RFC 3986 section 2.1),
// % itself among them. Two values never become the same text.
func escape(value string) string {
	if consistsOf(value, inValue) {
		return value
	}
	const digits = "0123456789ABCDEF"
	out := make([]byte, 0, 3*len(value))
	for i := range len(value) {
		if c := value[i]; alphabet[c]&inValue != 0 {
			out = append(out, c)
		} else {
			out = append(out, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(out)
}
