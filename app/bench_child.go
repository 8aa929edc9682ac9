package main

import (
	"context"
	"maps"
	"time"

	"aldaba/app/bench/crowd"
	"aldaba/app/bench/peer"
	"aldaba/auth"
)

// benchCrowdCmd is a load generator of `aldaba bench`.
type benchCrowdCmd struct{}

func (benchCrowdCmd) Run(sh *shell) error { return crowd.Run(sh.in, sh.out, signForCrowd) }

func signForCrowd(o *crowd.Connect, user string, claims map[string]any) (string, error) {
	all := map[string]any{"exp": o.Expires.Unix()}
	setClaim(all, o.Issuer.UserClaim, user)
	maps.Copy(all, claims)
	token, _, err := signToken(o.Issuer, all, time.Hour)
	return token, err
}

// benchPeerCmd is what --compare measures.
type benchPeerCmd struct {
	Name   string `arg:"" enum:"naive,floor"`
	Listen string `required:""`
	Redis  string `required:""`
	Secret string `required:"" env:"PEER_SECRET"`
}

func (c benchPeerCmd) Run(ctx context.Context) error {
	l, err := listen(ctx, c.Listen, "--listen")
	if err != nil {
		return err
	}
	return peer.Peers[c.Name](ctx, l, c.Redis, auth.Issuer{Algorithm: "HS256", Secret: c.Secret})
}
