package auth

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxEntries bounds the entries of a list claim, and the channels that one
	// pattern joins by itself.
	maxEntries = 10_000
	// fewEntries are found faster by looking at each than in order.
	fewEntries = 16
)

// slot is what the claims put into one placeholder: the values, escaped, in the
// order of the claim. A session keeps it as long as it lives, so it holds the
// values themselves and two bytes for each.
type slot struct {
	values []string
	sorted []uint16 // indexes of values in their order; nil if there are few
}

// contains reports whether value, escaped, is one of the slot's.
func (s slot) contains(value string) bool {
	if s.sorted == nil {
		return slices.Contains(s.values, value)
	}
	_, found := slices.BinarySearchFunc(s.sorted, value, func(i uint16, value string) int {
		return strings.Compare(s.values[i], value)
	})
	return found
}

// newSlot returns what the claim named by path puts into a placeholder, or why
// it cannot. One entry of an unusable type makes a list unusable: what the
// issuer meant is not clear, and the safe guess is nothing. Entries that are
// too long for any channel are left out.
func newSlot(claims map[string]any, path string) (s slot, refusal string) {
	value, ok := claimAt(claims, path)
	if !ok {
		return slot{}, fmt.Sprintf("claim %q is missing", path)
	}
	list, isList := value.([]any)
	switch {
	case !isList:
		list = []any{value}
	case len(list) == 0:
		return slot{}, fmt.Sprintf("claim %q is an empty list", path)
	case len(list) > maxEntries:
		return slot{}, fmt.Sprintf("claim %q has more than %d entries", path, maxEntries)
	}
	s.values = make([]string, 0, len(list))
	for _, entry := range list {
		text, fault := fillable(entry)
		if fault != "" && isList {
			return slot{}, fmt.Sprintf("claim %q has an entry that is %s", path, fault)
		}
		if fault != "" {
			return slot{}, fmt.Sprintf("claim %q is %s", path, fault)
		}
		if len(text) <= maxChannel {
			s.values = append(s.values, text)
		}
	}
	if len(s.values) == 0 {
		return slot{}, fmt.Sprintf("claim %q is too long for a channel's name", path)
	}
	s.sort()
	return s, ""
}

func (s *slot) sort() {
	if len(s.values) <= fewEntries {
		return
	}
	s.sorted = make([]uint16, len(s.values))
	for i := range s.sorted {
		s.sorted[i] = uint16(i) // maxEntries fits
	}
	slices.SortFunc(s.sorted, func(a, b uint16) int { return strings.Compare(s.values[a], s.values[b]) })
}

// fillable returns value as the text to fill in, or what it is instead. Beside
// what a token can hold it takes Go's integers, for claims made by programs.
func fillable(value any) (text, fault string) {
	switch value := value.(type) {
	case string:
		return fillableString(value)
	case json.Number:
		if isWhole(value.String()) {
			return value.String(), ""
		}
		return "", "not a whole number"
	case int:
		return strconv.Itoa(value), ""
	case int64:
		return strconv.FormatInt(value, 10), ""
	case uint64:
		return strconv.FormatUint(value, 10), ""
	case float64:
		return "", "not a whole number"
	case bool:
		return "", "a boolean"
	case nil:
		return "", "null"
	case []any:
		return "", "a list"
	case map[string]any:
		return "", "an object"
	}
	return "", fmt.Sprintf("of type %T", value)
}

func fillableString(value string) (text, fault string) {
	switch {
	case value == "":
		return "", "an empty string"
	case !utf8.ValidString(value):
		return "", "not UTF-8"
	case len(value) > maxChannel:
		return value, "" // too long already: not worth escaping
	}
	return escape(value), ""
}

// isWhole reports whether text is a whole number as JSON writes it without
// fraction and exponent: -?(0|[1-9][0-9]*), but not -0, so that one number has
// one text.
func isWhole(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	switch {
	case digits == "" || strings.Trim(digits, "0123456789") != "":
		return false
	case digits[0] == '0':
		return text == "0"
	}
	return true
}
