package main

import (
	"fmt"
	"strings"

	"aldaba/app/server"
	"aldaba/auth"
)

// publisherKeyBytes is how many a publisher's key has at least, longestKeyBytes at
// most: it travels in a header.
const (
	publisherKeyBytes = 32
	longestKeyBytes   = 1024
)

// publishers returns who may publish by HTTP, with their keys.
func (v *validator) publishers() []server.Publisher {
	all := make([]server.Publisher, 0, len(v.Publishers))
	names, keys := make(map[string]bool), make(map[string]int)
	for i, p := range v.Publishers {
		path := fmt.Sprintf("publishers[%d]", i)
		switch {
		case p.Name == "":
			v.fault(path+".name", "is missing: a publisher is known by its name")
		case names[p.Name]:
			v.fault(path+".name", "is taken by another publisher")
		}
		names[p.Name] = true
		at, key, reason := publisherKey(p)
		if first, taken := keys[key]; reason == "" && taken {
			reason = fmt.Sprintf("is the key of publishers[%d], too: a request could not be told apart", first)
		}
		if reason != "" {
			v.fault(path+"."+at, "%s", reason)
		} else {
			keys[key] = i
		}
		if len(p.Channels) == 0 {
			v.fault(path+".channels", "is empty: name the patterns it may publish to, such as user:*")
		}
		for j, pattern := range p.Channels {
			if !validPublisherPattern(pattern) {
				v.fault(fmt.Sprintf("%s.channels[%d]", path, j), "%q is not a channel, and `*` stands for a whole segment between `:` only", pattern)
			}
		}
		all = append(all, server.Publisher{Name: p.Name, Key: key, Channels: p.Channels})
	}
	return all
}

// publisherKey returns p's key and where it stands, or says what is wrong with it.
func publisherKey(p Publisher) (at, key, reason string) {
	at, key = "key", p.Key
	if p.KeyFile != "" {
		at = "key_file"
		if p.Key != "" {
			return at, "", "give key or key_file, not both"
		}
		text, err := readSecretFile(p.KeyFile)
		if err != nil {
			return at, "", "cannot be read: " + reasonOf(err)
		}
		key = text
	}
	switch {
	case key == "" && p.KeyFile == "":
		reason = "is missing: give key or key_file"
	case len(key) < publisherKeyBytes:
		reason = fmt.Sprintf("is too short: it takes at least %d bytes, such as `openssl rand -hex 32` makes", publisherKeyBytes)
	case len(key) > longestKeyBytes:
		reason = fmt.Sprintf("is too long: it takes at most %d bytes, such as `openssl rand -hex 32` makes", longestKeyBytes)
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		reason = "has what a header cannot carry, such as white space: `openssl rand -hex 32` makes a good one"
	}
	return at, key, reason
}

func validPublisherPattern(pattern string) bool {
	segments := strings.Split(pattern, ":")
	for i, s := range segments {
		if s == "*" {
			segments[i] = "x"
		}
	}
	return auth.ValidChannel(strings.Join(segments, ":"))
}
