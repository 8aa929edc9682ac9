package main

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"aldaba/auth"
)

const testKey = "0123456789abcdef0123456789abcdef"

// post sends body to the API with key, and returns the answer.
func (r *replica) post(key, body string) answer {
	r.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, pageURL(r.public)+"/v1/publish", bytes.NewBufferString(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header = bearer(key)
	request.Header.Set("Content-Type", "application/json")
	got, err := client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{got.StatusCode, got.Header.Get("Content-Type"), string(text)}
}

func TestPublishersOfTheConfiguration(t *testing.T) {
	t.Chdir(t.TempDir())
	const fileKey = "key-from-a-file-0123456789abcdef0"
	writeFile(t, "key", fileKey+"\n")
	r := startReplica(t, func(c *Config) {
		c.Channels = []auth.Pattern{{Name: "user:{sub}"}, {Name: "broadcast"}}
		c.Publishers = []Publisher{
			{Name: "billing", Key: testKey, Channels: []string{"user:*"}},
			{Name: "news", KeyFile: "key", Channels: []string{"broadcast"}},
		}
	})
	conn, _ := r.dial("/ws", bearer(r.token("anna")))
	for _, c := range []struct {
		name, key, channel string
		status             int
	}{
		{"its own", testKey, "user:anna", http.StatusOK},
		{"its own, by a file", fileKey, "broadcast", http.StatusOK},
		{"another's", fileKey, "user:anna", http.StatusForbidden},
		{"no key of anybody's", strings.ToUpper(testKey), "user:anna", http.StatusUnauthorized},
		{"the issuer's secret", testSecret, "user:anna", http.StatusUnauthorized},
		{"a token without the grant", r.token("anna"), "user:anna", http.StatusForbidden},
	} {
		got := r.post(c.key, `{"channel":"`+c.channel+`","data":"`+c.name+`"}`)
		if got.status != c.status {
			t.Errorf("%s: %+v", c.name, got)
		}
		if c.status != http.StatusOK {
			continue
		}
		if f := r.frame(conn); f["channel"] != c.channel || f["data"] != c.name {
			t.Errorf("%s: %v", c.name, f)
		}
	}
	for _, key := range []string{testKey, fileKey} {
		if _, status := r.dial("/ws", bearer(key)); status != http.StatusUnauthorized {
			t.Errorf("a publisher connects: %d", status)
		}
	}
	if got := r.post(testKey, `{"channel":"user:anna","data":"`+strings.Repeat("x", int(r.config.Limits.Message))+`"}`); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("limits.message does not hold: %d", got.status)
	}
	r.stop()
	for _, secret := range []string{testKey, fileKey, testSecret} {
		if strings.Contains(r.logs.String(), secret) {
			t.Errorf("%s is in the log", secret)
		}
	}
}
