package hub

import "maps"

// table is a map that gives its memory back once most of it is unused: Go's only
// grow, and what a million channels or sessions once took would stay taken. Its
// user guards it.
type table[K comparable, V any] struct {
	entries map[K]V
	peak    int // entries at most, since entries was made
}

// tableFloor is what a table may keep for nothing.
const tableFloor = 1024

func newTable[K comparable, V any]() table[K, V] { return table[K, V]{entries: make(map[K]V)} }

func (t *table[K, V]) get(key K) V { return t.entries[key] }

func (t *table[K, V]) set(key K, value V) {
	t.entries[key] = value
	t.peak = max(t.peak, len(t.entries))
}

func (t *table[K, V]) remove(key K) {
	delete(t.entries, key)
	if t.peak < tableFloor || len(t.entries) > t.peak/4 {
		return
	}
	kept := make(map[K]V, len(t.entries))
	maps.Copy(kept, t.entries)
	t.entries, t.peak = kept, len(kept)
}
