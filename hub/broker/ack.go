package broker

import (
	"context"
	"fmt"

	"aldaba/hub"

	"github.com/redis/go-redis/v9"
)

// Ack implements hub.Broker.
func (b *Broker) Ack(ctx context.Context, channel, user string, at hub.Position) (hub.Acked, error) {
	if _, ok := b.histories.Of(channel); !ok {
		return hub.Acked{}, hub.ErrNoHistory
	}
	answer, err := b.caller.do(ctx, call{ackScript, b.name(channel), []any{user, at.Epoch, at.ID()}, 2})
	switch {
	case redis.HasErrorPrefix(err, "GONE"):
		return hub.Acked{}, hub.ErrGone
	case err != nil:
		return hub.Acked{}, fmt.Errorf("acknowledge to %s: %w", b.server, err)
	}
	text, number := values(answer)
	upto, err := hub.ParseEntryID(text(0))
	if err != nil {
		return hub.Acked{}, errGibber
	}
	upto.Epoch = at.Epoch
	return hub.Acked{Position: upto, Unread: int(number(1))}, nil
}
