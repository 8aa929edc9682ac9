package peer

import (
	"context"
	"net"
	"net/http"
	"slices"

	"aldaba/auth"

	"github.com/gin-gonic/gin"
	"github.com/olahol/melody"
)

// Naive is the hub that one would write in an afternoon: Gin, melody as it comes, and
// each message offered to every session.
func Naive(ctx context.Context, l net.Listener, address string, issuer auth.Issuer) error {
	d, err := newDoor(ctx, issuer)
	if err != nil {
		return err
	}
	m := melody.New()
	m.HandleConnect(func(s *melody.Session) { _ = s.Write([]byte(welcome)) })
	gin.SetMode(gin.ReleaseMode)
	app := gin.New()
	app.GET("/readyz", func(c *gin.Context) { c.Status(http.StatusOK) })
	app.GET("/ws", func(c *gin.Context) {
		mine, ok := d.channels(c.Request)
		if !ok {
			c.AbortWithStatus(http.StatusUnauthorized)
			return
		}
		_ = m.HandleRequestWithKeys(c.Writer, c.Request, map[string]any{"channels": mine}) // the client sees why
	})
	go everything(ctx, address, func(channel string, frame []byte) {
		_ = m.BroadcastFilter(frame, func(s *melody.Session) bool {
			return slices.Contains(s.MustGet("channels").([]string), channel)
		})
	})
	return serve(ctx, l, app)
}
