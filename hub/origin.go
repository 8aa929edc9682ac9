package hub

import (
	"net/http"
	"net/url"
	"strings"
)

// origins are the web origins (RFC 6454) whose pages may connect; none: the same
// origin only. A browser always says the origin of the page, other clients
// usually say none.
type origins map[string]struct{}

func newOrigins(list []string) origins {
	o := make(origins, len(list))
	for _, origin := range list {
		o[strings.ToLower(origin)] = struct{}{}
	}
	return o
}

// allow reports whether r may be upgraded as far as its origin goes.
func (o origins) allow(r *http.Request) bool {
	values := r.Header["Origin"]
	if len(values) == 0 {
		return true
	}
	if len(values) > 1 {
		return false
	}
	origin := strings.ToLower(values[0])
	if len(o) > 0 {
		_, ok := o[origin]
		return ok
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") &&
		strings.EqualFold(u.Host, r.Host)
}

// sameOrigin reports whether r is a page's own, which says no Origin when it gets
// (Fetch Metadata, section 2.4). Browsers set the header, and pages cannot.
func sameOrigin(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Site") == "same-origin"
}
