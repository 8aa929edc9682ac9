package auth

import (
	"fmt"
	"strings"
)

// Grant is what a session may do on one channel: the union of what every
// pattern that yields the channel gives. A grant always lets receive.
type Grant struct {
	Channel string
	// Pattern is the name, as configured, of the first pattern that yields the
	// channel: the bounded label of metrics.
	Pattern  string
	Publish  bool
	Presence bool
}

// Grants is what one session may do, computed from patterns and claims. It is
// immutable and safe for concurrent use. It keeps of the claims only the values
// that patterns were filled with.
type Grants struct {
	holds []hold // in the order of the patterns
}

// hold is a pattern filled in with the claims of a session. Joining, authorizing
// and explaining all ask it the same: which channels does it yield?
type hold struct {
	pattern *pattern
	slots   []slot // one for each placeholder, in their order
}

// hold fills the pattern in with the claims of s, or says why it grants nothing.
func (p *pattern) hold(s *subject) (h hold, refusal string) {
	h = hold{pattern: p, slots: make([]slot, 0, p.placeholders)}
	channels := 1
	for _, segment := range p.segments {
		if segment.kind != placeholder {
			continue
		}
		filled, refusal := newSlot(s.claims.Values, segment.claim)
		if refusal != "" {
			return hold{}, refusal
		}
		h.slots = append(h.slots, filled)
		// Divided rather than multiplied: the product could overflow.
		if p.config.Join == JoinAuto && channels > maxEntries/len(filled.values) {
			return hold{}, fmt.Sprintf("the claims yield more than %d channels", maxEntries)
		}
		channels *= len(filled.values)
	}
	if p.condition != nil {
		if refusal := p.condition.refusal(s.celClaims()); refusal != "" {
			return hold{}, refusal
		}
	}
	return h, ""
}

// yields reports whether channel, a valid name, is one of the hold's.
func (h *hold) yields(channel string) bool {
	slots := h.slots
	last := len(h.pattern.segments) - 1
	for i, s := range h.pattern.segments {
		text, rest, more := strings.Cut(channel, ":")
		value, ok := s.match(text)
		if !ok || more == (i == last) {
			return false
		}
		if s.kind == placeholder {
			if !slots[0].contains(value) {
				return false
			}
			slots = slots[1:]
		}
		channel = rest
	}
	return true
}

// each calls visit with every channel of a hold whose pattern has no `*`, in
// the order of the claims' entries. What is not a valid name is left out: the
// claims made it too long, or one of the hub's own.
func (h *hold) each(visit func(channel string)) {
	h.expand(nil, h.pattern.segments, h.slots, func(name []byte) {
		if channel := string(name); ValidChannel(channel) {
			visit(channel)
		}
	})
}

// expand calls visit with name followed by all that segments can become.
func (h *hold) expand(name []byte, segments []segment, slots []slot, visit func(name []byte)) {
	if len(segments) == 0 {
		visit(name)
		return
	}
	if len(name) > 0 {
		name = append(name, ':')
	}
	s := segments[0]
	name = append(name, s.prefix...)
	if s.kind == literal {
		h.expand(name, segments[1:], slots, visit)
		return
	}
	for _, value := range slots[0].values {
		filled := append(append(name, value...), s.suffix...)
		h.expand(filled, segments[1:], slots[1:], visit)
	}
}

// Auto returns the grants of the channels that are joined at connect, in the
// order of the patterns, each channel once.
func (g *Grants) Auto() []Grant {
	var grants []Grant
	seen := map[string]struct{}{}
	for i := range g.holds {
		h := &g.holds[i]
		if h.pattern.config.Join != JoinAuto {
			continue
		}
		h.each(func(channel string) {
			if _, twice := seen[channel]; twice {
				return
			}
			seen[channel] = struct{}{}
			grant, _ := g.Lookup(channel)
			grants = append(grants, grant)
		})
	}
	return grants
}

// Lookup returns the grant for channel, or false: default deny. Any string will
// do as channel, and is answered in the time of a look at each pattern.
func (g *Grants) Lookup(channel string) (Grant, bool) {
	if !ValidChannel(channel) {
		return Grant{}, false
	}
	var grant Grant
	for i := range g.holds {
		h := &g.holds[i]
		if !h.yields(channel) {
			continue
		}
		if grant.Channel == "" {
			grant.Channel, grant.Pattern = channel, h.pattern.config.Name
		}
		grant.Publish = grant.Publish || h.pattern.config.Publish
		grant.Presence = grant.Presence || h.pattern.config.Presence
	}
	return grant, grant.Channel != ""
}

// Allows reports whether action is granted on channel.
func (g *Grants) Allows(channel string, action Action) bool {
	grant, ok := g.Lookup(channel)
	if !ok {
		return false
	}
	switch action {
	case Receive:
		return true
	case Publish:
		return grant.Publish
	case Presence:
		return grant.Presence
	}
	return false
}
