package hub

import "errors"

// PublishOptions says how a message is to be published.
type PublishOptions struct {
	// Key makes publishing idempotent: of the messages published to a channel with
	// one key within a day the first counts. Empty: none. At most KeyBytes bytes of
	// printable ASCII without space.
	Key string
	// Receipt asks to how many sessions the message is handed. It takes a broker that
	// receives.
	Receipt bool
}

// KeyBytes bounds PublishOptions.Key.
const KeyBytes = 128

// Published is what became of a message.
type Published struct {
	Position  Position // of its entry; zero where the channel keeps no history
	Duplicate bool     // a message with this key was published before: that one's position
	// Receipt yields the receipt, if one was asked for and the message is no duplicate:
	// once, and about a second later at most.
	Receipt <-chan Receipt
}

// Receipt says where a message came to.
type Receipt struct {
	Sessions int  // that it was handed to
	Replicas int  // that these are connected to
	Complete bool // all replicas have said so; else there may be more
}

// Query asks for a page of a channel's history.
type Query struct {
	Channel string
	// After and Before exclude each other: the oldest entries that follow a position,
	// or the newest that precede it. With neither, the newest entries.
	After, Before Position
	// Following says that After was delivered just now, whether or not it can be proved
	// still: what is certainly newer is wanted.
	Following bool
	Entries   int    // at most; 0: none, only the rest of the answer
	Bytes     int    // of data, at most, but for the first entry
	User      string // whose unread entries are counted; empty: nobody's
}

// Page is the answer to a Query.
type Page struct {
	Head    Position // of the newest entry
	Known   bool     // the position asked about can be proved: nothing is missing after it
	From    Position // with Query.Following: the entries begin behind it; After if Known
	Entries []Entry  // oldest first; none unless Known or Following, if a position was asked about
	End     Position // of the last entry that was looked at, handed over or not; zero: none
	More    bool     // there are more entries in the direction that was asked for
	Unread  int      // entries that Query.User has not acknowledged
	Read    Position // up to which Query.User has; zero: nothing
}

// Entry is one message of a channel's history.
type Entry struct {
	Position Position
	Data     []byte // one JSON document
}

// Acked is what became of an acknowledgement.
type Acked struct {
	Position Position // up to which the user has read now
	Unread   int      // entries that follow it
}

// Errors of a broker about histories.
var (
	ErrNoHistory = errors.New("channel keeps no history")
	ErrGone      = errors.New("position is not known any more")
)
