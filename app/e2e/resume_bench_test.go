package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"aldaba/internal/redistest"

	"github.com/gorilla/websocket"
	"github.com/redis/go-redis/v9"
)

// BenchmarkResume reports how long it takes until 10,000 sessions whose replica was
// killed have each the one message that they missed: from the kill, over publishing
// the messages and the reconnects to another replica, to the last message. The
// clients run in this process, on the same machine.
func BenchmarkResume(b *testing.B) {
	const sessions, most = 10_000, 5
	server := redistest.Start(b)
	extra := object{
		"channels": []object{{"name": "user:{sub}", "history": object{"size": 10, "ttl": "1h"}}},
		"limits":   object{"sessions_per_address": 20000, "connects_per_second": 20000},
	}
	survivor := serve(b, plain, server, extra)
	pages := make([]*resumer, sessions)
	for i := range pages {
		user := fmt.Sprint("u", i)
		pages[i] = &resumer{user: user, header: http.Header{"Authorization": {"Bearer " + token(b, user, nil)}}}
	}
	for b.Loop() {
		b.StopTimer()
		victim := serve(b, plain, server, extra)
		each(b, pages, func(p *resumer) error { return p.connect(victim.public, "welcome") })
		b.StartTimer()
		begin := time.Now()
		kill(b, victim)
		publishToAll(b, server, pages)
		each(b, pages, func(p *resumer) error { return p.connect(survivor.public, "message") })
		took := time.Since(begin).Seconds()
		b.ReportMetric(took, "s/10000-resumes")
		if took > most {
			b.Errorf("%.1f s, more than %d", took, most)
		}
	}
	each(b, pages, func(p *resumer) error { return p.conn.Close() })
}

// resumer is a page with one channel of its own.
type resumer struct {
	user     string
	header   http.Header
	position string
	conn     *websocket.Conn
}

// connect replaces the connection by one to the replica at address, resumes, and reads
// until a frame of that type has come.
func (p *resumer) connect(address, until string) error {
	if p.conn != nil {
		_ = p.conn.Close()
	}
	dialer := websocket.Dialer{ReadBufferSize: 1 << 10, WriteBufferSize: 1 << 9, HandshakeTimeout: 20 * time.Second}
	conn, _, err := dialer.Dial("ws://"+address+"/ws?resume", p.header)
	if err != nil {
		return err
	}
	p.conn = conn
	channel := "user:" + p.user
	positions := map[string]string{}
	if p.position != "" {
		positions[channel] = p.position
	}
	if err := conn.WriteJSON(object{"type": "resume", "positions": positions}); err != nil {
		return err
	}
	for {
		var f struct {
			Type, Position string
			Channels       []struct {
				Position  string
				Recovered bool
			}
		}
		if err := conn.ReadJSON(&f); err != nil {
			return err
		}
		switch {
		case f.Type == "welcome" && f.Channels[0].Recovered != (p.position != ""):
			return fmt.Errorf("recovered: %v from %q", f.Channels[0].Recovered, p.position)
		case f.Type == "welcome":
			p.position = f.Channels[0].Position
		default:
			p.position = f.Position
		}
		if f.Type == until {
			return nil
		}
	}
}

// publishToAll records a message for each page.
func publishToAll(b *testing.B, server *redistest.Server, pages []*resumer) {
	b.Helper()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), Protocol: 2, DisableIdentity: true, ReadTimeout: 20 * time.Second})
	defer func() { _ = client.Close() }()
	data, err := json.Marshal(object{"title": "you missed this"})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := client.Pipelined(context.Background(), func(pipe redis.Pipeliner) error {
		for _, p := range pages {
			pipe.FCall(context.Background(), "aldaba_publish", []string{"user:" + p.user}, data)
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
}

// each has as many pages as a browser farm would do something at once.
func each(b *testing.B, pages []*resumer, do func(*resumer) error) {
	b.Helper()
	var busy sync.WaitGroup
	next := make(chan *resumer)
	for range 64 {
		busy.Go(func() {
			for p := range next {
				if err := do(p); err != nil {
					b.Error(p.user, err)
				}
			}
		})
	}
	for _, p := range pages {
		next <- p
	}
	close(next)
	busy.Wait()
}

// kill ends a replica as a crash does, and waits until it is gone.
func kill(b *testing.B, r *replica) {
	b.Helper()
	r.asked, r.hurried = true, true
	if err := r.cmd.Process.Kill(); err != nil {
		b.Fatal(err)
	}
	<-r.exited
}
