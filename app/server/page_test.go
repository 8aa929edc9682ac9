package server

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestClientModule(t *testing.T) {
	s := start(t, nil)
	answer, body := s.do(http.MethodGet, s.public+"/aldaba.js", "", "Origin: https://app.example.com")
	if answer.StatusCode != http.StatusOK || !strings.Contains(answer.Header.Get("Content-Type"), "javascript") || !strings.Contains(body, "aldaba.v1") {
		t.Errorf("%d %v", answer.StatusCode, answer.Header)
	}
	if answer.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Error("a module of another origin takes CORS")
	}
	again, body := s.do(http.MethodGet, s.public+"/aldaba.js", "", "If-None-Match: "+answer.Header.Get("ETag"))
	if again.StatusCode != http.StatusNotModified || body != "" {
		t.Error(again.Status)
	}
}

func TestClientModuleIsCompressedForWhoTakesIt(t *testing.T) {
	const limit = 8 << 10 // bytes; what a page may be asked to load for it
	s := start(t, nil)
	url := s.public + "/aldaba.js"
	plain, module := s.do(http.MethodGet, url, "", "Accept-Encoding: identity")
	cases := []struct {
		accept     string
		compressed bool
	}{
		{"gzip", true},
		{"br;q=1.0, GZIP;q=0.8, *;q=0.1", true},
		{"deflate,gzip ; q=0.001", true},
		{"gzip;q=high", true},
		{"gzip;q=0", false},
		{"gzip; q=0.000, br", false},
		{"x-gzip, gzippy, br", false},
		{"*", false},
		{"identity", false},
		{";;,,=", false},
	}
	for _, c := range cases {
		answer, body := s.do(http.MethodGet, url, "", "Accept-Encoding: "+c.accept)
		etag := answer.Header.Get("ETag")
		if answer.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q: %v", c.accept, answer.Header)
		}
		if !c.compressed {
			if answer.Header.Get("Content-Encoding") != "" || body != module || etag != plain.Header.Get("ETag") {
				t.Errorf("%q: %v", c.accept, answer.Header)
			}
			continue
		}
		if answer.Header.Get("Content-Encoding") != "gzip" || etag == plain.Header.Get("ETag") || len(body) > limit {
			t.Errorf("%q: %d bytes, %v", c.accept, len(body), answer.Header)
		}
		r, err := gzip.NewReader(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(r); err != nil || string(text) != module {
			t.Error(c.accept, err)
		}
		again, body := s.do(http.MethodGet, url, "", "Accept-Encoding: "+c.accept, "If-None-Match: "+etag)
		failed, none := s.do(http.MethodGet, url, "", "Accept-Encoding: "+c.accept, `If-Match: "another"`)
		if failed.StatusCode != http.StatusPreconditionFailed || none != "" {
			t.Error(failed.Status, none)
		}
		if again.StatusCode != http.StatusNotModified || body != "" || again.Header.Get("Vary") == "" || again.Header.Get("Content-Encoding") != "" {
			t.Error(again.Status, again.Header)
		}
	}
}
