package broker

import (
	"context"
	"crypto/sha1" //nolint:gosec // what EVALSHA takes; it secures nothing
	_ "embed"     // the scripts
	"encoding/hex"
	"sync"

	"github.com/redis/go-redis/v9"
)

// The hub calls its own version of each script, by its hash: replicas of two
// versions never call each other's.
var (
	//go:embed lua/publish.lua
	publishLua string
	//go:embed lua/call.lua
	callLua string
	//go:embed lua/read.lua
	readLua string
	//go:embed lua/ack.lua
	ackLua string
	//go:embed lua/ask.lua
	askLua string
	//go:embed lua/ticket.lua
	ticketLua string

	publishScript = newScript(publishLua + callLua)
	readScript    = newScript(publishLua + readLua)
	ackScript     = newScript(publishLua + ackLua)
	askScript     = newScript(publishLua + askLua)
	ticketScript  = newScript(ticketLua)
)

type script struct{ text, hash string }

func newScript(text string) *script {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // see the import
	return &script{text, hex.EncodeToString(sum[:])}
}

// call is one call of a script.
type call struct {
	script *script
	name   string // the key: the channel's name with the prefix
	args   []any
	want   int // values that the answer has at least
}

// pending is a call and what became of it.
type pending struct {
	call

	answer []any
	err    error
	then   func(answer []any, err error) // is told, from a goroutine of the caller
}

// caller calls scripts. Calls that come while others are under way share a round
// trip. Its goroutines live as long as there are calls.
type caller struct {
	client redis.UniversalClient
	timing timing

	mu     sync.Mutex
	queue  []*pending
	active int
	idle   sync.WaitGroup
}

const (
	maxCalls   = 128 // in one round trip
	maxCallers = 4   // round trips at once
)

// do makes one call and waits for its answer. If ctx ends before, the call may have
// been made or not.
func (c *caller) do(ctx context.Context, one call) ([]any, error) {
	type result struct {
		answer []any
		err    error
	}
	done := make(chan result, 1)
	c.push(one, func(answer []any, err error) { done <- result{answer, err} })
	select {
	case r := <-done:
		return r.answer, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// push makes one call soon. It does not wait.
func (c *caller) push(one call, then func(answer []any, err error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, &pending{call: one, then: then})
	if c.active < maxCallers && len(c.queue) > c.active*maxCalls/2 {
		c.active++
		c.idle.Go(c.run)
	}
}

func (c *caller) run() {
	for {
		batch := c.take()
		if batch == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), c.timing.command)
		callAll(ctx, c.client, batch)
		cancel()
		for _, one := range batch {
			one.then(one.answer, one.err)
		}
	}
}

func (c *caller) take() []*pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.queue), maxCalls)
	if n == 0 {
		c.active--
		c.queue = nil
		return nil
	}
	batch := c.queue[:n:n]
	c.queue = c.queue[n:]
	return batch
}

func (c *caller) wait() { c.idle.Wait() }

// callAll makes calls in their order, and once more by text those whose script the
// server does not have. One that fails keeps no other from being made.
func callAll(ctx context.Context, client redis.UniversalClient, batch []*pending) {
	unknown := evaluate(ctx, client, batch, func(p redis.Pipeliner, one *pending) *redis.Cmd {
		return p.EvalSha(ctx, one.script.hash, []string{one.name}, one.args...)
	})
	evaluate(ctx, client, unknown, func(p redis.Pipeliner, one *pending) *redis.Cmd {
		return p.Eval(ctx, one.script.text, []string{one.name}, one.args...)
	})
}

// evaluate returns the calls whose script the server does not know.
func evaluate(ctx context.Context, client redis.UniversalClient, batch []*pending, send func(redis.Pipeliner, *pending) *redis.Cmd) (unknown []*pending) {
	if len(batch) == 0 {
		return nil
	}
	pipe := client.Pipeline()
	answers := make([]*redis.Cmd, len(batch))
	for i, one := range batch {
		answers[i] = send(pipe, one)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, one := range batch {
		one.answer, one.err = answers[i].Slice()
		if one.err == nil && len(one.answer) < one.want {
			one.err = errGibber
		}
		if redis.HasErrorPrefix(one.err, "NOSCRIPT") {
			unknown = append(unknown, one)
		}
	}
	return unknown
}
