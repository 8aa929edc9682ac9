package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"aldaba/auth"

	"github.com/gin-gonic/gin"
)

// asker is who sent a request.
type asker struct {
	publisher *publisher // nil: somebody with a token
	token     string
	until     time.Time // when token expires
	user      string
	grants    *auth.Grants
}

// keysWait is when keys that cannot be had may be there.
const keysWait = 5 * time.Second

// asker finds out who sends c, or refuses it. Only the Authorization header counts:
// what a browser sends by itself, such as a cookie, lets nobody publish.
func (a *api) asker(c *gin.Context) (asker, bool) {
	secret, place, err := auth.FromRequest(c.Request, "")
	if err == nil && place != auth.PlaceHeader {
		err = auth.ErrNoToken
	}
	if err != nil {
		a.unauthorized(c, err)
		return asker{}, false
	}
	if p := a.publishers.find(secret); p != nil {
		return asker{publisher: p}, true
	}
	claims, err := a.Verifier.Verify(c.Request.Context(), secret)
	if err != nil {
		a.unauthorized(c, err)
		return asker{}, false
	}
	return asker{token: secret, until: claims.ExpiresAt, user: claims.User, grants: a.Policy.Grants(claims)}, true
}

// unauthorized refuses what has no good key or token. What exactly is wrong with it
// is for the log: a forger learns nothing.
func (a *api) unauthorized(c *gin.Context, err error) {
	if errors.Is(err, auth.ErrKeysUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		refuseFor(c, http.StatusServiceUnavailable, codeUnavailable, auth.ErrKeysUnavailable.Error(), keysWait)
		return
	}
	a.log.Debug("key or token refused", "error", err)
	detail := "neither a publisher's key nor a valid token"
	switch {
	case errors.Is(err, auth.ErrNoToken):
		detail = "a publisher's key or a token is needed, as Authorization: Bearer"
	case errors.Is(err, auth.ErrTokenInURL):
		detail = auth.ErrTokenInURL.Error()
	case errors.Is(err, auth.ErrExpiredToken):
		detail = auth.ErrExpiredToken.Error()
	}
	c.Header("WWW-Authenticate", "Bearer")
	refuse(c, http.StatusUnauthorized, codeUnauthorized, detail)
}

// allows reports whether action is the asker's on channel. A publisher may read the
// histories of the channels that it publishes to.
func (k asker) allows(channel string, action auth.Action) bool {
	if k.publisher != nil {
		return k.publisher.allows(channel)
	}
	return k.grants.Allows(channel, action)
}

// ownKey is an idempotency key among the asker's own: no user can use up, before it
// is sent, the key of somebody else's message. Publishers share theirs with all who
// publish straight to Redis.
func (k asker) ownKey(key string) string {
	if key == "" || k.publisher != nil {
		return key
	}
	sum := sha256.Sum256([]byte(key + " " + k.user)) // a key has no space
	return "user/" + hex.EncodeToString(sum[:])
}

// withinRate takes n from what the asker may have in this second, or refuses: for good,
// where n is more than any second has.
func (a *api) withinRate(c *gin.Context, k asker, n int) bool {
	switch {
	case k.publisher != nil:
		return true
	case n > a.meter.perSecond:
		refuse(c, http.StatusRequestEntityTooLarge, codeTooLarge, fmt.Sprintf("nothing was published: the tokens of one user may publish %d messages a second, and there are more", a.meter.perSecond))
		return false
	case !a.meter.take(k.user, n, time.Now()):
		refuseFor(c, http.StatusTooManyRequests, codeRateLimited, "more than the tokens of one user may ask for in a second", apiRetry)
		return false
	}
	return true
}
