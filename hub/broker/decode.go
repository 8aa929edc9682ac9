package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"aldaba/auth"
)

// ErrInvalidMessage is what Publish answers when a message could never be
// delivered; the error's text says why.
var ErrInvalidMessage = errors.New("message cannot be published")

// Why a message is dropped: the values of the label "reason".
const (
	reasonChannel = "invalid_channel"
	reasonSize    = "too_large"
	reasonUTF8    = "invalid_utf8"
	reasonJSON    = "invalid_json"
	reasonPanic   = "panic"
)

func validChannel(name string) bool { return auth.ValidChannel(name) }

// unfit says why data on channel can be handed to nobody, or "". The same
// question is asked of what is published and of what is received: anybody may
// publish to Redis.
func unfit(channel string, data []byte, limit int64) string {
	switch {
	case !validChannel(channel):
		return reasonChannel
	case int64(len(data)) > limit:
		return reasonSize
	case !utf8.Valid(data): // json.Valid lets it pass; a browser would close with 1007
		return reasonUTF8
	case !json.Valid(data): // it also bounds the nesting, at 10,000
		return reasonJSON
	}
	return ""
}

// refusal puts a reason into the words of an error.
func refusalOf(reason string, size int, limit int64) error {
	why := map[string]string{
		reasonChannel: "channel name is not valid",
		reasonSize:    fmt.Sprintf("%d bytes are more than the %d allowed", size, limit),
		reasonUTF8:    "data is not UTF-8",
		reasonJSON:    "data is not valid JSON",
	}[reason]
	return fmt.Errorf("%w: %s", ErrInvalidMessage, why)
}

// validPrefix reports whether prefix is empty, or made of the characters of a
// channel.
func validPrefix(prefix string) bool {
	if len(prefix) > 64 {
		return false
	}
	for i := range len(prefix) {
		if !validChannel(prefix[i : i+1]) {
			return false
		}
	}
	return true
}
