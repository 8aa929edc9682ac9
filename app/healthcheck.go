package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

const healthWait = 3 * time.Second

// healthcheckCmd is for an image that has no other program to ask with.
type healthcheckCmd struct {
	URL    string `name:"url" placeholder:"URL" help:"What to ask instead of /healthz at the configured address."`
	Config string `placeholder:"FILE" help:"Configuration that says where the hub listens."`
}

// Help is shown by --help.
func (healthcheckCmd) Help() string {
	return `Ends with 0 if the hub answers.

    HEALTHCHECK CMD ["/aldaba", "healthcheck", "--config", "/etc/aldaba/config.yaml"]`
}

func (c *healthcheckCmd) Run(ctx context.Context, sh *shell) error {
	address, certificates := c.URL, (*tls.Config)(nil)
	if address == "" {
		s, err := load(c.Config, sh.environ)
		if err != nil {
			return err
		}
		address = s.TLS.scheme() + "://" + dialable(s.Listen) + "/healthz"
		certificates = ownCertificate()
	}
	ctx, cancel := context.WithTimeout(ctx, healthWait)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return misuse("--url: %v", err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: certificates}} // and no proxy
	answer, err := client.Do(r)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err // without the address once more
		}
		return fmt.Errorf("the hub at %s does not answer: %w", address, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the hub is not healthy: %s", answer.Status)
	}
	return nil
}

// ownCertificate accepts what the hub of this machine presents, which is called by
// its address, while its certificate has the name that clients know. Nothing secret
// is sent, and what is asked is whether it lives.
func ownCertificate() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} //nolint:gosec // see above
}

// dialable is a listening address as one can call it from this machine.
func dialable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}
