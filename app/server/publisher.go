package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	"aldaba/auth"
)

// Publisher is a backend that may publish by HTTP.
type Publisher struct {
	Name     string
	Key      string   // what it proves itself with
	Channels []string // patterns; `*` stands for one whole segment
}

// publisher is a Publisher whose key can be compared and not be read.
type publisher struct {
	name     string
	sum      [sha256.Size]byte
	patterns [][]string // segments
}

type publishers []publisher

func newPublishers(all []Publisher) publishers {
	ps := make(publishers, 0, len(all))
	for _, p := range all {
		one := publisher{name: p.Name, sum: sha256.Sum256([]byte(p.Key))}
		for _, pattern := range p.Channels {
			one.patterns = append(one.patterns, strings.Split(pattern, ":"))
		}
		ps = append(ps, one)
	}
	return ps
}

// find returns whose key this is, or nil. How long it takes tells nothing of how
// much of a key was right, nor of which publisher.
func (ps publishers) find(key string) *publisher {
	sum := sha256.Sum256([]byte(key))
	var found *publisher
	for i := range ps {
		if subtle.ConstantTimeCompare(sum[:], ps[i].sum[:]) == 1 {
			found = &ps[i]
		}
	}
	return found
}

// allows reports whether channel is one of the publisher's.
func (p *publisher) allows(channel string) bool {
	if !auth.ValidChannel(channel) {
		return false
	}
	for _, pattern := range p.patterns {
		if fits(pattern, channel) {
			return true
		}
	}
	return false
}

func fits(pattern []string, channel string) bool {
	for i, segment := range pattern {
		text, rest, more := strings.Cut(channel, ":")
		if more == (i == len(pattern)-1) || text != segment && (segment != "*" || text == "") {
			return false
		}
		channel = rest
	}
	return true
}
