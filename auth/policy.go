package auth

import "fmt"

// Action is what a session may want to do on a channel.
type Action string

// The actions.
const (
	Receive  Action = "receive"
	Publish  Action = "publish"
	Presence Action = "presence"
)

// Policy is the compiled list of patterns. It is immutable and safe for
// concurrent use.
type Policy struct {
	patterns []*pattern
}

// NewPolicy compiles patterns. Every fault is reported at once: the error joins
// one *Fault for each. A policy without patterns grants nothing to anybody.
func NewPolicy(patterns []Pattern) (*Policy, error) {
	var found faults
	p := &Policy{}
	for i, config := range patterns {
		p.patterns = append(p.patterns, newPattern(fmt.Sprintf("[%d].", i), config, &found))
	}
	if err := found.err(); err != nil {
		return nil, err
	}
	return p, nil
}

// Grants computes what claims may do. Conditions (`if`) are evaluated here, once.
// Nobody, which is what nil claims are, may do nothing.
func (p *Policy) Grants(claims *Claims) *Grants {
	if claims == nil {
		return &Grants{}
	}
	g := &Grants{holds: make([]hold, 0, len(p.patterns))}
	s := &subject{claims: claims}
	for _, pattern := range p.patterns {
		if h, refusal := pattern.hold(s); refusal == "" {
			g.holds = append(g.holds, h)
		}
	}
	return g
}

// subject is the claims that patterns are being filled in with.
type subject struct {
	claims *Claims
	cel    map[string]any
}

// celClaims returns the claims as conditions see them, made when the first asks.
func (s *subject) celClaims() map[string]any {
	if s.cel == nil {
		s.cel = make(map[string]any, len(s.claims.Values))
		for name, value := range s.claims.Values {
			s.cel[name] = celValue(value)
		}
	}
	return s.cel
}
