package server

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// FuzzOrder holds what is published against what was sent: every message is a part
// of the body as it stands, and what encoding/json reads is what was understood.
func FuzzOrder(f *testing.F) {
	for _, body := range []string{
		`{"channel":"user:42","data":{"a": 1}}`,
		`{"channels":["a","b"],"data":[1.0],"key":"k"}`,
		`{"messages":[{"channel":"a","data":null,"key":"k"},{"data":"\u00e9","channel":"\u0061"}]}`,
		`{"channel":"a","channel":"b","data":1}`,
		`{"channel":"a","data":1}{"channel":"a","data":1}`,
		`{"messages":[]}`, `{"channels":null,"data":1}`, `[]`, `null`, ` `, `{"":1}`, `{"channel":"a","data":`,
	} {
		f.Add([]byte(body), "key")
		f.Add([]byte(body), "")
	}
	f.Fuzz(func(t *testing.T, body []byte, key string) {
		if key != "" && !validKey(key) {
			t.Skip("headerKey refuses it")
		}
		o, err := parseOrder(body, key)
		if err != nil {
			if text := err.Error(); len(text) > 200 || strings.ContainsAny(text, "\r\n") {
				t.Errorf("%q", text)
			}
			return
		}
		if n := len(o.messages); n == 0 || n > maxMessages || o.one && n != 1 {
			t.Fatalf("%d messages, one: %v", n, o.one)
		}
		for _, m := range o.messages {
			if !json.Valid(m.data) || !bytes.Contains(body, m.data) {
				t.Errorf("%q is not of the body", m.data)
			}
			if (m.key != "" || key != "") && !validKey(m.key) {
				t.Errorf("key %q", m.key)
			}
		}
		var plain struct {
			Channel  string
			Channels []string
			Messages []struct{ Channel string }
		}
		if err := json.Unmarshal(body, &plain); err != nil {
			t.Fatal(err)
		}
		want := plain.Channels
		if o.one {
			want = []string{plain.Channel}
		}
		for _, m := range plain.Messages {
			want = append(want, m.Channel)
		}
		for i, m := range o.messages {
			if len(want) != len(o.messages) || m.channel != want[i] {
				t.Fatalf("%q, want %q", o.messages, want)
			}
		}
	})
}
