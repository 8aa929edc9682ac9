package server

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
)

const forwardedFor = "X-Forwarded-For"

// mergeForwardedFor joins repeated X-Forwarded-For lines into one. A proxy may
// append a line of its own (HAProxy does) instead of extending the client's,
// and Gin reads the first only: the one that the client wrote.
func mergeForwardedFor(c *gin.Context) {
	if lines := c.Request.Header[forwardedFor]; len(lines) > 1 {
		c.Request.Header[forwardedFor] = []string{strings.Join(lines, ", ")}
	}
}

// logAccess writes one line per request: successes at debug level, refusals at
// info, failures as warnings. It holds nothing that the client wrote, as a token
// may be anywhere: in a header, the query, the path, even the method.
func (s *Server) logAccess(c *gin.Context) {
	begin := time.Now()
	address, route := c.ClientIP(), routeOf(c)
	c.Next()
	status := c.Writer.Status()
	if status == http.StatusOK && route == "/ws" {
		status = http.StatusSwitchingProtocols // the connection is the hub's now
	}
	level := slog.LevelDebug
	switch {
	case status >= http.StatusInternalServerError && route != "/readyz":
		level = slog.LevelWarn
	case status >= http.StatusBadRequest:
		level = slog.LevelInfo
	}
	s.log.LogAttrs(c.Request.Context(), level, "request",
		slog.String("method", methodOf(c.Request)),
		slog.String("route", route),
		slog.Int("status", status),
		slog.String("address", address),
		slog.Duration("took", time.Since(begin)),
	)
}

// routeOf is the pattern that a request has matched, as routes.go has it.
func routeOf(c *gin.Context) string {
	if route := c.FullPath(); route != "" {
		return route
	}
	return "(no such route)"
}

// methodOf is the method, if HTTP has it: a client may send any word.
func methodOf(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return r.Method
	}
	return "(no such method)"
}

// recoverPanic costs a panicking handler its request, and nothing else.
func (s *Server) recoverPanic(c *gin.Context) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler { //nolint:errorlint,err113 // net/http compares so, too
			panic(p)
		}
		s.log.Error("handler panicked", "route", routeOf(c), "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
		if !c.Writer.Written() {
			refuse(c, http.StatusInternalServerError, codeInternal, "this is a fault of the hub")
		}
		c.Abort()
	}()
	c.Next()
}
