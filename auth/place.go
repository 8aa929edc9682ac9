package auth

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Place is where in a request a token was found.
type Place int

// The places, in the order in which they are looked at.
const (
	PlaceHeader Place = iota + 1
	PlaceSubprotocol
	PlaceCookie
)

const (
	// protocol is the subprotocol that a client offers beside its token.
	protocol = "aldaba.v1"
	// bearerEntry begins the subprotocol that carries a token.
	bearerEntry = "bearer."
	// maxHeader bounds, in bytes, a header before it is taken apart: a token
	// and what may stand around it.
	maxHeader = maxToken + 4<<10
)

// tokenParameters are the names under which clients put tokens into URLs, where
// every proxy logs them (RFC 6750 section 5.3).
var tokenParameters = []string{"token", "access_token", "jwt", "bearer", "authorization"}

// FromRequest finds the token of an upgrade request: in `Authorization: Bearer`,
// in the subprotocols as "bearer.<jwt>" beside "aldaba.v1", or in the named
// cookie (none if cookie is empty). The first of these that is present counts.
// The errors wrap
//
//   - ErrTokenInURL if the query has a parameter for a token, whatever else the
//     request has;
//   - ErrInvalidToken if what should be the token is ambiguous or oversized;
//   - ErrNoToken if there is none. Another scheme than Bearer, and an empty
//     cookie, are none.
func FromRequest(r *http.Request, cookie string) (token string, place Place, err error) {
	if err := checkQuery(r.URL.RawQuery); err != nil {
		return "", 0, err
	}
	for _, place := range []Place{PlaceHeader, PlaceSubprotocol, PlaceCookie} {
		switch place {
		case PlaceHeader:
			token, err = fromAuthorization(r.Header)
		case PlaceSubprotocol:
			token, err = fromSubprotocols(r.Header)
		case PlaceCookie:
			token, err = fromCookie(r, cookie)
		}
		if err != nil {
			return "", 0, err
		}
		if token != "" {
			return token, place, nil
		}
	}
	return "", 0, ErrNoToken
}

// checkQuery refuses a query with a parameter for a token. It takes the query
// apart more liberally than net/url, which skips what is malformed.
func checkQuery(query string) error {
	if len(query) > maxHeader {
		return fmt.Errorf("%w: query is longer than %d bytes", ErrInvalidToken, maxHeader)
	}
	for pair := range strings.FieldsFuncSeq(query, func(c rune) bool { return c == '&' || c == ';' }) {
		name, _, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		if slices.Contains(tokenParameters, strings.ToLower(strings.TrimSpace(name))) {
			return ErrTokenInURL
		}
	}
	return nil
}

func fromAuthorization(header http.Header) (string, error) {
	lines := header.Values("Authorization")
	if err := checkSize("Authorization", lines); err != nil {
		return "", err
	}
	switch len(lines) {
	case 0:
		return "", nil
	case 1:
	default:
		return "", fmt.Errorf("%w: more than one Authorization header", ErrInvalidToken)
	}
	scheme, token, _ := strings.Cut(strings.TrimSpace(lines[0]), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", nil
	}
	if token = strings.TrimSpace(token); token == "" {
		return "", fmt.Errorf("%w: Bearer without a token", ErrInvalidToken)
	}
	return token, nil
}

func fromSubprotocols(header http.Header) (string, error) {
	lines := header.Values("Sec-WebSocket-Protocol")
	if err := checkSize("Sec-WebSocket-Protocol", lines); err != nil {
		return "", err
	}
	var tokens []string
	offered := false
	for entry := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		entry = strings.TrimSpace(entry)
		if token, ok := strings.CutPrefix(entry, bearerEntry); ok {
			tokens = append(tokens, token)
		}
		offered = offered || entry == protocol
	}
	switch {
	case len(tokens) == 0:
		return "", nil
	case len(tokens) > 1:
		return "", fmt.Errorf("%w: more than one %q among the subprotocols", ErrInvalidToken, bearerEntry)
	case tokens[0] == "":
		return "", fmt.Errorf("%w: subprotocol %q without a token", ErrInvalidToken, bearerEntry)
	case !offered:
		return "", fmt.Errorf("%w: a token among the subprotocols, but not %q", ErrInvalidToken, protocol)
	}
	return tokens[0], nil
}

// fromCookie returns the value of the cookie name. Two of that name are refused:
// a neighbouring subdomain can set one (RFC 6265 section 8.6), and which of the
// two is the user's cannot be told.
func fromCookie(r *http.Request, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	if err := checkSize("Cookie", r.Header.Values("Cookie")); err != nil {
		return "", err
	}
	cookies := r.CookiesNamed(name)
	switch {
	case len(cookies) == 0:
		return "", nil
	case len(cookies) > 1:
		return "", fmt.Errorf("%w: more than one cookie %q", ErrInvalidToken, name)
	}
	return cookies[0].Value, nil
}

func checkSize(name string, lines []string) error {
	size := 0
	for _, line := range lines {
		size += len(line) + 1
	}
	if size > maxHeader {
		return fmt.Errorf("%w: %s is longer than %d bytes", ErrInvalidToken, name, maxHeader)
	}
	return nil
}
