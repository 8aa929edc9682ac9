package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// pageHeaders are for pages alone: what a middleware sets for all would be
// copied into the 101 of a WebSocket.
func pageHeaders(c *gin.Context) {
	c.Header("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'")
	c.Header("Referrer-Policy", "no-referrer")
	c.Header("X-Content-Type-Options", "nosniff")
	c.Header("Cross-Origin-Opener-Policy", "same-origin")
}

// clientModule serves the JavaScript client. Pages of other origins import it,
// too, which for modules takes CORS; there is nothing secret in it.
func clientModule(files fs.FS) gin.HandlerFunc {
	const name = "aldaba.min.js"
	return func(c *gin.Context) {
		c.Header("Access-Control-Allow-Origin", "*")
		c.Header("Cross-Origin-Resource-Policy", "cross-origin")
		c.Header("X-Content-Type-Options", "nosniff")
		serveFile(c, files, name)
	}
}

// serveFile answers with an embedded file, which a browser may keep as long as
// it asks whether it is still the same.
func serveFile(c *gin.Context, files fs.FS, name string) {
	content, err := fs.ReadFile(files, name)
	if err != nil {
		refuse(c, http.StatusNotFound, "not_found", "there is nothing here")
		return
	}
	sum := sha256.Sum256(content)
	c.Header("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	c.Header("Cache-Control", "no-cache")
	http.ServeContent(c.Writer, c.Request, name, time.Time{}, bytes.NewReader(content))
}
