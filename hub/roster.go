package hub

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
)

// roster knows the sessions of this replica, and how many each user and each
// address has.
type roster struct {
	perUser, perAddress int

	// running counts the sessions' goroutines. The first of each is counted under
	// mu, so that none comes after a refusal has begun to wait for them.
	running sync.WaitGroup

	mu        sync.Mutex
	refusing  bool
	sessions  map[*session]struct{}
	users     map[string]int
	addresses map[string]int
}

func newRoster(l Limits) *roster {
	return &roster{
		perUser:    l.SessionsPerUser,
		perAddress: l.SessionsPerAddress,
		sessions:   make(map[*session]struct{}),
		users:      make(map[string]int),
		addresses:  make(map[string]int),
	}
}

var (
	errRefusing        = errors.New("this replica takes no more sessions")
	errUserSessions    = errors.New("this user has too many sessions")
	errAddressSessions = errors.New("this address has too many sessions")
)

// add takes s in and counts its goroutine, which ends with running.Done; or it
// says why not.
func (r *roster) add(s *session) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.refusing:
		return errRefusing
	case r.users[s.user] >= r.perUser:
		return errUserSessions
	case r.addresses[s.address] >= r.perAddress:
		return errAddressSessions
	}
	r.sessions[s] = struct{}{}
	r.users[s.user]++
	r.addresses[s.address]++
	r.running.Add(1)
	return nil
}

func (r *roster) remove(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.sessions[s]; !ok {
		return
	}
	delete(r.sessions, s)
	less(r.users, s.user)
	less(r.addresses, s.address)
}

func less(counts map[string]int, key string) {
	counts[key]--
	if counts[key] == 0 {
		delete(counts, key)
	}
}

// refuse makes every further add fail, and returns the sessions there are.
func (r *roster) refuse() []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusing = true
	return slices.Collect(maps.Keys(r.sessions))
}

func (r *roster) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sessions)
}

// limitAddress is what an address counts by: itself, or for IPv6 its /64, which
// one subscriber has whole.
func limitAddress(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return address
		}
		ip = ap.Addr()
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	return netip.PrefixFrom(ip, 64).Masked().String()
}
