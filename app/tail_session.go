package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

const dialWait = 15 * time.Second

// watchSession connects to a hub as a browser would and prints what comes, of
// the channels that match patterns, until the session ends.
func watchSession(ctx context.Context, hub, token string, patterns []string, p *tailPrinter) error {
	address, err := socketURL(hub)
	if err != nil {
		return err
	}
	conn, err := dialHub(ctx, address, token)
	if err != nil {
		return err
	}
	defer conn.Close()
	// Nothing else ends a read that waits.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	for {
		_, raw, err := conn.ReadMessage()
		if err != nil {
			return explainEnd(err)
		}
		var f frame
		if err := json.Unmarshal(raw, &f); err != nil {
			return fmt.Errorf("this is no hub, its frames are not JSON: %w", err)
		}
		if f.Type == "welcome" {
			if err := askFor(conn, f, patterns); err != nil {
				return err
			}
		}
		if f.Channel != "" && !matchesAny(patterns, f.Channel) {
			continue
		}
		if err := p.frame(f, raw); err != nil {
			return err
		}
	}
}

// socketURL is the WebSocket endpoint of a hub that may be given as the URL of
// its page.
func socketURL(hub string) (string, error) {
	u, err := url.Parse(hub)
	if err != nil || u.Host == "" {
		return "", misuse("--url: write ws://host:port/ws, or wss:// for TLS")
	}
	switch u.Scheme {
	case "http", "ws":
		u.Scheme = "ws"
	case "https", "wss":
		u.Scheme = "wss"
	default:
		return "", misuse("--url: write ws://host:port/ws, or wss:// for TLS")
	}
	if u.RawQuery != "" || u.User != nil {
		return "", misuse("--url: a token does not go into the URL, see --as-token")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/ws"
	}
	return u.String(), nil
}

func dialHub(ctx context.Context, address, token string) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	d := websocket.Dialer{Subprotocols: []string{"aldaba.v1"}}
	conn, answer, err := d.DialContext(ctx, address, http.Header{"Authorization": {"Bearer " + token}})
	switch {
	case err == nil:
		return conn, nil
	case answer == nil:
		return nil, fmt.Errorf("the hub at %s does not answer: %w; start `aldaba dev`, or say where the hub is with --url", address, err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 4<<10))
	var no frame
	if json.Unmarshal(text, &no) != nil || no.Code == "" {
		return nil, fmt.Errorf("%s answers %s: is this a hub?", address, answer.Status)
	}
	return nil, fmt.Errorf("the hub refuses the connection: %s (%d %s)%s", no.Message, answer.StatusCode, no.Code, refusalHint(no.Code))
}

func refusalHint(code string) string {
	switch code {
	case "unauthorized":
		return "; make a token with `aldaba token`, and look at it with `aldaba explain`"
	case "draining", "unavailable", "too_many_connects":
		return "; try again"
	default:
		return ""
	}
}

// askFor subscribes to the channels that are named and not joined yet.
func askFor(conn *websocket.Conn, welcome frame, patterns []string) error {
	for i, name := range patterns {
		joined := slices.ContainsFunc(welcome.Channels, func(c struct {
			Channel string `json:"channel"`
		},
		) bool {
			return c.Channel == name
		})
		if joined || !isName(name) {
			continue
		}
		err := conn.WriteJSON(map[string]any{"type": "subscribe", "id": i, "channel": name})
		if err != nil {
			return err
		}
	}
	return nil
}

// matchesAny reports whether one of patterns, with Redis' wildcards, matches.
func matchesAny(patterns []string, channel string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(pattern string) bool {
		// path.Match lets no wildcard pass a slash, Redis does.
		ok, err := path.Match(strings.ReplaceAll(pattern, "/", ":"), strings.ReplaceAll(channel, "/", ":"))
		return err == nil && ok
	})
}

// closings say what a close code means (docs/protocol.md, "Closing") to
// somebody who watches.
var closings = map[int]string{
	websocket.CloseGoingAway:               "the hub is going away; connect again",
	websocket.CloseInternalServerErr:       "a fault of the hub cost this session; connect again",
	websocket.CloseAbnormalClosure:         "the connection broke; connect again",
	4001:                                   "the replica is restarting; connect again",
	4002:                                   "this session read too slowly; connect again",
	4003:                                   "the hub has lost its Redis; connect again once /readyz says ready",
	4401:                                   "the token has expired or was revoked; make another with `aldaba token`",
	4403:                                   "an operator has disconnected this user",
	4429:                                   "over a limit",
	websocket.CloseInvalidFramePayloadData: "the hub did not understand what was sent",
}

func explainEnd(err error) error {
	var end *websocket.CloseError
	if !errors.As(err, &end) {
		return fmt.Errorf("the connection broke: %w", err)
	}
	meaning, ok := closings[end.Code]
	if !ok {
		meaning = printable(end.Text)
	}
	return fmt.Errorf("the hub closed the session with %d: %s", end.Code, meaning)
}
