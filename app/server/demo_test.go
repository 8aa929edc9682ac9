package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// demo has one user, whose token says for how long it is good.
func demo() *Demo {
	return &Demo{
		Users: []DemoUser{{Name: "anna", DisplayName: "Anna", Rooms: []string{}, Teams: []string{}, Roles: []string{}, Channels: []string{"user:anna"}}},
		Info:  DemoInfo{RedisPort: 6380, Version: "v1"},
		Token: func(user string, ttl time.Duration) (string, time.Time, bool) {
			return "token for " + ttl.String(), time.Unix(1790000000, 0), user == "anna"
		},
	}
}

func TestDemo(t *testing.T) {
	s := start(t, func(o *Options) { o.Demo = demo() })
	page, body := s.do(http.MethodGet, s.public+"/", "")
	if page.StatusCode != http.StatusOK || !strings.Contains(body, "<html") {
		t.Errorf("/: %d", page.StatusCode)
	}
	for name, part := range map[string]string{
		"Content-Security-Policy": "frame-ancestors 'none'",
		"X-Content-Type-Options":  "nosniff",
		"Referrer-Policy":         "no-referrer",
	} {
		if !strings.Contains(page.Header.Get(name), part) {
			t.Errorf("%s: %q", name, page.Header.Get(name))
		}
	}
	if answer, _ := s.do(http.MethodGet, s.public+"/demo/demo.js", ""); answer.StatusCode != http.StatusOK || !strings.Contains(answer.Header.Get("Content-Type"), "javascript") {
		t.Errorf("demo.js: %d %v", answer.StatusCode, answer.Header)
	}
	if _, body := s.do(http.MethodGet, s.public+"/demo/info", ""); body != `{"redis_port":6380,"version":"v1"}` {
		t.Error(body)
	}
	_, body = s.do(http.MethodGet, s.public+"/demo/users", "")
	if want := `[{"name":"anna","display_name":"Anna","rooms":[],"teams":[],"org":"","roles":[],"channels":["user:anna"]}]`; body != want {
		t.Error(body)
	}
}

func TestDemoToken(t *testing.T) {
	s := start(t, func(o *Options) { o.Demo = demo() })
	const kind, anna = "Content-Type: application/json", `{"user":"anna"}`
	own := "Origin: http://" + s.public
	for _, c := range []struct {
		name, query, body string
		headers           []string
		status            int
		want              string
	}{
		{"from the page", "", anna, []string{kind, own}, http.StatusOK, "token for 1h0m0s"},
		{"from a program", "?ttl=90", anna, []string{kind}, http.StatusOK, "token for 1m30s"},
		{"a stranger", "", `{"user":"mallory"}`, []string{kind}, http.StatusNotFound, "not_found"},
		{"too long", "?ttl=86401", anna, []string{kind}, http.StatusBadRequest, "ttl"},
		{"no number", "?ttl=1e3", anna, []string{kind}, http.StatusBadRequest, "ttl"},
		{"already over", "?ttl=0", anna, []string{kind}, http.StatusBadRequest, "ttl"},
		{"a form of another page's", "", "user=anna", []string{"Content-Type: text/plain"}, http.StatusBadRequest, "bad_request"},
		{"too large", "", `{"user":"` + strings.Repeat("a", 2000) + `"}`, []string{kind}, http.StatusBadRequest, "bad_request"},
		{"another page", "", anna, []string{kind, "Origin: https://evil.example"}, http.StatusForbidden, "origin_not_allowed"},
		{"a sandboxed page", "", anna, []string{kind, "Origin: null"}, http.StatusForbidden, "origin_not_allowed"},
		{"another page, as browsers tell", "", anna, []string{kind, "Sec-Fetch-Site: cross-site"}, http.StatusForbidden, "origin_not_allowed"},
		{"rebound name", "", anna, []string{kind, "Host: evil.example", "Origin: http://evil.example"}, http.StatusForbidden, "host_not_allowed"},
		{"look-alike name", "", anna, []string{kind, "Host: localhost.evil.example"}, http.StatusForbidden, "host_not_allowed"},
		{"by name", "", anna, []string{kind, "Host: localhost:8080"}, http.StatusOK, "token for"},
	} {
		answer, body := s.do(http.MethodPost, s.public+"/demo/token"+c.query, c.body, c.headers...)
		if answer.StatusCode != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s", c.name, answer.StatusCode, body)
		}
		if answer.Header.Get("Access-Control-Allow-Origin") != "" || answer.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", c.name, answer.Header)
		}
	}
	if answer, body := s.do(http.MethodGet, s.public+"/demo/token", ""); answer.StatusCode != http.StatusMethodNotAllowed || !json.Valid([]byte(body)) {
		t.Errorf("GET: %d %s", answer.StatusCode, body)
	}
}

func TestDemoFilesAreAllThereIs(t *testing.T) {
	s := start(t, func(o *Options) { o.Demo = demo() })
	for _, path := range []string{"/demo/../server.go", "/demo/..%2f..%2fgo.mod", "/demo//etc/passwd", "/demo/%00", "/demo/.", "/client/aldaba.js"} {
		if answer, body := s.do(http.MethodGet, s.public+path, ""); answer.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d %.80s", path, answer.StatusCode, body)
		}
	}
}

func TestReboundNameCannotReadMetrics(t *testing.T) {
	s := start(t, nil)
	if answer, _ := s.do(http.MethodGet, s.admin+"/metrics", ""); answer.StatusCode != http.StatusOK {
		t.Error(answer.Status)
	}
	if answer, body := s.do(http.MethodGet, s.admin+"/metrics", "", "Host: evil.example:9080"); answer.StatusCode != http.StatusForbidden {
		t.Errorf("%d %.80s", answer.StatusCode, body)
	}
}

func TestProfilesAreTheOperators(t *testing.T) {
	s := start(t, nil)
	for _, profile := range []string{"heap", "profile?seconds=1", "goroutine"} {
		if answer, body := s.do(http.MethodGet, s.admin+"/debug/pprof/"+profile, ""); answer.StatusCode != http.StatusOK || len(body) == 0 {
			t.Errorf("%s: %d", profile, answer.StatusCode)
		}
	}
	if answer, _ := s.do(http.MethodGet, s.public+"/debug/pprof/heap", ""); answer.StatusCode != http.StatusNotFound {
		t.Error("the public has profiles, too:", answer.Status)
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST": true, "a.localhost": true, "localhost.": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "[::1]": true, "::ffff:127.0.0.1": true,
		"": false, "0.0.0.0": false, "::": false, "localhost.evil.example": false, "evillocalhost": false, "127.0.0.1.nip.io": false, "2130706433": false, "0x7f.1": false, "10.0.0.1": false,
	} {
		if got := IsLoopback(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}
