package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

// maxKeys bounds how many keys of a set are kept; an issuer has two or three.
const maxKeys = 100

var errUnknownKey = errors.New("its key is not in the issuer's set")

// keyRing is the usable part of one JSON Web Key Set. It is immutable.
type keyRing struct {
	find keyfunc.Keyfunc
	size int
}

// newKeyRing keeps the keys of a set (RFC 7517 section 5) that algorithm can
// use. All others are skipped, since a set may serve many purposes: "implementations
// SHOULD ignore JWKs within a JWK Set that use kty values that are not understood".
func newKeyRing(ctx context.Context, data []byte, algorithm string) (*keyRing, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("not a JSON Web Key Set: %w", err)
	}
	if set.Keys == nil {
		return nil, errors.New("not a JSON Web Key Set: it has no keys member")
	}
	storage := jwkset.NewMemoryStorage()
	ring := &keyRing{}
	for _, raw := range set.Keys {
		key, err := usableKey(raw, algorithm)
		if err != nil || ring.size == maxKeys {
			continue
		}
		if err := storage.KeyWrite(ctx, key); err != nil {
			return nil, err
		}
		ring.size++
	}
	var err error
	ring.find, err = keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: storage})
	return ring, err
}

// usableKey returns the key that raw describes, if it was published to verify
// signatures of algorithm and is as strong as it must be.
func usableKey(raw []byte, algorithm string) (jwkset.JWK, error) {
	var k jwkset.JWKMarshal
	if err := json.Unmarshal(raw, &k); err != nil {
		return jwkset.JWK{}, err
	}
	switch {
	case k.D != "" || k.K != "":
		return jwkset.JWK{}, errors.New("secret, and published")
	case k.ALG != "" && k.ALG.String() != algorithm:
		return jwkset.JWK{}, errors.New("for another algorithm")
	case k.USE != "" && k.USE != jwkset.UseSig,
		len(k.KEYOPS) > 0 && !slices.Contains(k.KEYOPS, jwkset.KeyOpsVerify):
		return jwkset.JWK{}, errors.New("for another use")
	case len(k.KID) > maxKeyID:
		return jwkset.JWK{}, errors.New("kid too long")
	}
	// Nothing else of the entry is looked at: no certificates (x5c), and no
	// address to fetch one from (x5u).
	k = jwkset.JWKMarshal{KTY: k.KTY, KID: k.KID, ALG: k.ALG, CRV: k.CRV, X: k.X, Y: k.Y, N: k.N, E: k.E}
	key, err := jwkset.NewJWKFromMarshal(k, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return jwkset.JWK{}, err
	}
	return key, suits(algorithm, key.Key())
}

// key returns the key that token names. A token that names none is accepted if
// there is no choice (OpenID Connect Core section 10.1). A nil ring knows no key.
func (r *keyRing) key(ctx context.Context, token *jwt.Token) (any, error) {
	if r == nil {
		return nil, errUnknownKey
	}
	if _, named := token.Header[jwkset.HeaderKID]; !named && r.size != 1 {
		return nil, fmt.Errorf("no kid, and the issuer's set has %d keys", r.size)
	}
	key, err := r.find.KeyfuncCtx(ctx)(token)
	if errors.Is(err, jwkset.ErrKeyNotFound) {
		return nil, errUnknownKey
	}
	return key, err
}
