package server

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"aldaba/frontend"

	"github.com/gin-gonic/gin"
)

// Demo is what the page of the development mode works with.
type Demo struct {
	Users []DemoUser
	// Token signs in one of Users for ttl; ok is false for anybody else.
	Token func(user string, ttl time.Duration) (token string, expiresAt time.Time, ok bool)
	Info  DemoInfo
}

// DemoUser is somebody whom the page can be.
type DemoUser struct {
	Name        string   `json:"name"`
	DisplayName string   `json:"display_name"`
	Rooms       []string `json:"rooms"`
	Teams       []string `json:"teams"`
	Org         string   `json:"org"`
	Roles       []string `json:"roles"`
	// Channels are those joined at connect.
	Channels []string `json:"channels"`
}

// DemoInfo is what the page tells its reader.
type DemoInfo struct {
	RedisPort int    `json:"redis_port"`
	Version   string `json:"version"`
}

const (
	demoTTL     = time.Hour
	maxDemoTTL  = 24 * time.Hour
	maxDemoBody = 1 << 10
)

// demoFile serves the page and its files, and what the page asks about.
func (s *Server) demoFile(c *gin.Context) {
	c.Header("Cache-Control", "no-store")
	switch name := strings.TrimPrefix(c.Param("file"), "/"); name {
	case "users":
		c.JSON(http.StatusOK, s.options.Demo.Users)
	case "info":
		c.JSON(http.StatusOK, s.options.Demo.Info)
	case "token":
		c.Header("Allow", http.MethodPost)
		refuse(c, http.StatusMethodNotAllowed, "method_not_allowed", "this cannot be done here: see the Allow header")
	case "":
		serveFile(c, frontend.Demo(), "index.html")
	default:
		serveFile(c, frontend.Demo(), name)
	}
}

// demoToken signs a demo user in: `{"user":"anna"}`, for `?ttl=` seconds.
func (s *Server) demoToken(c *gin.Context) {
	var body struct {
		User string `json:"user"`
	}
	d := json.NewDecoder(http.MaxBytesReader(c.Writer, c.Request.Body, maxDemoBody))
	if c.ContentType() != "application/json" || d.Decode(&body) != nil {
		refuse(c, http.StatusBadRequest, "bad_request", `send {"user":"anna"} as application/json`)
		return
	}
	ttl, ok := demoLifetime(c.Query("ttl"))
	if !ok {
		refuse(c, http.StatusBadRequest, "bad_request", "ttl is a number of seconds, 1 to 86400")
		return
	}
	token, expiresAt, ok := s.options.Demo.Token(body.User, ttl)
	if !ok {
		refuse(c, http.StatusNotFound, "not_found", "there is no such demo user")
		return
	}
	c.Header("Cache-Control", "no-store")
	c.JSON(http.StatusOK, gin.H{"token": token, "expires_at": expiresAt.Unix()})
}

func demoLifetime(query string) (time.Duration, bool) {
	if query == "" {
		return demoTTL, true
	}
	n, err := strconv.Atoi(query)
	ttl := time.Duration(n) * time.Second
	return ttl, err == nil && n >= 1 && n <= int(maxDemoTTL/time.Second)
}
