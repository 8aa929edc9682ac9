package auth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth bounds how deep the JSON of a token may be nested.
const maxDepth = 32

// registered are the names that mean something to whoever verifies a token
// (RFC 7519 section 4.1, RFC 7515 section 4.1, RFC 7797).
var registered = [...]string{
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti",
	"alg", "jku", "jwk", "kid", "x5u", "x5c", "x5t", "x5t#S256", "typ", "cty", "crit", "b64",
}

// member is the value of a registered member, as far as a screen has to know it: the
// text of a string.
type member struct {
	kind jsontext.Kind
	text string
}

func (m member) exists() bool   { return m.kind != 0 }
func (m member) isString() bool { return m.kind == '"' }

// members are those of an object, in the order of registered.
type members [len(registered)]member

// of returns a registered member. It need not exist.
func (m *members) of(name string) member { return m[slices.Index(registered[:], name)] }

// decoders read without a buffer of their own for each token.
var decoders = sync.Pool{New: func() any { return new(jsontext.Decoder) }}

// scanObject finds the registered members of a JSON object. It refuses what two
// JSON readers could take for different objects (RFC 8725 section 2.4): members that
// occur twice at any depth, registered names in another case, text that is not Unicode,
// and anything after the object. Of these the decoder itself refuses all but the case.
func scanObject(data []byte, found *members) error {
	d := decoders.Get().(*jsontext.Decoder) //nolint:forcetypeassert // see decoders
	defer decoders.Put(d)
	d.Reset(bytes.NewBuffer(data))
	if d.PeekKind() != '{' {
		return errors.New("not a JSON object")
	}
	if _, err := d.ReadToken(); err != nil {
		return notJSON(err)
	}
	for d.PeekKind() != '}' {
		if err := scanMember(d, found); err != nil {
			return err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return notJSON(err)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return errors.New("not JSON: something follows the object")
	}
	return nil
}

// notJSON says why, in a line for the log: jsontext repeats names, however long.
func notJSON(err error) error { return fmt.Errorf("not JSON: %.150s", err.Error()) }

// scanMember reads one member of the outermost object and notes a registered one.
func scanMember(d *jsontext.Decoder, found *members) error {
	token, err := d.ReadToken()
	if err != nil {
		return notJSON(err)
	}
	name := token.String()
	for _, proper := range registered {
		if name != proper && strings.EqualFold(name, proper) {
			return fmt.Errorf("member %.64q differs from %q in case only", name, proper)
		}
	}
	m := member{kind: d.PeekKind()}
	for done := false; !done; done = d.StackDepth() == 1 {
		if token, err = d.ReadToken(); err != nil {
			return notJSON(err)
		}
		if d.StackDepth() > maxDepth {
			return fmt.Errorf("nested deeper than %d", maxDepth)
		}
	}
	at := slices.Index(registered[:], name)
	if at < 0 {
		return nil
	}
	if m.isString() {
		m.text = token.String()
	}
	found[at] = m
	return nil
}
