package auth

import (
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// Sign returns a token with claims that issuer's verifier accepts as far as the
// signature goes: what the claims say is up to the caller. Only issuers with a
// secret (HS*) can sign; of all others the hub knows the public key only.
func Sign(issuer Issuer, claims map[string]any) (string, error) {
	if issuer.Algorithm == "" {
		issuer.Algorithm = "HS256"
	}
	if kind, ok := algorithms[issuer.Algorithm]; ok && kind != "secret" {
		return "", fmt.Errorf("cannot sign with %s: the hub has no private key, only issuers with HS256, HS384 or HS512 can sign", issuer.Algorithm)
	}
	var found faults
	keys := loadKeys("", issuer, nil, &found)
	if err := found.err(); err != nil {
		return "", err
	}
	secret, ok := keys.(fixedKey)
	if !ok {
		return "", fmt.Errorf("cannot sign with a %T", keys)
	}
	return jwt.NewWithClaims(jwt.GetSigningMethod(issuer.Algorithm), jwt.MapClaims(claims)).SignedString(secret.value)
}
