package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// maxName bounds what names a user or a token, in bytes: both are kept for
// every session, and named in keys and logs.
const maxName = 255

// endOfTime bounds `exp`, `nbf` and `iat`. Later times do not survive a trip
// through JSON, and are a mistake (milliseconds, as a rule).
var endOfTime = time.Date(9999, time.January, 1, 0, 0, 0, 0, time.UTC)

// claimsOf returns the claims of a payload whose signature is good, or an error
// that wraps ErrInvalidToken or ErrExpiredToken. Expiry is judged last, so that
// ErrExpiredToken means: fine in everything else.
func (i *issuer) claimsOf(values map[string]any, now time.Time, leeway time.Duration) (*Claims, error) {
	claims, err := i.readClaims(values)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidToken, err)
	}
	notBefore, err := timeClaim(values, "nbf")
	switch latest := now.Add(leeway); {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrInvalidToken, err)
	case notBefore.After(latest):
		return nil, fmt.Errorf("%w: not before %s", ErrInvalidToken, notBefore.UTC().Format(time.RFC3339))
	case claims.IssuedAt.After(latest):
		return nil, fmt.Errorf("%w: issued in the future, at %s", ErrInvalidToken, claims.IssuedAt.UTC().Format(time.RFC3339))
	case !now.Before(claims.ExpiresAt):
		return nil, fmt.Errorf("%w: at %s", ErrExpiredToken, claims.ExpiresAt.UTC().Format(time.RFC3339))
	}
	return claims, nil
}

// readClaims judges all that does not depend on the time.
func (i *issuer) readClaims(values map[string]any) (*Claims, error) {
	claims := &Claims{Values: values}
	var err error
	if claims.Issuer, err = stringClaim(values, "iss"); err != nil {
		return nil, err
	}
	if i.config.Issuer != "" && claims.Issuer != i.config.Issuer {
		return nil, fmt.Errorf("iss is not %q", i.config.Issuer)
	}
	if err := checkAudience(values["aud"], i.config.Audience); err != nil {
		return nil, err
	}
	if claims.User, err = i.user(values); err != nil {
		return nil, err
	}
	// A jti of another type must not pass as "no jti": that token could not be
	// revoked by its id.
	if claims.ID, err = stringClaim(values, "jti"); err != nil {
		return nil, err
	}
	if len(claims.ID) > maxName {
		return nil, fmt.Errorf("jti is longer than %d bytes", maxName)
	}
	if claims.IssuedAt, err = timeClaim(values, "iat"); err != nil {
		return nil, err
	}
	if claims.ExpiresAt, err = timeClaim(values, "exp"); err != nil {
		return nil, err
	}
	if claims.ExpiresAt.IsZero() {
		return nil, errors.New("exp is missing")
	}
	return claims, nil
}

// user returns the value of the user claim. Only a string will do: a number is
// written in more than one way, and a user must have one name.
func (i *issuer) user(values map[string]any) (string, error) {
	value, ok := claimAt(values, i.config.UserClaim)
	if !ok {
		return "", fmt.Errorf("user claim %q is missing", i.config.UserClaim)
	}
	user, ok := value.(string)
	switch {
	case !ok:
		return "", fmt.Errorf("user claim %q is not a string", i.config.UserClaim)
	case user == "":
		return "", fmt.Errorf("user claim %q is empty", i.config.UserClaim)
	case len(user) > maxName:
		return "", fmt.Errorf("user claim %q is longer than %d bytes", i.config.UserClaim, maxName)
	case !utf8.ValidString(user):
		return "", fmt.Errorf("user claim %q is not UTF-8", i.config.UserClaim)
	}
	return user, nil
}

// checkAudience judges `aud`: a string or a list of strings (RFC 7519 section 4.1.3).
func checkAudience(value any, want string) error {
	var audiences []string
	switch value := value.(type) {
	case nil:
	case string:
		audiences = []string{value}
	case []any:
		for _, entry := range value {
			audience, ok := entry.(string)
			if !ok {
				return errors.New("aud has an entry that is not a string")
			}
			audiences = append(audiences, audience)
		}
	default:
		return errors.New("aud is neither a string nor a list")
	}
	if want != "" && !slices.Contains(audiences, want) {
		return fmt.Errorf("aud does not contain %q", want)
	}
	return nil
}

// stringClaim returns the claim name, or the empty string if there is none.
func stringClaim(values map[string]any, name string) (string, error) {
	value, present := values[name]
	text, ok := value.(string)
	if present && !ok {
		return "", fmt.Errorf("%s is not a string", name)
	}
	return text, nil
}

// timeClaim returns the NumericDate name (RFC 7519 section 2: seconds since
// 1970, possibly with a fraction), or the zero time if there is none.
func timeClaim(values map[string]any, name string) (time.Time, error) {
	value, present := values[name]
	if !present {
		return time.Time{}, nil
	}
	number, ok := value.(json.Number)
	if !ok {
		return time.Time{}, fmt.Errorf("%s is not a number", name)
	}
	seconds, err := strconv.ParseFloat(number.String(), 64)
	if err != nil || seconds < 0 || seconds >= float64(endOfTime.Unix()) {
		return time.Time{}, fmt.Errorf("%s is not a time between 1970 and 9999", name)
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*float64(time.Second))), nil
}
