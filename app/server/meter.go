package server

import (
	"sync"
	"time"
)

// meter counts what each user has taken in a second of the clock. It remembers
// nobody longer than until the next second that it is asked in.
type meter struct {
	perSecond int

	mu     sync.Mutex
	second int64
	taken  map[string]int // by user
}

// take counts n for user, unless that were too much.
func (m *meter) take(user string, n int, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if second := now.Unix(); second != m.second || m.taken == nil {
		m.second, m.taken = second, make(map[string]int)
	}
	if n > m.perSecond-m.taken[user] {
		return false
	}
	m.taken[user] += n
	return true
}
