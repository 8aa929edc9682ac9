package auth

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deep the JSON of a token may be nested.
const maxDepth = 32

// registered are the names that mean something to whoever verifies a token
// (RFC 7519 section 4.1, RFC 7515 section 4.1, RFC 7797).
var registered = []string{
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti",
	"alg", "jku", "jwk", "kid", "x5u", "x5c", "x5t", "x5t#S256", "typ", "cty", "crit", "b64",
}

// scanObject returns the registered members of a JSON object, with json.Delim
// in place of lists and objects. It refuses what two JSON readers could take
// for different objects (RFC 8725 section 2.4): members that occur twice at any
// depth, registered names in another case, text that is not Unicode, and
// anything after the object.
func scanObject(data []byte) (map[string]any, error) {
	switch {
	case !utf8.Valid(data):
		return nil, errors.New("not UTF-8")
	case !json.Valid(data):
		return nil, errors.New("not JSON")
	case hasLoneSurrogate(data):
		return nil, errors.New("contains half of a surrogate pair")
	}
	s := scanner{decoder: json.NewDecoder(bytes.NewReader(data)), found: map[string]any{}}
	s.decoder.UseNumber()
	first, err := s.value(0)
	if err != nil {
		return nil, err
	}
	if first != json.Delim('{') {
		return nil, errors.New("not an object")
	}
	return s.found, nil
}

type scanner struct {
	decoder *json.Decoder
	found   map[string]any
}

// value reads one value, at depth 0 the outermost, and returns its first token.
func (s *scanner) value(depth int) (json.Token, error) {
	token, err := s.decoder.Token()
	if err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	delim, nested := token.(json.Delim)
	if !nested {
		return token, nil
	}
	if depth == maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	if delim == '{' {
		err = s.members(depth)
	} else {
		err = s.entries(depth)
	}
	if err != nil {
		return nil, err
	}
	_, err = s.decoder.Token() // the closing one
	return token, err
}

func (s *scanner) entries(depth int) error {
	for s.decoder.More() {
		if _, err := s.value(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) members(depth int) error {
	seen := map[string]struct{}{}
	for s.decoder.More() {
		token, err := s.decoder.Token()
		if err != nil {
			return fmt.Errorf("not JSON: %w", err)
		}
		name, _ := token.(string)
		if _, twice := seen[name]; twice {
			return fmt.Errorf("member %.64q occurs twice", name)
		}
		seen[name] = struct{}{}
		value, err := s.value(depth + 1)
		if err != nil {
			return err
		}
		if depth > 0 {
			continue
		}
		if err := s.keep(name, value); err != nil {
			return err
		}
	}
	return nil
}

// keep notes a registered member of the outermost object.
func (s *scanner) keep(name string, value json.Token) error {
	if slices.Contains(registered, name) {
		s.found[name] = value
		return nil
	}
	for _, proper := range registered {
		if strings.EqualFold(name, proper) {
			return fmt.Errorf("member %.64q differs from %q in case only", name, proper)
		}
	}
	return nil
}

// hasLoneSurrogate reports whether valid JSON escapes half of a UTF-16 pair.
// encoding/json reads every such half as U+FFFD: two users whose names differ
// in it alone would become one.
func hasLoneSurrogate(data []byte) bool {
	for {
		i := bytes.IndexByte(data, '\\')
		if i < 0 {
			return false
		}
		data = data[i:]
		unit := escapedUnit(data)
		switch {
		case unit < 0:
			data = data[2:]
		case !utf16.IsSurrogate(unit):
			data = data[6:]
		case utf16.DecodeRune(unit, escapedUnit(data[6:])) == utf8.RuneError:
			return true
		default:
			data = data[12:]
		}
	}
}

// escapedUnit returns the UTF-16 code unit whose escape (\uXXXX) data begins
// with, or -1 if it begins with anything else.
func escapedUnit(data []byte) rune {
	var unit [2]byte
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return -1
	}
	if _, err := hex.Decode(unit[:], data[2:6]); err != nil {
		return -1
	}
	return rune(unit[0])<<8 | rune(unit[1])
}
