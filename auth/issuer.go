package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Issuer is one source of tokens that the hub believes. A token must satisfy
// one issuer wholly: its key, its one algorithm, and issuer and audience where
// they are set.
type Issuer struct {
	// Issuer is the `iss` that tokens must have; empty: any or none.
	Issuer string `yaml:"issuer"`
	// Audience must be the token's `aud` or one of them; empty: any or none.
	Audience string `yaml:"audience"`
	// Algorithm is the one `alg` of the issuer's tokens: HS, RS, PS or ES with
	// 256, 384 or 512, or EdDSA (RFC 7518 section 3.1, RFC 8037). Empty: HS256.
	Algorithm string `yaml:"algorithm"`
	// Secret or SecretFile is the key of HS*: at least 32 bytes. One newline at
	// the end of the file is not part of the secret.
	Secret     string `yaml:"secret"`
	SecretFile string `yaml:"secret_file"`
	// PublicKeyFile is the key of all others, as PEM: PKIX (RFC 5280), or a
	// certificate, of which only the key counts. Or JWKSURL says where the
	// issuer publishes its keys (RFC 7517): https, or http to this machine.
	PublicKeyFile string `yaml:"public_key_file"`
	JWKSURL       string `yaml:"jwks_url"`
	// UserClaim names the claim that names the user; empty: sub. Dots lead into
	// nested objects.
	UserClaim string `yaml:"user_claim"`
}

// keySource finds the key that a token should have been signed with. The error
// wraps ErrKeysUnavailable if that cannot be said right now. Implementations
// are safe for concurrent use, and wait no longer than ctx.
type keySource interface {
	key(ctx context.Context, token *jwt.Token) (any, error)
}

// fixedKey is the key source of a secret or of a public key from a file.
type fixedKey struct {
	value any
}

func (k fixedKey) key(context.Context, *jwt.Token) (any, error) { return k.value, nil }

// issuer is an Issuer ready for use.
type issuer struct {
	config Issuer
	parser *jwt.Parser
	keys   keySource
}

// newIssuer makes config ready. It adds what is wrong with it to found, under
// paths that begin with path.
func newIssuer(path string, config Issuer, transport http.RoundTripper, found *faults) *issuer {
	if config.Algorithm == "" {
		config.Algorithm = "HS256"
	}
	if config.UserClaim == "" {
		config.UserClaim = "sub"
	}
	if fault := claimPathFault(config.UserClaim); fault != "" {
		found.add(path+"user_claim", "%s", fault)
	}
	return &issuer{
		config: config,
		keys:   loadKeys(path, config, transport, found),
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{config.Algorithm}),
			jwt.WithStrictDecoding(),
			jwt.WithJSONNumber(),
			// The library's leeway would stretch exp as well: see claimsOf.
			jwt.WithoutClaimsValidation(),
		),
	}
}

// mayHaveSigned reports whether it makes sense to try the issuer's key. What a
// token states is not yet proven: it chooses who is asked, nothing else.
func (i *issuer) mayHaveSigned(stated statement) bool {
	return stated.algorithm == i.config.Algorithm && (i.config.Issuer == "" || stated.issuer == i.config.Issuer)
}

// verify returns what token says if this issuer stands for it wholly. The
// signature comes first: nothing that a forged token claims is ever judged.
func (i *issuer) verify(ctx context.Context, token string, leeway time.Duration) (*Claims, error) {
	parsed, err := i.parser.Parse(token, func(t *jwt.Token) (any, error) { return i.keys.key(ctx, t) })
	switch {
	case errors.Is(err, ErrKeysUnavailable):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrInvalidToken, err)
	}
	values, ok := parsed.Claims.(jwt.MapClaims)
	if !ok {
		return nil, fmt.Errorf("%w: payload is a %T", ErrInvalidToken, parsed.Claims)
	}
	return i.claimsOf(values, time.Now(), leeway)
}
