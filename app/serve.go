package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"syscall"

	"aldaba/hub/broker"
)

const embeddedAddress = "127.0.0.1:6379"

type serveCmd struct {
	Config string `placeholder:"FILE" help:"Configuration instead of ./config.yaml."`
}

// Help is shown by --help.
func (serveCmd) Help() string {
	return `Reads ./config.yaml if it is there, and puts the environment on top: ALDABA_ and a key's path in capitals. Ends
gracefully on SIGTERM or an interrupt, and at once on a second one. Two variables suffice to begin with:

    ALDABA_REDIS_URL=redis://redis:6379 ALDABA_AUTH_ISSUERS_0_SECRET=$(cat secret) aldaba serve

    aldaba serve --config /etc/aldaba/config.yaml`
}

func (c *serveCmd) Run(ctx context.Context, sh *shell) error {
	config, err := loadChecked(c.Config, sh.environ)
	if err != nil {
		return err
	}
	log := newLogger(sh.err, config.Log)
	slog.SetDefault(log) // what fetches keys in the background logs there
	p, err := planServe(ctx, config, log)
	if err != nil {
		return err
	}
	one, err := newProgram(p)
	if err != nil {
		return err
	}
	greet(log, one)
	return one.Run(ctx)
}

// planServe opens what config says is to be listened on.
func planServe(ctx context.Context, c *checked, log *slog.Logger) (plan, error) {
	p := plan{config: &c.Config, judge: c.judge, log: log}
	err := p.listen(ctx)
	if err == nil && c.Redis.URL == "" {
		p.embedded, err = broker.StartEmbedded(embeddedAddress)
	}
	if err != nil {
		p.abandon()
		return plan{}, err
	}
	return p, nil
}

func (p *plan) listen(ctx context.Context) (err error) {
	if p.public, err = listen(ctx, p.config.Listen, "`listen`"); err != nil {
		return err
	}
	if p.config.AdminListen != "" {
		p.admin, err = listen(ctx, p.config.AdminListen, "`admin_listen` (empty: none)")
	}
	return err
}

// abandon closes what was opened for a program that will not be.
func (p *plan) abandon() { _ = (&program{plan: *p}).close() }

// greet tells the operator what was started.
func greet(log *slog.Logger, p *program) {
	var files syscall.Rlimit // Go has raised the soft limit to the hard one
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files)
	log.Info("serving",
		"version", thisBuild().Version,
		"address", p.public.Addr().String(),
		"scheme", p.config.TLS.scheme(),
		"admin_address", addressOf(p.admin),
		"channels", len(p.config.Channels),
		"open_files_limit", files.Cur,
	)
	if p.embedded != nil {
		log.Warn("redis.url is empty: this replica is alone with an embedded redis", "redis", p.embedded.URL())
	}
	if len(p.config.Channels) == 0 {
		log.Warn("channels is empty: sessions can connect, but no channel is open to anybody")
	}
}

func addressOf(l net.Listener) string {
	if l == nil {
		return "off"
	}
	return fmt.Sprint(l.Addr())
}
