package auth

import (
	"fmt"
	"strings"
)

// Explanation says why an action on a channel is granted, or why not.
type Explanation struct {
	Channel string   `json:"channel"`
	Action  Action   `json:"action"`
	Allowed bool     `json:"allowed"`
	Reasons []Reason `json:"reasons"`
}

// Reason is what one pattern had to say.
type Reason struct {
	// Pattern is the name as configured; empty if no pattern was asked.
	Pattern string `json:"pattern"`
	Granted bool   `json:"granted"`
	// Claim names the claims that filled the pattern when it granted, in the
	// order of the placeholders, with a comma and a space between them.
	Claim string `json:"claim,omitempty"`
	// Reason is in lower case, for the operator. It shows values of claims.
	Reason string `json:"reason"`
}

// Explain says, pattern by pattern, why claims may or may not do action on
// channel. It allows exactly what the claims' Grants allow. A channel that no
// pattern could ever yield, and an unknown action, have one reason for all.
func (p *Policy) Explain(claims *Claims, channel string, action Action) Explanation {
	e := Explanation{Channel: channel, Action: action}
	if fault := p.unanswerable(claims, channel, action); fault != "" {
		e.Reasons = []Reason{{Reason: fault}}
		return e
	}
	s := &subject{claims: claims}
	for _, pattern := range p.patterns {
		reason := pattern.explain(s, channel, action)
		e.Allowed = e.Allowed || reason.Granted
		e.Reasons = append(e.Reasons, reason)
	}
	return e
}

// unanswerable says why no pattern needs to be asked, or returns the empty string.
func (p *Policy) unanswerable(claims *Claims, channel string, action Action) string {
	switch action {
	case Receive, Publish, Presence:
	default:
		return fmt.Sprintf("%q is not an action: receive, publish or presence", string(action))
	}
	switch {
	case claims == nil:
		return "there are no claims"
	case len(p.patterns) == 0:
		return "there are no patterns"
	}
	return channelFault(channel)
}

func (p *pattern) explain(s *subject, channel string, action Action) Reason {
	reason := Reason{Pattern: p.config.Name}
	if !p.fits(channel) {
		reason.Reason = "does not match the channel's name"
		return reason
	}
	h, refusal := p.hold(s)
	switch {
	case refusal != "":
		reason.Reason = refusal
	case !h.yields(channel):
		reason.Reason = h.missing(channel)
	case action == Publish && !p.config.Publish, action == Presence && !p.config.Presence:
		reason.Reason = fmt.Sprintf("pattern grants no %s", action)
	default:
		reason.Granted = true
		reason.Claim, reason.Reason = h.credit(channel)
	}
	return reason
}

// capture is what a channel has in place of one placeholder.
type capture struct {
	claim, value string
	slot         slot
}

// takeApart returns what channel, which fits, has in place of the placeholders.
func (h *hold) takeApart(channel string) []capture {
	var all []capture
	texts := strings.Split(channel, ":")
	for i, s := range h.pattern.segments {
		if s.kind != placeholder {
			continue
		}
		value, _ := s.match(texts[i])
		all = append(all, capture{s.claim, value, h.slots[len(all)]})
	}
	return all
}

// missing says which claim does not have what channel, which fits, would need.
func (h *hold) missing(channel string) string {
	if fault := h.soleFault(); fault != "" {
		return "filled in with the claims it is no channel: " + fault
	}
	for _, c := range h.takeApart(channel) {
		switch {
		case c.slot.contains(c.value):
		case len(c.slot.values) > 1:
			return fmt.Sprintf("claim %q does not contain %q", c.claim, c.value)
		default:
			return fmt.Sprintf("claim %q is %q, not %q", c.claim, c.slot.values[0], c.value)
		}
	}
	return "does not match the channel's name"
}

// soleFault says what is wrong with the one name that the claims make of the
// pattern, or returns the empty string if it is fine or not the only one.
func (h *hold) soleFault() (fault string) {
	for _, s := range h.pattern.segments {
		if s.kind == anything {
			return ""
		}
	}
	for _, s := range h.slots {
		if len(s.values) > 1 {
			return ""
		}
	}
	h.expand(nil, h.pattern.segments, h.slots, func(name []byte) { fault = channelFault(string(name)) })
	return fault
}

// credit names the claims that yield channel, and says how.
func (h *hold) credit(channel string) (claims, reason string) {
	var names, texts []string
	for _, c := range h.takeApart(channel) {
		names = append(names, c.claim)
		if len(c.slot.values) > 1 {
			texts = append(texts, fmt.Sprintf("claim %q contains %q", c.claim, c.value))
		} else {
			texts = append(texts, fmt.Sprintf("claim %q is %q", c.claim, c.value))
		}
	}
	if len(names) == 0 {
		texts = append(texts, "matches the channel's name")
	}
	if h.pattern.condition != nil {
		texts = append(texts, "condition is true")
	}
	return strings.Join(names, ", "), strings.Join(texts, ", ")
}
