package server

import (
	"net/http"

	"aldaba/frontend"

	"github.com/gin-gonic/gin"
)

// routes is what the public reaches.
func (s *Server) routes(e *gin.Engine) {
	e.GET("/ws", s.websocket)
	e.GET("/sse", s.events)
	e.OPTIONS("/sse", s.events)

	get(e, "/healthz", s.healthz)
	get(e, "/readyz", s.readyz)
	get(e, "/aldaba.js", clientModule(frontend.Client()))

	if s.options.API != nil {
		newAPI(*s.options.API, s.log).routes(e)
	}
	if s.options.Demo != nil {
		demo := e.Group("/", loopbackOnly)
		get(demo, "/", pageHeaders, s.demoFile)
		get(demo, "/demo/*file", pageHeaders, s.demoFile)
		demo.POST("/demo/token", sameOrigin, s.demoToken)
	}
}

// adminRoutes is what the operator reaches, at an address of its own.
func (s *Server) adminRoutes(e *gin.Engine) {
	admin := e.Group("/", loopbackMeansLoopback)
	get(admin, "/metrics", s.metrics())
	get(admin, "/healthz", s.healthz)
	get(admin, "/readyz", s.readyz)
	profiles(admin.Group("/debug/pprof"))
}

// get answers GET and HEAD.
func get(r gin.IRoutes, path string, handlers ...gin.HandlerFunc) {
	r.GET(path, handlers...)
	r.HEAD(path, handlers...)
}

// websocket hands the request over to the hub, which takes the connection and
// returns early: from then on c is Gin's again.
func (s *Server) websocket(c *gin.Context) {
	s.options.Hub.Serve(c.Writer, c.Request, s.clientAddress(c))
}

// events answers with the hub's events for as long as the session lives.
func (s *Server) events(c *gin.Context) {
	s.options.Hub.ServeEvents(c.Writer, c.Request, s.clientAddress(c))
}

// clientAddress is what the limit per address counts by. Where no proxy is trusted it
// is the connection's, and Gin need not look: that is 4 % of a connect.
func (s *Server) clientAddress(c *gin.Context) string {
	if len(s.options.TrustedProxies) == 0 {
		return c.Request.RemoteAddr
	}
	return c.ClientIP()
}

// healthz says that the process lives: one that does not answer is restarted.
func (s *Server) healthz(c *gin.Context) {
	c.Header("Cache-Control", "no-store")
	c.JSON(http.StatusOK, gin.H{"status": "ok"})
}
