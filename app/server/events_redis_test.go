package server

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// events reads lines of an event stream until one has text, and returns the last `id`.
func (r *realSite) events(query, last, authorization, text string) (id string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.public+"/sse"+query, http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header.Set("Authorization", strings.TrimPrefix(authorization, "Authorization: "))
	if last != "" {
		q.Header.Set("Last-Event-ID", last)
	}
	answer, err := http.DefaultTransport.RoundTrip(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	var seen strings.Builder
	lines := bufio.NewScanner(io.TeeReader(answer.Body, &seen))
	for lines.Scan() {
		if one, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			id = one
		}
		if strings.Contains(lines.Text(), text) {
			return id
		}
	}
	r.t.Fatalf("%s never came: %d %v\n%s", text, answer.StatusCode, lines.Err(), seen.String())
	return ""
}

// TestEventsResumeOnAnotherReplica has a client that comes back elsewhere, as behind a
// load balancer, with what was published meanwhile in each way.
func TestEventsResumeOnAnotherReplica(t *testing.T) {
	one := startReal(t)
	two := startReplica(t, one.redis)
	anna := tokenOf(t, "anna", time.Hour)
	publish := func(data string) {
		t.Helper()
		if answer, body := one.do(http.MethodPost, one.public+"/v1/publish", `{"channel":"user:anna","data":`+data+`}`, asJSON, asBilling); answer.StatusCode != http.StatusOK {
			t.Fatal(body)
		}
	}
	publish(`"before"`)
	id := one.events("", "", anna, `"type":"welcome"`)
	publish(`"missed 1"`)
	publish(`"missed 2"`)
	id = two.events("", id, anna, `"recovered":true`)
	second := two.events("", id, anna, `"missed 1"`) // not read further: the id is that of the first
	third := one.events("", second, anna, `"missed 2"`)
	publish(`"missed 3"`)
	if last := one.events("", third, anna, `"missed 3"`); last == third || !strings.HasPrefix(last, "user:anna=") {
		t.Errorf("%q after %q", last, third)
	}
	// Junk resumes nothing, and costs nothing.
	for _, junk := range []string{"x", "user:anna=abc", "user:ben=" + strings.TrimPrefix(id, "user:anna="), strings.Repeat("user:anna=1:1-1,", 500)} {
		two.events("", junk, anna, `"recovered":false`)
	}
}
