package auth

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// How a session comes to a channel that a pattern grants.
const (
	JoinAuto      = "auto"
	JoinOnRequest = "on-request"
)

// Pattern is a channel name with placeholders for claims, and what it grants.
//
// A name is made of segments between `:`. A segment is text, or `*` for any one
// segment of a channel, or text around one placeholder, `{claim}`. The claim is
// a string, a whole number, or a list of these; each combination of entries is
// a channel. Dots lead into nested claims (`{org.id}`), after a top-level claim
// of exactly that name was looked for (`{https://example.com/roles}`).
//
// What is filled in is percent-encoded where it has other characters than
// `A-Z a-z 0-9 _ . @ # / | + = ~ -`. The number 7 and the string "7" fill in
// the same text, on purpose: issuers are not of one mind about identifiers.
type Pattern struct {
	Name     string   `yaml:"name"`
	Join     string   `yaml:"join"`     // auto or on-request; empty: auto unless Name has a `*`
	Publish  bool     `yaml:"publish"`  // who may receive may publish too
	Presence bool     `yaml:"presence"` // who may receive may see who else is there
	If       string   `yaml:"if"`       // a CEL condition over `claims`; empty: always
	History  *History `yaml:"history"`
}

// pattern is a Pattern ready for use.
type pattern struct {
	config    Pattern
	segments  []segment
	condition *condition // nil: always

	placeholders int // how many of the segments have one
}

// segment is what a pattern says of one segment of a channel.
type segment struct {
	kind   segmentKind
	prefix string // text before the placeholder, or all of the text
	suffix string // text after the placeholder
	claim  string // the placeholder
}

type segmentKind int

const (
	literal segmentKind = iota
	placeholder
	anything
)

// match returns what stands in channel's segment in place of the placeholder.
func (s segment) match(text string) (value string, ok bool) {
	switch s.kind {
	case anything:
		return "", text != ""
	case literal:
		return "", text == s.prefix
	case placeholder:
	}
	value, hasPrefix := strings.CutPrefix(text, s.prefix)
	value, hasSuffix := strings.CutSuffix(value, s.suffix)
	return value, hasPrefix && hasSuffix && value != ""
}

// fits reports whether channel could be one of the pattern's for some claims.
func (p *pattern) fits(channel string) bool {
	for i, s := range p.segments {
		text, rest, more := strings.Cut(channel, ":")
		if _, ok := s.match(text); !ok || more == (i == len(p.segments)-1) {
			return false
		}
		channel = rest
	}
	return true
}

// newPattern makes config ready. It adds what is wrong with it to found, under
// paths that begin with path.
func newPattern(path string, config Pattern, found *faults) *pattern {
	p := &pattern{config: config}
	var err error
	if p.segments, err = parseName(config.Name); err != nil {
		found.add(path+"name", "%s", err)
	}
	for _, s := range p.segments {
		if s.kind == placeholder {
			p.placeholders++
		}
	}
	p.config.Join = joinOf(path, config, p.segments, found)
	if config.If != "" {
		if p.condition, err = newCondition(config.If); err != nil {
			found.add(path+"if", "%s", err)
		}
	}
	if h := config.History; h != nil && (h.Size <= 0 || h.Size > maxHistory) {
		found.add(path+"history.size", "a history keeps 1 to %d messages", maxHistory)
	}
	if h := config.History; h != nil && h.TTL < time.Second {
		found.add(path+"history.ttl", "a history keeps messages for at least a second, such as 72h")
	}
	return p
}

func joinOf(path string, config Pattern, segments []segment, found *faults) string {
	wide := false
	for _, s := range segments {
		wide = wide || s.kind == anything
	}
	switch {
	case config.Join == "" && wide:
		return JoinOnRequest
	case config.Join == "":
		return JoinAuto
	case config.Join == JoinAuto && wide:
		found.add(path+"join", "`*` stands for too many channels to join by itself: %s", JoinOnRequest)
	case config.Join != JoinAuto && config.Join != JoinOnRequest:
		found.add(path+"join", "%q is neither %s nor %s", config.Join, JoinAuto, JoinOnRequest)
	}
	return config.Join
}

// parseName takes the name of a pattern apart.
func parseName(name string) ([]segment, error) {
	if name == "" {
		return nil, errors.New("the name is missing")
	}
	if strings.HasPrefix(name, reserved) {
		return nil, errors.New("names that begin with aldaba: are the hub's own")
	}
	texts, err := splitName(name)
	if err != nil {
		return nil, err
	}
	shortest := len(texts) - 1
	segments := make([]segment, 0, len(texts))
	for _, text := range texts {
		s, err := parseSegment(text)
		if err != nil {
			return nil, err
		}
		segments = append(segments, s)
		shortest += len(s.prefix) + len(s.suffix)
		if s.kind != literal {
			shortest++
		}
	}
	if shortest > maxChannel {
		return nil, fmt.Errorf("no channel's name is that long: at most %d bytes", maxChannel)
	}
	return segments, nil
}

// splitName splits name at each `:` that is not inside a placeholder, where it
// belongs to the claim's name.
func splitName(name string) ([]string, error) {
	var texts []string
	start, inside := 0, false
	for i := range len(name) {
		switch c := name[i]; {
		case c == '{' && inside:
			return nil, errors.New("a brace is opened inside of braces")
		case c == '{', c == '}' && inside:
			inside = !inside
		case c == '}':
			return nil, errors.New("a brace is closed that was not opened")
		case c == ':' && !inside:
			texts = append(texts, name[start:i])
			start = i + 1
		}
	}
	if inside {
		return nil, errors.New("a brace is opened and not closed")
	}
	return append(texts, name[start:]), nil
}

func parseSegment(text string) (segment, error) {
	prefix, rest, found := strings.Cut(text, "{")
	claim, suffix, _ := strings.Cut(rest, "}")
	switch {
	case text == "":
		return segment{}, errors.New("a segment between colons is empty")
	case text == "*":
		return segment{kind: anything}, nil
	case strings.Contains(text, "*"):
		return segment{}, fmt.Errorf("`*` stands for a whole segment, not for a part as in %q", text)
	case strings.Contains(suffix, "{"):
		// "{a}{b}" could be cut in two places: users "1","23" and "12","3"
		// would share a channel.
		return segment{}, fmt.Errorf("two placeholders in the segment %q: put a colon between them", text)
	case !consistsOf(prefix, inChannel) || !consistsOf(suffix, inChannel):
		return segment{}, fmt.Errorf("%q has characters other than A-Z a-z 0-9 _ . : @ # / | + = ~ - %% outside of braces", text)
	case !found:
		return segment{kind: literal, prefix: text}, nil
	}
	if fault := claimPathFault(claim); fault != "" {
		return segment{}, fmt.Errorf("%q: %s", text, fault)
	}
	return segment{kind: placeholder, prefix: prefix, suffix: suffix, claim: claim}, nil
}

func isSpaceOrControl(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
