// Package naive is the hub that one would write in an afternoon, for
// `aldaba bench --compare naive`: Gin, melody as it comes, and one subscription to
// everything in Redis. Each message is offered to every session.
package naive

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"

	"aldaba/auth"

	"github.com/gin-gonic/gin"
	"github.com/olahol/melody"
	"github.com/redis/go-redis/v9"
)

// Serve serves on l what is published to redis (HOST:PORT), until ctx ends. Tokens are
// signed by issuer: that part is no less than the real hub's.
func Serve(ctx context.Context, l net.Listener, address string, issuer auth.Issuer) error {
	verifier, err := auth.NewVerifier(ctx, []auth.Issuer{issuer}, 30*time.Second)
	if err != nil {
		return err
	}
	policy, err := auth.NewPolicy([]auth.Pattern{{Name: "user:{sub}"}, {Name: "room:{rooms}"}})
	if err != nil {
		return err
	}
	m := melody.New()
	m.HandleConnect(func(s *melody.Session) { _ = s.Write([]byte(`{"type":"welcome"}`)) })
	client := redis.NewClient(&redis.Options{Addr: address})
	defer func() { _ = client.Close() }()
	gin.SetMode(gin.ReleaseMode)
	app := gin.New()
	app.GET("/readyz", func(c *gin.Context) { c.Status(http.StatusOK) })
	app.GET("/ws", func(c *gin.Context) {
		token, _, err := auth.FromRequest(c.Request, "")
		if err != nil {
			c.AbortWithStatus(http.StatusUnauthorized)
			return
		}
		claims, err := verifier.Verify(c, token)
		if err != nil {
			c.AbortWithStatus(http.StatusUnauthorized)
			return
		}
		mine := make(map[string]bool)
		for _, g := range policy.Grants(claims).Auto() {
			mine[g.Channel] = true
		}
		_ = m.HandleRequestWithKeys(c.Writer, c.Request, map[string]any{"channels": mine}) // the client sees why
	})
	go forward(ctx, client, m)
	server := &http.Server{Handler: app, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func forward(ctx context.Context, client *redis.Client, m *melody.Melody) {
	for message := range client.PSubscribe(ctx, "*").Channel() {
		frame, err := json.Marshal(struct {
			Type    string          `json:"type"`
			Channel string          `json:"channel"`
			Data    json.RawMessage `json:"data"`
		}{"message", message.Channel, json.RawMessage(message.Payload)})
		if err != nil {
			continue
		}
		_ = m.BroadcastFilter(frame, func(s *melody.Session) bool {
			return s.MustGet("channels").(map[string]bool)[message.Channel]
		})
	}
}
