package server

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"strconv"
	"strings"
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

// clientModule serves the JavaScript client, to most browsers compressed: once,
// at start, for every page of every user asks for it. Pages of other origins
// import it, too, which for modules takes CORS; there is nothing secret in it.
func clientModule(files fs.FS) gin.HandlerFunc {
	const name = "aldaba.min.js"
	plain, err := fs.ReadFile(files, name)
	if err != nil {
		panic(err) // it is embedded
	}
	compressed := compress(plain)
	return func(c *gin.Context) {
		c.Header("Access-Control-Allow-Origin", "*")
		c.Header("Cross-Origin-Resource-Policy", "cross-origin")
		c.Header("X-Content-Type-Options", "nosniff")
		c.Header("Vary", "Accept-Encoding")
		if !acceptsGzip(c.Request.Header) {
			serveContent(c, name, plain)
			return
		}
		c.Header("Content-Encoding", "gzip")
		serveContent(c, name, compressed)
	}
}

// compress returns the content as gzip (RFC 1952), as small as it gets.
func compress(content []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}

// acceptsGzip tells whether a request names gzip among the codings that it
// takes (RFC 9110 section 12.5.3).
func acceptsGzip(header http.Header) bool {
	for _, field := range header.Values("Accept-Encoding") {
		for coding := range strings.SplitSeq(field, ",") {
			name, params, err := mime.ParseMediaType(coding)
			if err != nil || name != "gzip" {
				continue
			}
			weight, err := strconv.ParseFloat(params["q"], 64)
			return err != nil || weight > 0
		}
	}
	return false
}

// serveFile answers with an embedded file.
func serveFile(c *gin.Context, files fs.FS, name string) {
	content, err := fs.ReadFile(files, name)
	if err != nil {
		refuse(c, http.StatusNotFound, "not_found", "there is nothing here")
		return
	}
	serveContent(c, name, content)
}

// serveContent answers with what a browser may keep as long as it asks whether
// it is still the same.
func serveContent(c *gin.Context, name string, content []byte) {
	sum := sha256.Sum256(content)
	c.Header("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	c.Header("Cache-Control", "no-cache")
	http.ServeContent(c.Writer, c.Request, name, time.Time{}, bytes.NewReader(content))
}
