package server

import (
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
// info, failures as warnings. Neither query nor header is in it: both may hold
// a token.
func (s *Server) logAccess(c *gin.Context) {
	begin := time.Now()
	request, address := c.Request, c.ClientIP()
	c.Next()
	status := c.Writer.Status()
	if status == http.StatusOK && request.URL.Path == "/ws" {
		status = http.StatusSwitchingProtocols // the connection is the hub's now
	}
	level := slog.LevelDebug
	switch {
	case status >= http.StatusInternalServerError && request.URL.Path != "/readyz":
		level = slog.LevelWarn
	case status >= http.StatusBadRequest:
		level = slog.LevelInfo
	}
	s.log.LogAttrs(request.Context(), level, "request",
		slog.String("method", shorten(request.Method)),
		slog.String("path", shorten(request.URL.Path)),
		slog.Int("status", status),
		slog.String("address", address),
		slog.Duration("took", time.Since(begin)),
	)
}

// shorten bounds what a client can put into a log line.
func shorten(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
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
		s.log.Error("handler panicked", "path", shorten(c.Request.URL.Path), "panic", p, "stack", string(debug.Stack()))
		if !c.Writer.Written() {
			refuse(c, http.StatusInternalServerError, "internal", "this is a fault of the hub")
		}
		c.Abort()
	}()
	c.Next()
}
