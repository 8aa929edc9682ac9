package server

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/gin-gonic/gin"
)

// IsLoopback reports whether host, a name or an address without port, is this
// machine's own.
func IsLoopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && address.Unmap().IsLoopback()
}

// hostOf is the Host header without its port.
func hostOf(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		return host
	}
	return r.Host
}

// loopbackOnly refuses requests for any other name than this machine's. A page
// anywhere can point a name of its own at 127.0.0.1 (DNS rebinding) and would
// be of the same origin then; the Host header gives it away.
func loopbackOnly(c *gin.Context) {
	if !IsLoopback(hostOf(c.Request)) {
		refuse(c, http.StatusForbidden, "host_not_allowed", "this is only for this machine: use localhost or 127.0.0.1")
	}
}

// loopbackMeansLoopback is loopbackOnly for a server that may listen elsewhere.
func loopbackMeansLoopback(c *gin.Context) {
	local, ok := c.Request.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if ok && local.IP.IsLoopback() {
		loopbackOnly(c)
	}
}

// crossOrigin refuses what another site's page sends (Sec-Fetch-Site, Origin).
var crossOrigin = http.NewCrossOriginProtection()

func sameOrigin(c *gin.Context) {
	if crossOrigin.Check(c.Request) != nil {
		refuse(c, http.StatusForbidden, "origin_not_allowed", "this origin may not ask")
	}
}
