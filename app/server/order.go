package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"aldaba/hub"
)

// order is what a body asks to be published.
type order struct {
	messages []message
	one      bool // it named a single channel, and is answered for that alone
	receipt  bool // it wants to know to how many sessions each message is handed
}

// message is one document for one channel.
type message struct {
	channel string
	data    json.RawMessage
	key     string
}

// maxMessages is how many one body may hold.
const maxMessages = 1000

var (
	errDocument = errors.New("the body is not one JSON document")
	errShape    = errors.New("send channel, channels or messages, and one of these only")
	errKey      = fmt.Errorf("an idempotency key is 1 to %d bytes of printable ASCII without space", hub.KeyBytes)
	errKeys     = errors.New("the idempotency keys of header and body differ")
	errCount    = fmt.Errorf("there are 1 to %d messages in one request", maxMessages)
)

// parseOrder reads a body (docs/http.md, "Publishing"); key is that of the header,
// or empty. Its errors repeat nothing of what was sent.
func parseOrder(body []byte, key string) (order, error) {
	if !json.Valid(body) {
		return order{}, errDocument
	}
	fields, err := fieldsOf(body, "channel", "channels", "messages", "data", "key", "receipt")
	if err != nil {
		return order{}, err
	}
	receipt, err := receiptOf(fields)
	if err != nil {
		return order{}, err
	}
	o, err := parseShape(fields, key)
	o.receipt = receipt
	return o, err
}

// receiptOf takes receipt out of fields.
func receiptOf(fields map[string]json.RawMessage) (bool, error) {
	raw, ok := fields["receipt"]
	delete(fields, "receipt")
	if text := string(raw); ok && text != "true" && text != "false" {
		return false, errors.New("receipt is true or false")
	}
	return string(raw) == "true", nil
}

// parseShape reads the one of three shapes that the fields have.
func parseShape(fields map[string]json.RawMessage, key string) (order, error) {
	shapes := 0
	for _, name := range []string{"channel", "channels", "messages"} {
		if _, ok := fields[name]; ok {
			shapes++
		}
	}
	if shapes != 1 {
		return order{}, errShape
	}
	if list, ok := fields["messages"]; ok {
		if len(fields) > 1 {
			return order{}, errors.New("beside messages there is only receipt: data and key belong to each of them")
		}
		return parseMessages(list, key)
	}
	return parseChannels(fields, key)
}

// parseChannels reads one document for one or several channels.
func parseChannels(fields map[string]json.RawMessage, key string) (o order, err error) {
	own, err := keyOf(fields)
	switch {
	case err != nil:
		return o, err
	case own != "" && key != "" && own != key:
		return o, errKeys
	case own != "":
		key = own
	}
	data, ok := fields["data"]
	if !ok {
		return o, errors.New("data is missing")
	}
	if raw, one := fields["channel"]; one {
		channel, ok := textOf(raw)
		if !ok {
			return o, errors.New("channel is not a string")
		}
		return order{messages: []message{{channel, data, key}}, one: true}, nil
	}
	items, err := itemsOf(fields["channels"])
	if err != nil {
		return o, fmt.Errorf("channels: %w", err)
	}
	seen := make(map[string]bool, len(items))
	for _, raw := range items {
		channel, ok := textOf(raw)
		switch {
		case !ok:
			return o, errors.New("channels is not a list of strings")
		case seen[channel]:
			return o, errors.New("channels has one of them twice")
		}
		seen[channel] = true
		o.messages = append(o.messages, message{channel, data, key})
	}
	return o, nil
}

// parseMessages reads a document of its own for each channel.
func parseMessages(list json.RawMessage, key string) (o order, err error) {
	items, err := itemsOf(list)
	if err != nil {
		return o, fmt.Errorf("messages: %w", err)
	}
	for i, item := range items {
		m, err := parseMessage(item)
		if err != nil {
			return o, fmt.Errorf("messages[%d]: %w", i, err)
		}
		if m.key == "" && key != "" {
			// One channel may be there twice, and both are to be published.
			if m.key = key + "/" + strconv.Itoa(i); !validKey(m.key) {
				return o, fmt.Errorf("a key in the header has at most %d bytes where there are messages", hub.KeyBytes-len("/999"))
			}
		}
		o.messages = append(o.messages, m)
	}
	return o, nil
}

func parseMessage(item json.RawMessage) (m message, err error) {
	fields, err := fieldsOf(item, "channel", "data", "key")
	if err != nil {
		return m, err
	}
	if m.key, err = keyOf(fields); err != nil {
		return m, err
	}
	var ok bool
	if m.channel, ok = textOf(fields["channel"]); !ok {
		return m, errors.New("channel is missing or not a string")
	}
	if m.data, ok = fields["data"]; !ok {
		return m, errors.New("data is missing")
	}
	return m, nil
}

func keyOf(fields map[string]json.RawMessage) (string, error) {
	raw, ok := fields["key"]
	if !ok {
		return "", nil
	}
	key, ok := textOf(raw)
	if !ok || !validKey(key) {
		return "", errKey
	}
	return key, nil
}

func validKey(key string) bool {
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return false
		}
	}
	return key != "" && len(key) <= hub.KeyBytes
}

// fieldsOf takes an object apart. Names count to the letter, each once, which
// encoding/json alone does not see to: of two fields another parser on the way may
// have read the other one.
func fieldsOf(text json.RawMessage, known ...string) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return nil, errors.New("this is not an object")
	}
	fields := make(map[string]json.RawMessage, len(known))
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, errDocument
		}
		name, _ := token.(string)
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown field: there are %q", known)
		}
		if _, again := fields[name]; again {
			return nil, fmt.Errorf("%s is there twice", name)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errDocument
		}
		fields[name] = value
	}
	return fields, nil
}

// itemsOf takes a list of 1 to maxMessages apart.
func itemsOf(text json.RawMessage) ([]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if begin, err := d.Token(); err != nil || begin != json.Delim('[') {
		return nil, errors.New("this is not a list")
	}
	var items []json.RawMessage
	for d.More() {
		if len(items) == maxMessages {
			return nil, errCount
		}
		var item json.RawMessage
		if err := d.Decode(&item); err != nil {
			return nil, errDocument
		}
		items = append(items, item)
	}
	if len(items) == 0 {
		return nil, errCount
	}
	return items, nil
}

func textOf(value json.RawMessage) (text string, ok bool) {
	if len(value) == 0 || value[0] != '"' || json.Unmarshal(value, &text) != nil {
		return "", false
	}
	return text, true
}
