// Package crowd is the load generator of `aldaba bench`: thousands of pages on one
// goroutine, which waits for their sockets with epoll and publishes to Redis in
// between. A page costs it an entry in a slice and no buffer, so that the hub, and
// not the generator, is what is measured.
//
// A crowd is a process of its own. It is told what to do by one Order a line on its
// standard input, and answers with one Event a line on its standard output.
package crowd

import (
	"time"

	"aldaba/auth"
)

// Prefix begins the name of each page's user; a number follows.
const Prefix = "bench-"

// RoomSize is how many users share a room of a mixed load.
const RoomSize = 50

// Order is one thing to do. One of its fields is set.
type Order struct {
	Connect *Connect `json:",omitempty"`
	Load    *Load    `json:",omitempty"`
	Drop    *Drop    `json:",omitempty"`
}

// Connect opens a connection for each user that has none and waits until all are
// welcomed. It is answered by Connected.
type Connect struct {
	URL      string      // ws://HOST:PORT/ws
	Address  string      // of the host: an IPv4 address and the port
	First    int         // number of the first user
	Users    int         // how many
	Issuer   auth.Issuer // who signs their tokens, by a secret
	Rooms    []string    // claim "rooms" of all of them
	Small    bool        // each is in a room of RoomSize users, too
	Log      string      // the channel with {sub} for the user is recorded, and each has its user as claim "logs"; empty: none is
	Resume   bool        // they connect with ?resume and say where they stand
	Await    int         // messages each has to hear before it counts as connected
	AtOnce   int         // handshakes under way at most
	Expires  time.Time   // of the tokens
	Loopback bool        // spread over addresses of 127.0.0.0/8
}

// Load publishes and listens. It is answered by Began, Ended and Loaded, and by
// Progress every second; a silent one first by Listening.
type Load struct {
	Redis   Redis
	Kind    Kind          // where messages go
	Channel string        // of a room; of a user with {sub} for the user
	Room    string        // of a mixed load, with {rooms} for the room
	Joint   bool          // several crowds hear one room
	Silent  bool          // another one of them publishes
	Durable bool          // private messages are published with FCALL aldaba_publish
	Rate    float64       // messages per second; 0: as many as are heard
	Window  int           // messages under way at most, without a rate; for a room, published at once
	Size    int           // of a message, in bytes
	Warm    time.Duration // before it is measured
	For     time.Duration // measured
	Focus   time.Time     // latency is that of what is due in the second from then on; zero: of all that is measured
	Churn   float64       // pages per second that come back on a new connection
}

// Redis is where messages are published.
type Redis struct {
	Address        string // HOST:PORT
	User, Password string // empty: none
	Database       int
	Prefix         string // of all channels there
}

// Drop closes all connections, as if the network had gone.
type Drop struct{}

// Kind is where the messages of a load go.
type Kind string

// The kinds of load.
const (
	Idle    Kind = "idle"    // nowhere
	Private Kind = "private" // each to one random user
	Room    Kind = "room"    // all to one room
	Mixed   Kind = "mixed"   // four of five to one user, one to a room of RoomSize
	Each    Kind = "each"    // one to each user, once; nobody waits for it
)

// Event is what a crowd says. One of its fields is set.
type Event struct {
	Connected *Connected `json:",omitempty"`
	Progress  *Progress  `json:",omitempty"`
	Listening bool       `json:",omitempty"` // what another crowd publishes is heard from here on
	Began     bool       `json:",omitempty"` // it is measured from here on
	Ended     bool       `json:",omitempty"` // to here
	Loaded    *Loaded    `json:",omitempty"`
	Dropped   bool       `json:",omitempty"`
	Failed    string     `json:",omitempty"` // nothing follows
}

// Connected is how a Connect went.
type Connected struct {
	Pages  int           // welcomed
	Took   time.Duration // from the first handshake to the last welcome
	Faults map[string]int
}

// Progress is how far a load is.
type Progress struct {
	Heard int // messages in the last second
}

// Loaded is how a load went. Rates are those of deliveries that came while it was
// measured; what came later has cost nothing yet when the hub's CPU is read.
type Loaded struct {
	Published int           // messages due while it was measured
	Due       int           // deliveries due then
	Arrived   int           // deliveries that came then, whenever they were due
	Lost      int           // overtaken by later ones, or not heard within patience; at any time of the load
	Checked   int           // deliveries whose number was compared with the one before, at any time of the load
	Unchecked int           // deliveries that were the first on a new connection, and not recorded
	Took      time.Duration // from the first to the end
	Latency   []byte        // an HDR histogram of nanoseconds, in its own encoding; from when each was due
	Late      time.Duration // 99 of 100 messages were published that soon after they were due, with a rate
	Returned  int           // connections that were made anew, with churn
	Faults    map[string]int
}
