package broker

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/redis/go-redis/v9"
)

// lease is a key that one replica holds for a while. Each taking has its own value, so
// that a former holder is told apart from itself.
type lease struct {
	client redis.UniversalClient
	key    string
	owner  string // this replica
	ttl    time.Duration

	value string    // of the last taking; empty: not held
	asked string    // of one whose answer has not come: it may be held; empty: of none
	term  int64     // what counts the takings, then
	first bool      // it was the first that the server knew of
	sure  time.Time // it was held then
}

// takeScript counts the takings in a key that stays: from the time of the first on, so
// that a server that has lost everything does not come to a count that there was. A third
// key is that of whoever goes before. A taking that is made again has been counted. A
// third argument is the count that there must be. The answer is the count, and 1 for the
// first taking; or nothing.
var takeScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return { tonumber(redis.call('GET', KEYS[2])), 0 }
end
if ARGV[3] and redis.call('GET', KEYS[2]) ~= ARGV[3] then return {} end
if KEYS[3] and redis.call('EXISTS', KEYS[3]) == 1 then return {} end
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return {} end
local time = redis.call('TIME')
local first = redis.call('SET', KEYS[2], string.format('%d%06d', tonumber(time[1]), tonumber(time[2])), 'NX')
return { redis.call('INCR', KEYS[2]), first and 1 or 0 }`)

// take takes the lease if nobody has it, nor any of those before. A frozen Redis may give
// it long after nobody waits for the answer any more: the next take finds that.
func (l *lease) take(ctx context.Context, before ...*lease) (bool, error) {
	return l.takeIf(ctx, nil, before)
}

// takeIf is take with a count that there must be.
func (l *lease) takeIf(ctx context.Context, count []any, before []*lease) (bool, error) {
	if l.asked == "" {
		l.asked = l.owner + "." + rand.Text()
	}
	keys := []string{l.key, l.key + ":term"}
	for _, b := range before {
		keys = append(keys, b.key)
	}
	began := time.Now()
	answer, err := takeScript.Run(ctx, l.client, keys, append([]any{l.asked, milliseconds(l.ttl)}, count...)...).Int64Slice()
	if err != nil {
		return false, err
	}
	taken := len(answer) == 2
	if taken {
		l.value, l.term, l.first, l.sure = l.asked, answer[0], answer[1] == 1, began
	}
	l.asked = ""
	return taken, nil
}

// retake takes a lease that was found lost, and reports whether nobody else can have
// had it meanwhile. Of a server that has lost everything that is known only while it was
// sure to be held; else it is not taken.
func (l *lease) retake(ctx context.Context, before ...*lease) (alone bool, err error) {
	last := l.term
	var count []any
	if time.Since(l.sure) > l.ttl {
		count = []any{last}
	}
	taken, err := l.takeIf(ctx, count, before)
	return taken && (l.term == last+1 || l.first), err
}

// held reports whether somebody has the lease.
func (l *lease) held(ctx context.Context) (bool, error) {
	n, err := l.client.Exists(ctx, l.key).Result()
	return n > 0, err
}

var (
	renewScript = redis.NewScript(`if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)
	cedeScript  = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 1 end
local other = redis.call('GET', KEYS[2])
if not other or (ARGV[2] ~= '' and other ~= ARGV[2]) then return 0 end
return redis.call('DEL', KEYS[1])`)
	releaseScript = redis.NewScript(`if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end return redis.call('DEL', KEYS[1])`)
)

// renew reports whether the lease is still held, for another ttl.
func (l *lease) renew(ctx context.Context) (bool, error) {
	began := time.Now()
	n, err := renewScript.Run(ctx, l.client, []string{l.key}, l.value, milliseconds(l.ttl)).Int()
	if n == 1 {
		l.sure = began
	}
	return n == 1, err
}

// cede gives the lease up only while somebody has the other one: with that value, if it
// is not empty. Nobody comes between. It reports whether the lease is not held any more.
func (l *lease) cede(ctx context.Context, other *lease, value string) (bool, error) {
	n, err := cedeScript.Run(ctx, l.client, []string{l.key, other.key}, l.value, value).Int()
	return n == 1, err
}

// release gives up what is held, or may be.
func (l *lease) release(ctx context.Context) {
	for _, value := range []string{l.value, l.asked} {
		if value != "" {
			_ = releaseScript.Run(ctx, l.client, []string{l.key}, value).Err() // else it runs out
		}
	}
	l.value, l.asked = "", ""
}
