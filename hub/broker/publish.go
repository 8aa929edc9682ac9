package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"aldaba/auth"
	"aldaba/hub"

	"github.com/redis/go-redis/v9"
)

// Publish implements hub.Broker. It is never retried, so without a key a message is
// not heard twice; after an error it may have been heard or not, and may be published
// again with the same key. Without a deadline in ctx it gives up by itself after three
// seconds. Data that nobody could receive is refused with hub.ErrInvalidMessage.
func (b *Broker) Publish(ctx context.Context, channel string, data []byte, o hub.PublishOptions) (hub.Published, error) {
	if reason := unfit(channel, data, b.limit); reason != "" {
		return hub.Published{}, refusalOf(reason, len(data), b.limit)
	}
	if !validKey(o.Key) {
		return hub.Published{}, fmt.Errorf("%w: a key has at most %d bytes of printable ASCII without space", hub.ErrInvalidMessage, hub.KeyBytes)
	}
	done, err := b.put(ctx, channel, data, o)
	if err != nil {
		b.metrics.publishErrors.Inc()
		return hub.Published{}, fmt.Errorf("publish to %s: %w", b.server, err)
	}
	if !done.Duplicate {
		b.metrics.published.Inc()
	}
	return done, nil
}

func validKey(key string) bool {
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return false
		}
	}
	return len(key) <= hub.KeyBytes
}

// put publishes plainly what needs no script.
func (b *Broker) put(ctx context.Context, channel string, data []byte, o hub.PublishOptions) (hub.Published, error) {
	kept, keeps := b.histories.Of(channel)
	if !keeps && o.Key == "" && !o.Receipt {
		return hub.Published{}, b.send(ctx, channel, data)
	}
	args := []any{data}
	if keeps {
		args = append(args, keptArgs(kept)...)
	}
	if o.Key != "" {
		args = append(args, "id", o.Key)
	}
	if o.Receipt {
		return b.putAsking(ctx, channel, args)
	}
	answer, err := b.caller.do(ctx, call{publishScript, b.name(channel), args, 3})
	if err != nil {
		return hub.Published{}, err
	}
	return published(answer)
}

// putAsking publishes and asks for a receipt.
func (b *Broker) putAsking(ctx context.Context, channel string, args []any) (hub.Published, error) {
	id, receipt := b.receipts.ask()
	args = append([]any{b.name(b.receipts.channel), id, b.receipts.replies}, args...)
	answer, err := b.caller.do(ctx, call{askScript, b.name(channel), args, 4})
	if err != nil {
		b.receipts.close(id)
		return hub.Published{}, err
	}
	asked, isNumber := answer[3].(int64)
	if _, many := b.client.(*redis.ClusterClient); many || !isNumber {
		asked = -1 // a node of a cluster knows of its own subscribers only
	}
	b.receipts.expect(id, int(asked))
	done, err := published(answer)
	if err == nil && !done.Duplicate {
		done.Receipt = receipt
	}
	return done, err
}

// keptArgs are the options of a message for a channel with history.
func keptArgs(kept auth.History) []any {
	return []any{"size", kept.Size, "ttl", milliseconds(kept.TTL)}
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// published reads the answer of publish.lua.
func published(answer []any) (done hub.Published, err error) {
	text, ok := answer[0].(string)
	again, isNumber := answer[2].(int64)
	if !ok || !isNumber {
		return done, errGibber
	}
	done.Duplicate = again == 1
	if text != "" {
		done.Position, err = hub.ParsePosition(text)
	}
	return done, err
}

// send puts data on the wire, unseen. Only a dial that failed is tried again, in
// a cluster, where the next one goes to another node: nothing was sent then.
func (b *Broker) send(ctx context.Context, channel string, data []byte) (err error) {
	for range b.dials {
		if err := ctx.Err(); err != nil {
			return err
		}
		err = b.client.Publish(ctx, b.prefix+channel, data).Err()
		if !isUnsent(err) {
			break
		}
	}
	return err
}

// isUnsent reports whether err is that of a dial: nothing can have been sent.
func isUnsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
