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
	sessions  table[*session, struct{}]
	users     table[string, int]
	addresses table[string, int]
}

func newRoster(l Limits) *roster {
	return &roster{
		perUser:    l.SessionsPerUser,
		perAddress: l.SessionsPerAddress,
		sessions:   newTable[*session, struct{}](),
		users:      newTable[string, int](),
		addresses:  newTable[string, int](),
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
	case r.users.get(s.user) >= r.perUser:
		return errUserSessions
	case r.addresses.get(s.address) >= r.perAddress:
		return errAddressSessions
	}
	r.sessions.set(s, struct{}{})
	r.users.set(s.user, r.users.get(s.user)+1)
	r.addresses.set(s.address, r.addresses.get(s.address)+1)
	r.running.Add(1)
	return nil
}

func (r *roster) remove(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.sessions.entries[s]; !ok {
		return
	}
	r.sessions.remove(s)
	less(&r.users, s.user)
	less(&r.addresses, s.address)
}

func less(counts *table[string, int], key string) {
	if n := counts.get(key) - 1; n > 0 {
		counts.set(key, n)
	} else {
		counts.remove(key)
	}
}

// refuse makes every further add fail, and returns the sessions there are.
func (r *roster) refuse() []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusing = true
	return slices.Collect(maps.Keys(r.sessions.entries))
}

func (r *roster) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sessions.entries)
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
