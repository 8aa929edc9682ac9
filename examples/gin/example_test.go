// Package gin_test shows the hub inside somebody's own Gin application.
package gin_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"time"

	"aldaba/auth"
	"aldaba/hub"
	"aldaba/hub/broker"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"
)

const secret = "the secret that your application signs its tokens with"

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	redis := must(broker.StartEmbedded("127.0.0.1:0")) // yours: "redis://…"
	defer redis.Close()

	gin.SetMode(gin.ReleaseMode)
	app := gin.New()

	// The hub in your application: who may connect, to which channels, through which Redis.
	verifier := must(auth.NewVerifier(ctx, []auth.Issuer{{Algorithm: "HS256", Secret: secret}}, 30*time.Second))
	policy := must(auth.NewPolicy([]auth.Pattern{{Name: "user:{sub}"}, {Name: "broadcast"}}))
	b := must(broker.Open(broker.Options{URL: redis.URL()}))
	h := must(hub.New(hub.Options{Verifier: verifier, Policy: policy, Broker: b}))
	go func() { _ = b.Run(ctx, h) }() // until ctx ends
	app.GET("/ws", gin.WrapH(h))

	server := httptest.NewServer(app)
	defer server.Close()
	defer h.Close()

	// A browser of user 42 connects.
	token := must(jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "42", "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString([]byte(secret)))
	dialer := websocket.Dialer{Subprotocols: []string{"aldaba.v1", "bearer." + token}}
	session, _, err := dialer.DialContext(ctx, "ws"+strings.TrimPrefix(server.URL, "http")+"/ws", nil)
	if err != nil {
		panic(err)
	}
	defer session.Close()
	if _, _, err := session.ReadMessage(); err != nil { // welcome: from here on, nothing is missed
		panic(err)
	}

	// Any backend publishes; here through the same broker.
	if _, err := b.Publish(ctx, "user:42", []byte(`{"title": "Your invoice is ready"}`), hub.PublishOptions{}); err != nil {
		panic(err)
	}
	_, message, err := session.ReadMessage()
	if err != nil {
		panic(err)
	}
	fmt.Println(string(message))
	// Output: {"type":"message","channel":"user:42","data":{"title": "Your invoice is ready"}}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
