// Package server is the HTTP surface: the WebSocket endpoint, health, the
// client module, the API below /v1, and in development the demo page. It alone sees Gin.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxHeaderBytes admits the longest token (16 KiB), which may travel in a
	// cookie beside others of a browser's. net/http's own default is 1 MB.
	maxHeaderBytes = 32 << 10

	headerWait = 10 * time.Second // for a request's head
	bodyWait   = 30 * time.Second // for a whole request
	answerWait = 10 * time.Second // for the answer to one that took so long
	idleWait   = 60 * time.Second // between two requests
	stallWait  = 10 * time.Second // in which a connection over HTTP/2 takes nothing
)

// Hub upgrades requests; *hub.Hub is one. After Serve has returned, neither w
// nor r is used any more.
type Hub interface {
	Serve(w http.ResponseWriter, r *http.Request, address string)
	// ServeEvents answers until the session has ended.
	ServeEvents(w http.ResponseWriter, r *http.Request, address string)
}

// Options is what a server is made of.
type Options struct {
	Hub            Hub                  // required
	Ready          func() error         // required: nil while messages arrive
	TrustedProxies []string             // whose X-Forwarded-For is believed
	TLS            KeyPair              // of the public address; zero: plain HTTP
	Metrics        *prometheus.Registry // served, and added to
	Logger         *slog.Logger
	API            *API  // nil: none
	Demo           *Demo // nil: none
}

// Server answers on two addresses: the public one, and the operator's own.
type Server struct {
	options  Options
	log      *slog.Logger
	draining atomic.Bool
	requests *prometheus.CounterVec // to the API
	public   *http.Server
	admin    *http.Server

	certificates      *certificates // of public; nil: plain HTTP
	certificatePeriod time.Duration // between two looks at them
}

// New returns a server that Serve and ServeAdmin let answer.
func New(o Options) (*Server, error) {
	gin.SetMode(gin.ReleaseMode)
	s := &Server{options: o, log: o.Logger, certificatePeriod: certificateWait, requests: newRequests()}
	if o.Metrics != nil {
		if err := o.Metrics.Register(s.requests); err != nil {
			return nil, fmt.Errorf("metrics of the server: %w", err)
		}
	}
	public, err := s.newEngine()
	if err != nil {
		return nil, err
	}
	admin, err := s.newEngine()
	if err != nil {
		return nil, err
	}
	s.routes(public)
	s.adminRoutes(admin)
	s.public = s.newHTTPServer(public)
	s.admin = s.newHTTPServer(admin)
	s.admin.WriteTimeout = profileWait
	if o.TLS != (KeyPair{}) {
		if s.certificates, err = loadCertificates(o.TLS, o.Logger); err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		s.public.TLSConfig = s.certificates.config()
	}
	return s, nil
}

func (s *Server) newEngine() (*gin.Engine, error) {
	e := gin.New()
	// A redirect would repeat a path that the client chose.
	e.RedirectTrailingSlash = false
	e.HandleMethodNotAllowed = true
	// A channel's name may have a slash, which is %2F in a path then. The handler
	// decodes it: Gin would make spaces of plus signs.
	e.UseEscapedPath, e.UnescapePathValues = true, false
	e.RemoteIPHeaders = []string{forwardedFor}
	if err := e.SetTrustedProxies(s.options.TrustedProxies); err != nil {
		return nil, fmt.Errorf("trusted proxies: %w", err)
	}
	e.Use(mergeForwardedFor, s.logAccess, s.countAPI, s.recoverPanic)
	e.NoRoute(refuseWith(http.StatusNotFound, "not_found", "there is nothing here"))
	e.NoMethod(refuseWith(http.StatusMethodNotAllowed, "method_not_allowed", "this cannot be done here: see the Allow header"))
	return e, nil
}

func (s *Server) newHTTPServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerWait,
		ReadTimeout:       bodyWait,
		WriteTimeout:      bodyWait + answerWait, // hijacking a connection lifts both
		IdleTimeout:       idleWait,
		MaxHeaderBytes:    maxHeaderBytes,
		// An answer's deadline ends its stream with a frame (RFC 9113, section 6.4), which
		// waits behind what a full connection does not take: all streams would stay.
		HTTP2: &http.HTTP2Config{WriteByteTimeout: stallWait},
		// What clients do wrong; acceptor tells what the operator should know.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// Serve answers the public's requests on l until Shutdown. With a certificate it
// speaks TLS there, HTTP/2 and HTTP/1.1, and WebSocket in the latter only.
func (s *Server) Serve(l net.Listener) error {
	if s.certificates == nil {
		return untilShutdown(s.public.Serve(s.accepting(l)))
	}
	var watching sync.WaitGroup
	stop := make(chan struct{})
	watching.Go(func() { s.certificates.watch(s.certificatePeriod, stop) })
	defer watching.Wait()
	defer close(stop)
	return untilShutdown(s.public.ServeTLS(s.accepting(l), "", ""))
}

// ServeAdmin answers the operator's requests on l until Shutdown, in plain HTTP.
func (s *Server) ServeAdmin(l net.Listener) error {
	return untilShutdown(s.admin.Serve(s.accepting(l)))
}

func (s *Server) accepting(l net.Listener) net.Listener {
	return &acceptor{Listener: l, log: s.log}
}

func untilShutdown(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Drain makes the server say that it is not ready, so that a load balancer
// sends nobody here any more. Everything else goes on.
func (s *Server) Drain() { s.draining.Store(true) }

// Shutdown lets running requests end until ctx does, then cuts them. Sessions
// are the hub's and not touched. It is safe to call twice.
func (s *Server) Shutdown(ctx context.Context) error {
	var errs []error
	for _, h := range []*http.Server{s.public, s.admin} {
		if err := h.Shutdown(ctx); err != nil {
			errs = append(errs, err, h.Close())
		}
	}
	return errors.Join(errs...)
}
