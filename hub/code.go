package hub

// Close codes of `aldaba.v1` (docs/protocol.md). 4000-4099 mean "come back",
// 4400-4499 "do not come back with what you have"; the others are of RFC 6455,
// section 7.4.1.
const (
	CloseProtocolError   = 1002 // a frame that RFC 6455 forbids
	CloseUnsupportedData = 1003 // a binary frame
	CloseInvalidUTF8     = 1007 // a text frame that is not UTF-8
	CloseTooBig          = 1009 // a frame that no limit allows
	CloseInternalError   = 1011 // a fault of the hub cost this session

	CloseRestarting = 4001 // the replica is about to stop
	CloseSlow       = 4002 // the session's queue overflowed, or its socket stalled
	CloseBrokerLost = 4003 // the broker did not confirm the session's channels

	CloseExpired   = 4401 // the token has expired
	CloseNoResume  = 4408 // asked to resume, and did not say from where
	CloseOverLimit = 4429 // went on after being told `rate_limited`
)

var closeReasons = map[int]string{
	CloseProtocolError:   "protocol error",
	CloseTooBig:          "frame is too large",
	CloseUnsupportedData: "binary frames are not spoken here",
	CloseInvalidUTF8:     "text is not UTF-8",
	CloseInternalError:   "internal error",
	CloseRestarting:      "replica is restarting",
	CloseSlow:            "session is too slow",
	CloseBrokerLost:      "broker is lost",
	CloseExpired:         "token has expired",
	CloseNoResume:        "no resume frame",
	CloseOverLimit:       "over a limit",
}

// Codes of `error` frames and of refusals (docs/protocol.md).
const (
	codeBadFrame         = "bad_frame"
	codeUnknownType      = "unknown_type"
	codeForbidden        = "forbidden"
	codeNotJoined        = "not_joined"
	codeTooLarge         = "too_large"
	codeTooManyChannels  = "too_many_channels"
	codeRateLimited      = "rate_limited"
	codeNoHistory        = "no_history"
	codeGone             = "gone"
	codeUnauthorized     = "unauthorized"
	codeUnavailable      = "unavailable"
	codeBadRequest       = "bad_request"
	codeOriginNotAllowed = "origin_not_allowed"
	codeUpgradeRequired  = "upgrade_required"
	codeTooManySessions  = "too_many_sessions"
	codeTooManyConnects  = "too_many_connects"
	codeDraining         = "draining"
)

// codes are all of them, for metrics that exist before the first event.
var codes = []string{
	codeBadFrame, codeUnknownType, codeForbidden, codeNotJoined, codeTooLarge, codeTooManyChannels, codeRateLimited,
	codeNoHistory, codeGone, codeUnauthorized, codeUnavailable, codeBadRequest, codeOriginNotAllowed, codeUpgradeRequired, codeTooManySessions,
	codeTooManyConnects, codeDraining,
}
