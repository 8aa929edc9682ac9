// Package peer has what `aldaba bench --compare` measures a hub against, in the same
// run: one that does too much for each message, and one that does too little.
package peer

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"

	"aldaba/auth"

	"github.com/redis/go-redis/v9"
)

// Serve serves on l what is published to the Redis at address (HOST:PORT), until ctx
// ends. Tokens are signed by issuer: that part is no less than the hub's.
type Serve func(ctx context.Context, l net.Listener, address string, issuer auth.Issuer) error

// Peers by the names that --compare takes.
var Peers = map[string]Serve{"naive": Naive, "floor": Floor}

const welcome = `{"type":"welcome"}`

// door knows who comes in, and what for.
type door struct {
	verifier *auth.Verifier
	policy   *auth.Policy
}

func newDoor(ctx context.Context, issuer auth.Issuer) (*door, error) {
	verifier, err := auth.NewVerifier(ctx, []auth.Issuer{issuer}, 30*time.Second)
	if err != nil {
		return nil, err
	}
	policy, err := auth.NewPolicy([]auth.Pattern{{Name: "user:{sub}"}, {Name: "room:{rooms}"}})
	if err != nil {
		return nil, err
	}
	return &door{verifier, policy}, nil
}

// channels are those that the request's token yields.
func (d *door) channels(r *http.Request) (names []string, ok bool) {
	token, _, err := auth.FromRequest(r, "")
	if err != nil {
		return nil, false
	}
	claims, err := d.verifier.Verify(r.Context(), token)
	if err != nil {
		return nil, false
	}
	for _, g := range d.policy.Grants(claims).Auto() {
		names = append(names, g.Channel)
	}
	return names, true
}

// everything hands on each message that is published, as a frame.
func everything(ctx context.Context, address string, deliver func(channel string, frame []byte)) {
	client := redis.NewClient(&redis.Options{Addr: address})
	defer func() { _ = client.Close() }()
	all := client.PSubscribe(ctx, "*")
	for {
		message, err := all.ReceiveMessage(ctx)
		if err != nil {
			return
		}
		frame, err := json.Marshal(struct {
			Type    string          `json:"type"`
			Channel string          `json:"channel"`
			Data    json.RawMessage `json:"data"`
		}{"message", message.Channel, json.RawMessage(message.Payload)})
		if err == nil {
			deliver(message.Channel, frame)
		}
	}
}

func serve(ctx context.Context, l net.Listener, app http.Handler) error {
	server := &http.Server{Handler: app, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
