package server

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
)

// problem is the body of every answer of the API that says no (RFC 9457). It never
// repeats what the client sent.
type problem struct {
	Type   string `json:"type"` // "about:blank": Title says no more than the status
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
}

// refuseProblem answers with a problem and ends the chain of handlers.
func refuseProblem(c *gin.Context, status int, code, detail string) {
	body, err := json.Marshal(problem{"about:blank", http.StatusText(status), status, detail, code})
	if err != nil {
		c.AbortWithStatus(http.StatusInternalServerError) // five plain fields never fail
		return
	}
	apiHeaders(c)
	c.Abort()
	c.Data(status, "application/problem+json", body)
}

// refuseFor is refuse that says when to come back.
func refuseFor(c *gin.Context, status int, code, detail string, wait time.Duration) {
	c.Header("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	refuse(c, status, code, detail)
}
