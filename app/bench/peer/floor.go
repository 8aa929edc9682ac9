package peer

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"aldaba/auth"

	"github.com/gorilla/websocket"
)

// Floor is the least that delivers to whom a message is for: net/http, gorilla, a map,
// and a write for each delivery. It waits for a slow client, forgets no session that has
// gone, limits nothing, and looks at a token at connect only. So a connect and an idle
// session cost about as little as they can with these libraries on a machine.
func Floor(ctx context.Context, l net.Listener, address string, issuer auth.Issuer) error {
	d, err := newDoor(ctx, issuer)
	if err != nil {
		return err
	}
	f := &floor{door: d, sessions: make(map[string][]*websocket.Conn), upgrader: websocket.Upgrader{
		ReadBufferSize: 256, WriteBufferPool: new(sync.Pool), CheckOrigin: func(*http.Request) bool { return true },
	}}
	app := http.NewServeMux()
	app.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	app.HandleFunc("/ws", f.serve)
	go everything(ctx, address, f.deliver)
	return serve(ctx, l, app)
}

type floor struct {
	*door

	upgrader websocket.Upgrader
	mu       sync.RWMutex
	sessions map[string][]*websocket.Conn // by channel
}

func (f *floor) serve(w http.ResponseWriter, r *http.Request) {
	channels, ok := f.channels(r)
	if !ok {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	conn, err := f.upgrader.Upgrade(w, r, http.Header{"Sec-WebSocket-Protocol": {"aldaba.v1"}})
	if err != nil {
		return // the client has been told
	}
	go f.hold(conn, channels) // this goroutine's stack is larger than that of one that only reads
}

func (f *floor) hold(conn *websocket.Conn, channels []string) {
	defer func() { _ = conn.Close() }()
	if conn.WriteMessage(websocket.TextMessage, []byte(welcome)) != nil {
		return
	}
	f.mu.Lock()
	for _, channel := range channels {
		f.sessions[channel] = append(f.sessions[channel], conn)
	}
	f.mu.Unlock()
	for {
		if _, _, err := conn.NextReader(); err != nil {
			return
		}
	}
}

func (f *floor) deliver(channel string, frame []byte) {
	message, err := websocket.NewPreparedMessage(websocket.TextMessage, frame)
	if err != nil {
		return
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, conn := range f.sessions[channel] {
		_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Second)) // it never fails
		_ = conn.WritePreparedMessage(message)                      // who has gone is written to in vain
	}
}
