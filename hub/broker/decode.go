package broker

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"aldaba/auth"
	"aldaba/hub"
)

// maxDepth is how deep a message's data may be nested: less than what parsers
// refuse by default (Go's at 10,000, PHP's at 512), envelope included, so that what
// one can publish all can read.
const maxDepth = 128

// Why a message is dropped: the values of the label "reason".
const (
	reasonChannel = "invalid_channel"
	reasonSize    = "too_large"
	reasonUTF8    = "invalid_utf8"
	reasonJSON    = "invalid_json"
	reasonDepth   = "too_deep"
	reasonPanic   = "panic"
	reasonBacklog = "backlog_full" // of the recorder
	reasonKeys    = "foreign_keys" // the names of a log are in other use
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
	case !json.Valid(data):
		return reasonJSON
	case deeperThan(data, maxDepth):
		return reasonDepth
	}
	return ""
}

// deeperThan reports whether data, valid JSON, nests arrays and objects more than
// limit deep.
func deeperThan(data []byte, limit int) bool {
	if len(data) < 2*limit { // too short for it: each level opens and closes
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > limit {
				return true
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return false
}

// refusal puts a reason into the words of an error.
func refusalOf(reason string, size int, limit int64) error {
	why := map[string]string{
		reasonChannel: "channel name is not valid",
		reasonSize:    fmt.Sprintf("%d bytes are more than the %d allowed", size, limit),
		reasonUTF8:    "data is not UTF-8",
		reasonJSON:    "data is not valid JSON",
		reasonDepth:   fmt.Sprintf("data is nested more than %d deep", maxDepth),
	}[reason]
	return fmt.Errorf("%w: %s", hub.ErrInvalidMessage, why)
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
