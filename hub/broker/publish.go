package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// Publish implements hub.Broker. It is never retried, so a message is not heard
// twice; after an error it may have been heard or not. Without a deadline in ctx
// it gives up by itself after three seconds. Data that nobody could receive is
// refused with hub.ErrInvalidMessage.
func (b *Broker) Publish(ctx context.Context, channel string, data []byte) error {
	if reason := unfit(channel, data, b.limit); reason != "" {
		return refusalOf(reason, len(data), b.limit)
	}
	if err := b.send(ctx, channel, data); err != nil {
		b.metrics.publishErrors.Inc()
		return fmt.Errorf("publish to %s: %w", b.server, err)
	}
	b.metrics.published.Inc()
	return nil
}

// send puts data on the wire, unseen. Only a dial that failed is tried again, in
// a cluster, where the next one goes to another node: nothing was sent then.
func (b *Broker) send(ctx context.Context, channel string, data []byte) (err error) {
	for range b.dials {
		if err := ctx.Err(); err != nil {
			return err
		}
		err = b.client.Publish(ctx, b.prefix+channel, data).Err()
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "dial" {
			break
		}
	}
	return err
}
