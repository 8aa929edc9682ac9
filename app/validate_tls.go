package main

import (
	"errors"

	"aldaba/app/server"
)

func (v *validator) tls() {
	switch {
	case !v.TLS.on():
	case v.TLS.CertFile == "":
		v.fault("tls.cert_file", "is missing: a key serves nothing without its certificate; for plain HTTP leave both empty")
	case v.TLS.KeyFile == "":
		v.fault("tls.key_file", "is missing: a certificate serves nothing without its key; for plain HTTP leave both empty")
	default:
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
