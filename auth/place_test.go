package auth

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestFromRequestPlaces(t *testing.T) {
	const subprotocols, authorization = "Sec-WebSocket-Protocol", "Authorization"
	for name, c := range map[string]struct {
		headers []string // name, value, …
		token   string
		place   Place
		err     error
	}{
		"nothing":                    {nil, "", 0, ErrNoToken},
		"header":                     {[]string{authorization, "Bearer a.b.c"}, "a.b.c", PlaceHeader, nil},
		"header, other case":         {[]string{authorization, "bEARER   a.b.c "}, "a.b.c", PlaceHeader, nil},
		"header, empty":              {[]string{authorization, "Bearer "}, "", 0, ErrInvalidToken},
		"header, scheme alone":       {[]string{authorization, "Bearer"}, "", 0, ErrInvalidToken},
		"header twice":               {[]string{authorization, "Bearer a.b.c", authorization, "Bearer a.b.c"}, "", 0, ErrInvalidToken},
		"other scheme":               {[]string{authorization, "Basic dXNlcjpwYXNz"}, "", 0, ErrNoToken},
		"scheme that begins alike":   {[]string{authorization, "Bearers a.b.c"}, "", 0, ErrNoToken},
		"other scheme and cookie":    {[]string{authorization, "Basic x", "Cookie", "session=a.b.c"}, "a.b.c", PlaceCookie, nil},
		"subprotocol":                {[]string{subprotocols, "aldaba.v1, bearer.a.b.c"}, "a.b.c", PlaceSubprotocol, nil},
		"subprotocol, other order":   {[]string{subprotocols, "bearer.a.b.c,aldaba.v1,  chat"}, "a.b.c", PlaceSubprotocol, nil},
		"subprotocol in two lines":   {[]string{subprotocols, "aldaba.v1", subprotocols, "bearer.a.b.c"}, "a.b.c", PlaceSubprotocol, nil},
		"subprotocol alone":          {[]string{subprotocols, "bearer.a.b.c"}, "", 0, ErrInvalidToken},
		"subprotocol, other version": {[]string{subprotocols, "aldaba.v2, bearer.a.b.c"}, "", 0, ErrInvalidToken},
		"subprotocol twice":          {[]string{subprotocols, "aldaba.v1, bearer.a.b.c, bearer.a.b.c"}, "", 0, ErrInvalidToken},
		"subprotocol twice, lines":   {[]string{subprotocols, "aldaba.v1, bearer.a", subprotocols, "bearer.b"}, "", 0, ErrInvalidToken},
		"subprotocol, empty":         {[]string{subprotocols, "aldaba.v1, bearer."}, "", 0, ErrInvalidToken},
		"subprotocol without token":  {[]string{subprotocols, "aldaba.v1"}, "", 0, ErrNoToken},
		"no token but a cookie":      {[]string{subprotocols, "aldaba.v1", "Cookie", "a=b; session=a.b.c"}, "a.b.c", PlaceCookie, nil},
		"cookie of another name":     {[]string{"Cookie", "Session=a.b.c; xsession=d"}, "", 0, ErrNoToken},
		"cookie, empty":              {[]string{"Cookie", "session="}, "", 0, ErrNoToken},
		"cookie twice":               {[]string{"Cookie", "session=a; session=b"}, "", 0, ErrInvalidToken},
		"cookie twice, lines":        {[]string{"Cookie", "session=a", "Cookie", "session=b"}, "", 0, ErrInvalidToken},
		"all three": {
			[]string{"Cookie", "session=c", subprotocols, "aldaba.v1, bearer.b", authorization, "Bearer a"}, "a", PlaceHeader, nil,
		},
		"two": {[]string{"Cookie", "session=c", subprotocols, "aldaba.v1, bearer.b"}, "b", PlaceSubprotocol, nil},
	} {
		r := httptest.NewRequest(http.MethodGet, "/ws", http.NoBody)
		for i := 0; i < len(c.headers); i += 2 {
			r.Header.Add(c.headers[i], c.headers[i+1])
		}
		token, place, err := FromRequest(r, "session")
		if token != c.token || place != c.place || !errors.Is(err, c.err) {
			t.Errorf("%s: got %q, %d, %v; want %q, %d, %v", name, token, place, err, c.token, c.place, c.err)
		}
	}
}

func TestFromRequestWithoutCookieName(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/ws", http.NoBody)
	r.Header.Set("Cookie", "=a.b.c; session=a.b.c")
	if _, _, err := FromRequest(r, ""); !errors.Is(err, ErrNoToken) {
		t.Errorf("got %v", err)
	}
}

func TestTokenInURL(t *testing.T) {
	for query, want := range map[string]error{
		"token=a.b.c":              ErrTokenInURL,
		"resume&access_token=a":    ErrTokenInURL,
		"JWT=a":                    ErrTokenInURL,
		"Bearer":                   ErrTokenInURL,
		"token=":                   ErrTokenInURL,
		"a=1;token=a":              ErrTokenInURL,
		"%74oken=a":                ErrTokenInURL,
		"%zz=1&token=a":            ErrTokenInURL,
		"+token=a":                 ErrTokenInURL,
		"authorization=Bearer%20":  ErrTokenInURL,
		"resume":                   nil,
		"ticket=abc":               nil,
		"tokens=1&x=token":         nil,
		strings.Repeat("&", 1<<20): ErrInvalidToken,
	} {
		for _, header := range []string{"", "Bearer a.b.c"} {
			r := &http.Request{URL: &url.URL{Path: "/ws", RawQuery: query}, Header: http.Header{"Authorization": {header}}}
			want := want
			if want == nil && header == "" {
				want = ErrNoToken
			}
			_, _, err := FromRequest(r, "")
			if !errors.Is(err, want) {
				t.Errorf("%.50q with %q: got %v, want %v", query, header, err, want)
			}
			if err != nil && strings.Contains(err.Error(), "a.b.c") {
				t.Errorf("the token is in the error: %v", err)
			}
		}
	}
}

func TestMegabyteInEveryHeader(t *testing.T) {
	for _, filler := range []string{".", ",", ";", " ", "=", "a", "bearer.", "session=a;"} {
		huge := strings.Repeat(filler, 1<<20/len(filler))
		for _, header := range []string{"Authorization", "Sec-WebSocket-Protocol", "Cookie"} {
			r := httptest.NewRequest(http.MethodGet, "/ws", http.NoBody)
			r.Header[http.CanonicalHeaderKey(header)] = []string{"Bearer " + huge}
			if _, _, err := FromRequest(r, "session"); !errors.Is(err, ErrInvalidToken) {
				t.Errorf("%s of %q: got %v", header, filler, err)
			}
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/ws", http.NoBody)
	r.Header["Sec-Websocket-Protocol"] = make([]string, 1<<20)
	if _, _, err := FromRequest(r, ""); !errors.Is(err, ErrInvalidToken) {
		t.Errorf("a million lines: got %v", err)
	}
}
