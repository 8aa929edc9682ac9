package hub

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"aldaba/auth"
)

// A ticket stands for a token in the one place that clients have which can set
// neither a header nor a subprotocol: the URL. URLs end up in logs, so it is good for
// one connect and for ticketLife at most.
//
// What is kept meanwhile is the token, sealed with a key that only the ticket yields,
// under a name that tells nothing of the ticket: whoever reads Redis can neither
// connect nor take the token.

// TicketStore keeps what tickets stand for; *broker.Broker is one. It is safe for
// concurrent use.
type TicketStore interface {
	// KeepTicket keeps sealed under id for d.
	KeepTicket(ctx context.Context, id string, sealed []byte, d time.Duration) error
	// TakeTicket returns what is kept under id and forgets it, whoever asks at the same
	// time, on any replica; ErrNoTicket if there is nothing.
	TakeTicket(ctx context.Context, id string) ([]byte, error)
}

// ErrNoTicket says that a ticket was used, is too old, or never was.
var ErrNoTicket = errors.New("ticket is not valid: it is good once, and not for long")

var errTicketsUnavailable = errors.New("tickets cannot be looked up right now")

const (
	// ticketLife is how long a ticket is good.
	ticketLife = 30 * time.Second
	// ticketBytes is what cannot be guessed about one.
	ticketBytes = 32
	// ticketWait is how long the store may take.
	ticketWait = 5 * time.Second
	// ticketParameter is where it is in a URL.
	ticketParameter = "ticket"
)

// IssueTicket returns a ticket for token, whose owner has been verified and which
// expires at end, and when the ticket does.
func (h *Hub) IssueTicket(ctx context.Context, token string, end time.Time) (ticket string, until time.Time, err error) {
	if h.tickets == nil {
		return "", until, errTicketsUnavailable
	}
	now := time.Now()
	life := min(ticketLife, end.Sub(now))
	if life <= 0 {
		return "", until, auth.ErrExpiredToken
	}
	secret := make([]byte, ticketBytes)
	_, _ = rand.Read(secret) // never fails
	seal, err := ticketSeal(secret)
	if err != nil {
		return "", until, err
	}
	sealed := seal.Seal(nil, nil, []byte(token), nil) //nolint:gosec // the nonce is random and inside
	if err := h.tickets.KeepTicket(ctx, ticketID(secret), sealed, life); err != nil {
		return "", until, fmt.Errorf("keep a ticket: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(secret), now.Add(life), nil
}

// redeem returns the token that a ticket stands for; the ticket is used up then.
func (h *Hub) redeem(ctx context.Context, ticket string) (string, error) {
	secret, err := base64.RawURLEncoding.Strict().DecodeString(ticket)
	if err != nil || len(secret) != ticketBytes {
		return "", ErrNoTicket // what is none costs Redis nothing
	}
	ctx, cancel := context.WithTimeout(ctx, ticketWait)
	defer cancel()
	sealed, err := h.tickets.TakeTicket(ctx, ticketID(secret))
	if errors.Is(err, ErrNoTicket) {
		return "", ErrNoTicket
	}
	if err != nil {
		h.log.Warn("ticket cannot be looked up", "error", err)
		return "", errTicketsUnavailable
	}
	seal, err := ticketSeal(secret)
	if err != nil {
		return "", err
	}
	token, err := seal.Open(nil, nil, sealed, nil)
	if err != nil {
		return "", ErrNoTicket // somebody else wrote it there
	}
	return string(token), nil
}

// ticketOf returns the ticket in r's URL; there is none if the hub has no store for them.
// Of two, neither counts.
func (h *Hub) ticketOf(r *http.Request) (ticket string, ok bool) {
	if h.tickets == nil {
		return "", false
	}
	all := r.URL.Query()[ticketParameter]
	if len(all) != 1 {
		return "", len(all) > 1
	}
	return all[0], true
}

// ticketID and ticketSeal are two halves of what a ticket yields: of one the other
// cannot be told.
func ticketID(secret []byte) string {
	sum := sha256.Sum256(append([]byte("aldaba ticket id "), secret...))
	return hex.EncodeToString(sum[:])
}

func ticketSeal(secret []byte) (cipher.AEAD, error) {
	key := sha256.Sum256(append([]byte("aldaba ticket key "), secret...))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
