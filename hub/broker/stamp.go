package broker

import (
	"strconv"
	"strings"

	"aldaba/hub"
)

// stamp is what publish.lua announces of an entry: its position, and who says so.
type stamp struct {
	at     hub.Position
	seal   string
	origin byte // recordedPlain, or recordedDirect
	data   string
}

const (
	recordedPlain  = 'p'
	recordedDirect = 'd'

	stampFormat = "1 "
	readFormat  = "r1 "
)

// parseStamp reads `1 ID EPOCH SEAL ORIGIN DATA`.
func parseStamp(payload string) (s stamp, ok bool) {
	rest, ok := strings.CutPrefix(payload, stampFormat)
	if !ok {
		return s, false
	}
	s.at, s.seal, rest, ok = parseHead(rest)
	if !ok || len(rest) < 2 || rest[1] != ' ' {
		return s, false
	}
	s.origin, s.data = rest[0], rest[2:]
	return s, s.origin == recordedPlain || s.origin == recordedDirect
}

// readStamp is what ack.lua announces: how far a user has read.
type readStamp struct {
	at     hub.Position
	seal   string
	unread int
	user   string
}

// parseReadStamp reads `r1 ID EPOCH SEAL UNREAD USER`.
func parseReadStamp(payload string) (s readStamp, ok bool) {
	rest, ok := strings.CutPrefix(payload, readFormat)
	if !ok {
		return s, false
	}
	s.at, s.seal, rest, ok = parseHead(rest)
	if !ok {
		return s, false
	}
	count, user, ok := strings.Cut(rest, " ")
	n, err := strconv.Atoi(count)
	s.unread, s.user = n, user
	return s, ok && err == nil && n >= 0
}

// parseHead reads `ID EPOCH SEAL ` and returns the rest.
func parseHead(text string) (at hub.Position, seal, rest string, ok bool) {
	id, rest, _ := strings.Cut(text, " ")
	epoch, rest, _ := strings.Cut(rest, " ")
	seal, rest, ok = strings.Cut(rest, " ")
	at, err := hub.ParseEntryID(id)
	at.Epoch = epoch
	return at, seal, rest, ok && err == nil && epoch != "" && seal != ""
}
