package server

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"aldaba/auth"
	"aldaba/hub"

	"github.com/gin-gonic/gin"
)

// Broker is what the API publishes through and reads from; *broker.Broker is one.
// The methods are those of hub.Broker.
type Broker interface {
	Publish(ctx context.Context, channel string, data []byte, o hub.PublishOptions) (hub.Published, error)
	Read(ctx context.Context, q hub.Query) (hub.Page, error)
}

// Verifier says who a token belongs to; *auth.Verifier is one.
type Verifier interface {
	Verify(ctx context.Context, token string) (*auth.Claims, error)
}

// Tickets gives out what stands for a token in a URL; *hub.Hub is one.
type Tickets interface {
	// IssueTicket returns a ticket for token, which expires at end, and when the ticket does.
	IssueTicket(ctx context.Context, token string, end time.Time) (ticket string, until time.Time, err error)
}

// API is what the routes below /v1 are made of (docs/http.md).
type API struct {
	Broker     Broker       // required
	Verifier   Verifier     // required
	Policy     *auth.Policy // required
	Tickets    Tickets      // required
	Publishers []Publisher
	Message    int64 // the largest message, in bytes
	PerSecond  int   // messages and pages for the tokens of one user; publishers have no such limit
}

const (
	apiPrefix = "/v1/"
	// apiWait is how long Redis may take for one request.
	apiWait = 5 * time.Second
	// apiRetry is what a client is told to wait for.
	apiRetry = time.Second
)

// api answers the requests below /v1.
type api struct {
	API

	publishers publishers
	meter      meter
	log        *slog.Logger
}

func newAPI(o API, log *slog.Logger) *api {
	return &api{API: o, publishers: newPublishers(o.Publishers), meter: meter{perSecond: o.PerSecond}, log: log}
}

// routes are described by openapi.yaml, and a test compares.
func (a *api) routes(e *gin.Engine) {
	v1 := e.Group(strings.TrimSuffix(apiPrefix, "/"), apiHeaders)
	v1.POST("/publish", a.publish)
	v1.POST("/tickets", a.ticket)
	get(v1, "/channels/:channel/history", a.history)
	get(v1, "/openapi.yaml", openapi)
}

// isAPI reports whether c is for the API, of which everything is a problem that is
// refused.
func isAPI(c *gin.Context) bool { return strings.HasPrefix(c.Request.URL.Path, apiPrefix) }

func apiHeaders(c *gin.Context) {
	c.Header("Cache-Control", "no-store")
	c.Header("X-Content-Type-Options", "nosniff")
}

// Codes of problems (docs/http.md), beside those of refusals.
const (
	codeBadRequest     = "bad_request"
	codeUnauthorized   = "unauthorized"
	codeForbidden      = "forbidden"
	codeNoHistory      = "no_history"
	codeGone           = "gone"
	codeTooLarge       = "too_large"
	codeMediaType      = "unsupported_media_type"
	codeInvalidMessage = "invalid_message"
	codeRateLimited    = "rate_limited"
	codeInternal       = "internal"
	codeUnavailable    = "unavailable"
)

// statusOf is the status of a code, for those that a message can have, too.
var statusOf = map[string]int{
	codeTooLarge:       http.StatusRequestEntityTooLarge,
	codeInvalidMessage: http.StatusBadRequest,
	codeInternal:       http.StatusInternalServerError,
	codeUnavailable:    http.StatusServiceUnavailable,
}
