package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"aldaba/hub"
)

// errShortTime is of less than a millisecond, which Redis does not count in.
var errShortTime = errors.New("too short a time to keep anything")

// KeepTicket implements hub.TicketStore.
func (b *Broker) KeepTicket(ctx context.Context, id string, sealed []byte, d time.Duration) error {
	if d < time.Millisecond {
		return errShortTime
	}
	if err := b.client.Set(ctx, b.ticketName(id), sealed, d.Truncate(time.Millisecond)).Err(); err != nil {
		return fmt.Errorf("keep in %s: %w", b.server, err)
	}
	return nil
}

// TakeTicket implements hub.TicketStore. Redis gives it out and forgets it in one
// step, so that of two who ask at once one has it.
func (b *Broker) TakeTicket(ctx context.Context, id string) ([]byte, error) {
	answer, err := b.caller.do(ctx, call{ticketScript, b.ticketName(id), nil, 1})
	if err != nil {
		return nil, fmt.Errorf("take from %s: %w", b.server, err)
	}
	sealed, _ := answer[0].(string)
	if sealed == "" {
		return nil, hub.ErrNoTicket
	}
	return []byte(sealed), nil
}

func (b *Broker) ticketName(id string) string { return "aldaba:ticket:{" + b.name(id) + "}" }
