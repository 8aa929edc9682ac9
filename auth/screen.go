package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Bounds on what is looked at before a signature has proven anything.
const (
	maxToken = 16 << 10 // bytes of a token: what fits into the headers of a request
	maxKeyID = 256      // bytes of a kid
)

// statement is what a token says of itself before it is verified. It chooses
// which issuers are asked, and proves nothing.
type statement struct {
	algorithm string
	issuer    string
}

// screen refuses tokens that no honest issuer makes, and those that two readers
// could understand differently. The jwt library checks none of this.
func screen(token string) (statement, error) {
	header, payload, err := split(token)
	if err != nil {
		return statement{}, err
	}
	var stated statement
	if stated.algorithm, err = screenHeader(header); err != nil {
		return statement{}, fmt.Errorf("header: %w", err)
	}
	if stated.issuer, err = screenPayload(payload); err != nil {
		return statement{}, fmt.Errorf("payload: %w", err)
	}
	return stated, nil
}

// split returns the parts of a compact JWS (RFC 7515 section 3.1), still encoded.
func split(token string) (header, payload string, err error) {
	if len(token) > maxToken {
		return "", "", fmt.Errorf("longer than %d bytes", maxToken)
	}
	header, rest, _ := strings.Cut(token, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	switch {
	case strings.Count(token, ".") != 2:
		return "", "", errors.New("not made of three parts")
	case header == "" || payload == "":
		return "", "", errors.New("a part is empty")
	case signature == "":
		return "", "", errors.New("not signed")
	case strings.ContainsAny(token, "\r\n"):
		// encoding/base64 skips line ends, even when strict.
		return "", "", errors.New("contains line ends")
	}
	return header, payload, nil
}

func screenHeader(part string) (algorithm string, err error) {
	var found members
	if err := decodeObject(part, &found); err != nil {
		return "", err
	}
	stated := found.of("alg")
	if !stated.isString() {
		return "", errors.New("alg is missing or not a string")
	}
	if strings.EqualFold(stated.text, "none") {
		return "", errors.New("alg is none")
	}
	// RFC 7515 section 4.1.11: what is not understood and critical is refused,
	// and the hub understands no extension. b64 (RFC 7797) is one.
	for _, name := range []string{"crit", "b64"} {
		if found.of(name).exists() {
			return "", fmt.Errorf("%s is not supported", name)
		}
	}
	if typ := found.of("typ"); typ.exists() && !isTokenType(typ) {
		return "", errors.New("typ is neither JWT nor at+jwt")
	}
	if kid := found.of("kid"); kid.exists() && !isKeyID(kid) {
		return "", fmt.Errorf("kid is not a string of 1 to %d bytes", maxKeyID)
	}
	return stated.text, nil
}

func screenPayload(part string) (issuer string, err error) {
	var found members
	if err := decodeObject(part, &found); err != nil {
		return "", err
	}
	stated := found.of("iss")
	if stated.exists() && !stated.isString() {
		return "", errors.New("iss is not a string")
	}
	return stated.text, nil
}

// isTokenType reports whether typ is that of a JWT (RFC 7519 section 5.1) or of
// an access token (RFC 9068 section 2.1). Anything else, such as a logout
// token, was made for another purpose (RFC 8725 section 3.11).
func isTokenType(typ member) bool {
	text := strings.TrimPrefix(strings.ToLower(typ.text), "application/")
	return typ.isString() && slices.Contains([]string{"jwt", "at+jwt"}, text)
}

func isKeyID(kid member) bool {
	return kid.isString() && kid.text != "" && len(kid.text) <= maxKeyID
}

func decodeObject(part string, found *members) error {
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return errors.New("not base64url")
	}
	return scanObject(data, found)
}
