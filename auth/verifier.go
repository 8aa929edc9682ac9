package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Sentinel errors of Verify and FromRequest; test with errors.Is. The errors
// that wrap them carry a detail for the log, which never contains the token.
var (
	ErrNoToken         = errors.New("no token")
	ErrTokenInURL      = errors.New("a token in the URL is not accepted")
	ErrInvalidToken    = errors.New("token is not valid")
	ErrExpiredToken    = errors.New("token has expired")
	ErrKeysUnavailable = errors.New("the keys that verify tokens cannot be had right now")
)

// Verifier verifies tokens against issuers. It is safe for concurrent use.
type Verifier struct {
	issuers []*issuer
	leeway  time.Duration
	running sync.WaitGroup
}

// NewVerifier returns a verifier for issuers. Every fault is reported at once:
// the error joins one *Fault for each. ctx bounds the verifier's life: JWKS
// refreshes end with it.
//
// Secrets and public keys are read here, once. Keys behind a jwks_url are
// fetched in the background: NewVerifier does not wait for them and does not
// fail without them. leeway forgives clocks that go differently for `nbf` and
// `iat`; `exp` is exact, since it is also the moment at which a session ends.
func NewVerifier(ctx context.Context, issuers []Issuer, leeway time.Duration) (*Verifier, error) {
	return newVerifier(ctx, issuers, leeway, newTransport())
}

func newVerifier(ctx context.Context, issuers []Issuer, leeway time.Duration, transport http.RoundTripper) (*Verifier, error) {
	var found faults
	if len(issuers) == 0 {
		found.add("", "no issuers: without one no token can be believed")
	}
	if leeway < 0 {
		found.add("", "leeway is negative: it forgives clocks that go differently, such as 30s")
	}
	v := &Verifier{leeway: leeway}
	for i, config := range issuers {
		v.issuers = append(v.issuers, newIssuer(fmt.Sprintf("[%d].", i), config, transport, &found))
	}
	if err := found.err(); err != nil {
		return nil, err
	}
	for _, issuer := range v.issuers {
		if set, ok := issuer.keys.(*keySet); ok {
			v.running.Go(func() { set.run(ctx) })
		}
	}
	return v, nil
}

// Wait returns when all that the verifier does in the background has ended,
// which it does once the context given to NewVerifier is done.
func (v *Verifier) Wait() { v.running.Wait() }

// Verify returns what token says, or an error that wraps one of the sentinels:
//
//   - ErrInvalidToken: no issuer stands for this token.
//   - ErrExpiredToken: an issuer does, in everything but `exp`. A forged token
//     is never called expired.
//   - ErrKeysUnavailable: an issuer might, but its keys cannot be had, or ctx
//     was done before they could. The same token may be accepted later.
//
// Nothing is cached: each call verifies wholly. It waits only for keys that are
// being fetched, at most as long as ctx and a fetch allow.
func (v *Verifier) Verify(ctx context.Context, token string) (*Claims, error) {
	stated, err := screen(token)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidToken, err)
	}
	err = fmt.Errorf("%w: no issuer is configured for iss %.100q with alg %.20q", ErrInvalidToken, stated.issuer, stated.algorithm)
	for _, issuer := range v.issuers {
		if !issuer.mayHaveSigned(stated) {
			continue
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", ErrKeysUnavailable, context.Cause(ctx))
		}
		claims, refusal := issuer.verify(ctx, token, v.leeway)
		if refusal == nil {
			return claims, nil
		}
		err = moreTelling(err, refusal)
	}
	return nil, err
}

// moreTelling returns which of two refusals by different issuers is the
// token's. An issuer that stands for all but `exp` has the last word; one whose
// keys are missing might still accept the token.
func moreTelling(a, b error) error {
	for _, sentinel := range []error{ErrExpiredToken, ErrKeysUnavailable} {
		if errors.Is(a, sentinel) {
			return a
		}
		if errors.Is(b, sentinel) {
			return b
		}
	}
	return b
}
