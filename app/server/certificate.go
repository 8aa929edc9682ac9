package server

import (
	"crypto/tls"
	"log/slog"
	"sync/atomic"
	"time"
)

// certificateWait is how long a renewed certificate may go unnoticed.
const certificateWait = 2 * time.Second

// certificates hold the pair that new connections are answered with, and exchange
// it when its files have changed. The files are compared by what they hold: a
// renewal may keep size and time, and a mounted secret is exchanged behind a link.
type certificates struct {
	files   KeyPair
	log     *slog.Logger
	current atomic.Pointer[tls.Certificate]

	// Only the goroutine that looks sees these.
	used      pairText // what current was made of
	complaint string   // about the files as they were at the last look; empty: none
	told      bool     // complaint has been logged
}

// loadCertificates returns what serves the pair in files, or its *KeyPairError.
func loadCertificates(files KeyPair, log *slog.Logger) (*certificates, error) {
	c := &certificates{files: files, log: log}
	text, err := files.read()
	if err != nil {
		return nil, err
	}
	pair, err := text.parse()
	if err != nil {
		return nil, err
	}
	c.use(text, pair)
	return c, nil
}

// config answers with the current certificate. net/http adds the protocols.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	}
}

func (c *certificates) use(text pairText, pair *tls.Certificate) {
	c.used, c.complaint, c.told = text, "", false
	c.current.Store(pair)
	leaf := pair.Leaf
	if now := time.Now(); now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		c.log.Warn("the certificate is not valid now: clients will refuse it", "not_before", leaf.NotBefore, "not_after", leaf.NotAfter)
	}
}

// watch looks at the files every period until stop is closed.
func (c *certificates) watch(period time.Duration, stop <-chan struct{}) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.look()
		case <-stop:
			return
		}
	}
}

// look exchanges the certificate if the files hold another one. A pair that is
// broken leaves the old one in use.
func (c *certificates) look() {
	text, err := c.files.read()
	if err == nil && text == c.used {
		c.complaint, c.told = "", false
		return
	}
	var pair *tls.Certificate
	if err == nil {
		pair, err = text.parse()
	}
	if err != nil {
		c.complain(err.Error())
		return
	}
	c.use(text, pair)
	c.log.Info("certificate reloaded", "names", pair.Leaf.DNSNames, "not_after", pair.Leaf.NotAfter)
}

// complain tells once what is wrong, and not before it has been seen twice: of a
// pair that is being exchanged, one file is new for a moment and one is not.
func (c *certificates) complain(complaint string) {
	if complaint != c.complaint {
		c.complaint, c.told = complaint, false
		return
	}
	if !c.told {
		c.told = true
		c.log.Warn("the new certificate cannot be used, the old one stays", "error", complaint)
	}
}
