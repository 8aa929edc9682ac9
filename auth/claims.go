// Package auth answers two questions about a connection: who is it, and which
// channels are theirs. It is a leaf: it knows nothing of sessions, HTTP routes
// or Redis.
//
// [Verifier] turns a token into [Claims], [Policy] turns claims into [Grants].
package auth

import (
	"strings"
	"time"
)

// Claims is what a verified token says.
type Claims struct {
	// User is the value of the issuer's user claim (`sub` unless configured
	// otherwise): 1 to 255 bytes of UTF-8, otherwise any text at all.
	User string
	// ID is the `jti` claim, or empty.
	ID string
	// Issuer is the `iss` claim, or empty.
	Issuer string
	// IssuedAt is the `iat` claim, or the zero time.
	IssuedAt time.Time
	// ExpiresAt is the `exp` claim; every accepted token has one.
	ExpiresAt time.Time
	// Values is the whole payload. Numbers are json.Number, so that large
	// identifiers keep every digit. It is read, never written to.
	Values map[string]any
}

// claimAt returns the claim that path names. A top-level claim of exactly that
// name comes first, because namespaced claims ("https://example.com/roles")
// have dots in their names; then the dots of path lead through nested objects.
func claimAt(values map[string]any, path string) (any, bool) {
	if value, ok := values[path]; ok {
		return value, true
	}
	for {
		name, rest, nested := strings.Cut(path, ".")
		value, ok := values[name]
		if !ok || !nested {
			return value, ok
		}
		if values, ok = value.(map[string]any); !ok {
			return nil, false
		}
		path = rest
	}
}

// claimPathFault says what is wrong with path as the name of a claim, or
// returns the empty string.
func claimPathFault(path string) string {
	switch {
	case path == "":
		return "the claim's name is missing"
	case strings.ContainsFunc(path, isSpaceOrControl):
		return "a claim's name has no white space in it"
	case strings.HasPrefix(path, "."), strings.HasSuffix(path, "."), strings.Contains(path, ".."):
		return "a claim's name has text on both sides of each dot"
	}
	return ""
}
