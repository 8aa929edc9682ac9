package main

import (
	"context"
	"maps"
	"time"

	"aldaba/app/bench/crowd"
	"aldaba/app/bench/naive"
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

// benchNaiveCmd is what --compare naive measures.
type benchNaiveCmd struct {
	Listen string `required:""`
	Redis  string `required:""`
	Secret string `required:"" env:"NAIVE_SECRET"`
}

func (c benchNaiveCmd) Run(ctx context.Context) error {
	l, err := listen(ctx, c.Listen, "--listen")
	if err != nil {
		return err
	}
	return naive.Serve(ctx, l, c.Redis, auth.Issuer{Algorithm: "HS256", Secret: c.Secret})
}
