package main

import (
	"errors"

	"aldaba/app/server"
)

func (v *validator) tls() {
	if v.TLS.on() {
		_, err := server.KeyPair(v.TLS).Load()
		v.pairFaults(err)
	}
}

// pairFaults takes apart what a pair's Load has joined.
func (v *validator) pairFaults(err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			v.pairFaults(e)
		}
		return
	}
	if e, ok := errors.AsType[*server.KeyPairError](err); ok {
		v.fault("tls."+string(e.File), "%s", e.Reason)
	}
}
