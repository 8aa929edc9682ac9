package auth

import (
	"strings"
	"time"
)

// History says how much of a channel is kept.
type History struct {
	Size int           `yaml:"size"` // messages that may follow a position
	TTL  time.Duration `yaml:"ttl"`  // how long after the newest message
}

// maxHistory is the most messages that a channel can keep.
const maxHistory = 10_000

// Histories says which channels keep how much. It goes by the channel's name
// alone, never by claims: a channel is the same for everybody. The first pattern
// that has a history and could yield the channel counts. The zero value keeps
// nothing of any channel, and of the hub's own names (`aldaba:`) nothing is ever
// kept, whatever a placeholder at the front fits.
type Histories struct {
	patterns []*pattern
}

// Histories returns what the policy's patterns say of histories.
func (p *Policy) Histories() Histories {
	var h Histories
	for _, pattern := range p.patterns {
		if pattern.config.History != nil {
			h.patterns = append(h.patterns, pattern)
		}
	}
	return h
}

// Of returns channel's history, or false if it keeps none.
func (h Histories) Of(channel string) (History, bool) {
	if strings.HasPrefix(channel, reserved) {
		return History{}, false
	}
	for _, p := range h.patterns {
		if p.fits(channel) {
			return *p.config.History, true
		}
	}
	return History{}, false
}

// Kept is one pattern of Histories for those who cannot ask it.
type Kept struct {
	History

	// Segments are what stands between the colons: text, in which one `*` stands
	// for at least one character.
	Segments []string
}

// Kept returns the patterns in their order.
func (h Histories) Kept() []Kept {
	all := make([]Kept, 0, len(h.patterns))
	for _, p := range h.patterns {
		k := Kept{History: *p.config.History}
		for _, s := range p.segments {
			text := s.prefix
			if s.kind != literal {
				text += "*" + s.suffix
			}
			k.Segments = append(k.Segments, text)
		}
		all = append(all, k)
	}
	return all
}

// Prefix is the text with which all of the pattern's channels begin.
func (k Kept) Prefix() (text string, whole bool) {
	name := strings.Join(k.Segments, ":")
	text, _, more := strings.Cut(name, "*")
	return text, !more
}
