package broker

import (
	"sync"
	"time"
)

// drops lets one log line of a kind through every few seconds, and counts the rest.
type drops struct {
	mu    sync.Mutex
	kinds map[string]*dropped
}

type dropped struct {
	logged   time.Time
	unlogged int
}

const dropsEvery = 5 * time.Second

// allow reports whether to log now, and how many lines were kept back since the
// last one.
func (d *drops) allow(kind string, now time.Time) (unlogged int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kinds == nil {
		d.kinds = make(map[string]*dropped)
	}
	k := d.kinds[kind]
	if k == nil {
		k = &dropped{}
		d.kinds[kind] = k
	}
	if !k.logged.IsZero() && now.Sub(k.logged) < dropsEvery {
		k.unlogged++
		return 0, false
	}
	unlogged, k.unlogged, k.logged = k.unlogged, 0, now
	return unlogged, true
}
