package server

import (
	"context"
	"errors"
	"io"
	"net/http"

	"aldaba/auth"

	"github.com/gin-gonic/gin"
)

// ticketAnswer is what a token is exchanged for.
type ticketAnswer struct {
	Ticket    string `json:"ticket"`
	ExpiresAt int64  `json:"expires_at"` // in seconds since 1970
}

// ticket gives the owner of a token what a URL may carry in its stead. A publisher has
// no session to open.
func (a *api) ticket(c *gin.Context) {
	who, ok := a.asker(c)
	if !ok {
		return
	}
	if who.publisher != nil {
		refuse(c, http.StatusForbidden, codeForbidden, "a ticket stands for a user's token, and not for a publisher's key")
		return
	}
	if n, err := io.CopyN(io.Discard, c.Request.Body, 1); n > 0 || !errors.Is(err, io.EOF) {
		refuse(c, http.StatusBadRequest, codeBadRequest, "send no body: the token says all")
		return
	}
	if !a.withinRate(c, who, 1) {
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), apiWait)
	defer cancel()
	ticket, until, err := a.Tickets.IssueTicket(ctx, who.token, who.until)
	switch {
	case errors.Is(err, auth.ErrExpiredToken): // just now
		a.unauthorized(c, err)
	case err != nil:
		a.log.Warn("ticket by http failed", "error", err)
		refuseFor(c, http.StatusServiceUnavailable, codeUnavailable, "redis does not answer now", apiRetry)
	default:
		c.JSON(http.StatusOK, ticketAnswer{ticket, until.Unix()})
	}
}
