package server

import "github.com/gin-gonic/gin"

// refusal is the body of every answer that says no but for the API's, the same shape as the hub's
// (docs/protocol.md, "Connecting"). It never repeats what the client sent.
type refusal struct {
	Type    string `json:"type"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// refuse answers with a refusal, or a problem where it is the API's, and ends the
// chain of handlers.
func refuse(c *gin.Context, status int, code, message string) {
	if isAPI(c) {
		refuseProblem(c, status, code, message)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.Header("X-Content-Type-Options", "nosniff")
	c.AbortWithStatusJSON(status, refusal{"error", code, message})
}

func refuseWith(status int, code, message string) gin.HandlerFunc {
	return func(c *gin.Context) { refuse(c, status, code, message) }
}
