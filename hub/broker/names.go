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
