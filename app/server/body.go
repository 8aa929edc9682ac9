package server

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
)

// jsonBody returns a body of at most limit bytes of UTF-8 that says it is JSON, or
// refuses c.
func jsonBody(c *gin.Context, limit int64) ([]byte, bool) {
	if !saysJSON(c.Request.Header) {
		refuse(c, http.StatusUnsupportedMediaType, codeMediaType, "send application/json, in UTF-8 and not compressed")
		return nil, false
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, limit))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		refuse(c, http.StatusRequestEntityTooLarge, codeTooLarge, "the body is larger than it may be")
		return nil, false
	}
	switch {
	case err != nil:
		refuse(c, http.StatusBadRequest, codeBadRequest, "the body cannot be read")
	case !utf8.Valid(body): // RFC 8259, section 8.1
		refuse(c, http.StatusBadRequest, codeBadRequest, "the body is not UTF-8")
	default:
		return body, true
	}
	return nil, false
}

func saysJSON(h http.Header) bool {
	kinds := h.Values("Content-Type")
	if len(kinds) != 1 || len(h.Values("Content-Encoding")) > 0 {
		return false
	}
	kind, parameters, err := mime.ParseMediaType(kinds[0])
	charset := parameters["charset"]
	return err == nil && kind == "application/json" && (charset == "" || strings.EqualFold(charset, "utf-8"))
}
