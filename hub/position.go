package hub

import (
	"errors"
	"strconv"
	"strings"
)

// Position is where somebody stands in a channel's history: after the entry that
// it names. Clients see it as an opaque string. The zero value stands for none.
type Position struct {
	Epoch  string // changes whenever entries may have been lost
	Offset uint64 // of the entry, from 1 without gaps; 0: before the first
	Tag    uint64 // of the entry: when it was recorded, in microseconds since 1970
}

// ErrPosition is what ParsePosition answers.
var ErrPosition = errors.New("not a position")

const (
	epochBytes = 32
	// offsetDigits and tagDigits bound what Redis' scripts count in: 2⁵³.
	offsetDigits = 15
	tagDigits    = 16
	// positionBytes is the longest position there can be.
	positionBytes = epochBytes + 1 + offsetDigits + 1 + tagDigits
)

// IsZero reports whether p stands for no position.
func (p Position) IsZero() bool { return p.Epoch == "" }

// ID names the entry within its epoch, as the log does.
func (p Position) ID() string {
	return strconv.FormatUint(p.Offset, 10) + "-" + strconv.FormatUint(p.Tag, 10)
}

// String returns what ParsePosition reads, or nothing for the zero value.
func (p Position) String() string {
	if p.IsZero() {
		return ""
	}
	return string(p.append(nil))
}

func (p Position) append(b []byte) []byte {
	b = append(append(b, p.Epoch...), ':')
	b = append(strconv.AppendUint(b, p.Offset, 10), '-')
	return strconv.AppendUint(b, p.Tag, 10)
}

// ParsePosition reads `epoch:offset-tag`, or returns ErrPosition.
func ParsePosition(text string) (Position, error) {
	epoch, id, ok := strings.Cut(text, ":")
	if !ok || !validEpoch(epoch) {
		return Position{}, ErrPosition
	}
	p, err := ParseEntryID(id)
	p.Epoch = epoch
	if err != nil {
		return Position{}, err
	}
	return p, nil
}

// ParseEntryID reads `offset-tag` into a position without an epoch, or returns
// ErrPosition.
func ParseEntryID(id string) (Position, error) {
	offset, tag, ok := strings.Cut(id, "-")
	if !ok || !digits(offset, offsetDigits) || !digits(tag, tagDigits) {
		return Position{}, ErrPosition
	}
	var p Position
	p.Offset, _ = strconv.ParseUint(offset, 10, 64) // digits has looked
	p.Tag, _ = strconv.ParseUint(tag, 10, 64)
	return p, nil
}

func validEpoch(text string) bool {
	if text == "" || len(text) > epochBytes {
		return false
	}
	for i := range len(text) {
		c := text[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// digits reports whether text is a number as FormatUint writes it: of one position
// there is one text.
func digits(text string, most int) bool {
	if text == "" || len(text) > most || (text[0] == '0' && text != "0") {
		return false
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return true
}
