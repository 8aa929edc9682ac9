package broker

import "strings"

// What a channel is called in Redis. Its name with the prefix is N. Plain messages
// are published to N; what belongs to a channel with history is called
// `aldaba:KIND:{N}`, so that a cluster keeps it in one place (a channel's name has no
// braces).

const liveHead, liveTail = "aldaba:live:{", "}"

func (b *Broker) name(channel string) string { return b.prefix + channel }

func liveName(name string) string { return liveHead + name + liveTail }

// wire is what the subscriber listens to for channel.
func (b *Broker) wire(channel string) string {
	if _, kept := b.histories.Of(channel); kept {
		return liveName(b.name(channel))
	}
	return b.name(channel)
}

// unwire takes wire's answer apart; ok is false for what is nobody's here.
func (b *Broker) unwire(wire string) (channel string, live, ok bool) {
	name, live := strings.CutPrefix(wire, liveHead)
	if live {
		if name, ok = strings.CutSuffix(name, liveTail); !ok {
			return "", false, false
		}
	}
	channel, ok = strings.CutPrefix(name, b.prefix)
	return channel, live, ok
}

// own is the name of what is the hub's own and of no channel.
func (b *Broker) own(kind string) string { return "aldaba:" + kind + ":{" + b.prefix + "}" }

// globs returns patterns of Redis that match every plain name of a channel with
// history, and one name no more than once: Redis sends a message once for each pattern
// that matches. They match more than that.
func (b *Broker) globs() []string {
	var globs []string
	for _, k := range b.histories.Kept() {
		prefix, whole := k.Prefix()
		glob := escapeGlob(b.prefix + prefix)
		if !whole {
			glob += "*"
		}
		globs = append(globs, glob)
	}
	return withoutCovered(globs)
}

// cutStar takes the star off a glob.
func cutStar(glob string) (head string, wide bool) { return strings.CutSuffix(glob, "*") }

// withoutCovered leaves out the globs whose names another one matches, too.
func withoutCovered(globs []string) []string {
	var kept []string
	for i, g := range globs {
		covered := false
		for j, other := range globs {
			head, wide := cutStar(other)
			covered = covered || (other == g && j < i) || (other != g && wide && strings.HasPrefix(g, head))
		}
		if !covered {
			kept = append(kept, g)
		}
	}
	return kept
}
