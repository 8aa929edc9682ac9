package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"

	"aldaba/auth"
	"aldaba/hub"

	"github.com/gin-gonic/gin"
)

const (
	idempotencyKey = "Idempotency-Key"
	// bodyRoom is what a body may have beside one message of the largest size.
	bodyRoom = 1 << 20
	// publishWorkers is how many channels of one request are published to at once.
	publishWorkers = 16
)

// result is what became of one message.
type result struct {
	Channel   string   `json:"channel"`
	Position  string   `json:"position,omitempty"` // where the channel keeps history
	Duplicate bool     `json:"duplicate,omitempty"`
	Receipt   *receipt `json:"receipt,omitempty"` // if one was asked for
	Error     *fault   `json:"error,omitempty"`   // it was not published

	coming <-chan hub.Receipt
}

// receipt says where a message came to.
type receipt struct {
	Sessions int  `json:"sessions"`
	Replicas int  `json:"replicas"`
	Complete bool `json:"complete"` // else there may be more
}

type fault struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// publish publishes nothing unless all of the body may be.
func (a *api) publish(c *gin.Context) {
	who, ok := a.asker(c)
	if !ok {
		return
	}
	key, err := headerKey(c.Request.Header)
	if err != nil {
		refuse(c, http.StatusBadRequest, codeBadRequest, err.Error())
		return
	}
	body, ok := jsonBody(c, bodyRoom+a.Message)
	if !ok {
		return
	}
	o, err := parseOrder(body, key)
	if err != nil {
		refuse(c, http.StatusBadRequest, codeBadRequest, err.Error())
		return
	}
	if no := who.refusal(o); no != "" {
		refuse(c, http.StatusForbidden, codeForbidden, no)
		return
	}
	if !a.withinRate(c, who, len(o.messages)) {
		return
	}
	for i := range o.messages {
		o.messages[i].key = who.ownKey(o.messages[i].key)
	}
	results := a.publishAll(c.Request.Context(), o)
	awaitReceipts(results)
	answerResults(c, o, results)
}

// refusal says for which message of o the asker has no grant, or nothing.
func (k asker) refusal(o order) string {
	for i, m := range o.messages {
		if !k.allows(m.channel, auth.Publish) {
			return fmt.Sprintf("nothing was published: no grant to publish on the channel of message %d", i)
		}
		// How many are connected is what presence is about.
		if o.receipt && !k.allows(m.channel, auth.Presence) {
			return fmt.Sprintf("nothing was published: no grant to see presence, for a receipt, on the channel of message %d", i)
		}
	}
	return ""
}

// awaitReceipts takes the receipts that are coming, each within a second.
func awaitReceipts(results []result) {
	for i := range results {
		if coming := results[i].coming; coming != nil {
			got := <-coming
			results[i].Receipt = &receipt{got.Sessions, got.Replicas, got.Complete}
		}
	}
}

// headerKey is the idempotency key of the header, or empty.
func headerKey(h http.Header) (string, error) {
	switch keys := h.Values(idempotencyKey); {
	case len(keys) == 0:
		return "", nil
	case len(keys) > 1 || !validKey(keys[0]):
		return "", errKey
	default:
		return keys[0], nil
	}
}

// answerResults answers with 200 unless everything failed for want of Redis, or the
// only message there is failed.
func answerResults(c *gin.Context, o order, results []result) {
	unavailable := 0
	for _, r := range results {
		if r.Error != nil && r.Error.Code == codeUnavailable {
			unavailable++
		}
	}
	first := results[0]
	switch {
	case unavailable == len(results):
		refuseFor(c, http.StatusServiceUnavailable, codeUnavailable, unavailableText, apiRetry)
	case o.one && first.Error != nil:
		refuse(c, statusOf[first.Error.Code], first.Error.Code, first.Error.Message)
	case o.one:
		c.JSON(http.StatusOK, first)
	default:
		c.JSON(http.StatusOK, gin.H{"results": results})
	}
}

const unavailableText = "redis does not answer now: it may have been published or not; send it again with the same key"

// batch is the messages of one request on their way.
type batch struct {
	*api

	order
	results []result
	told    sync.Once // the log has a failure of this batch
}

// publishAll publishes messages, those of one channel in their order. After a
// message that Redis did not take, no other follows in its channel: when it is sent
// again it must not come after them.
func (a *api) publishAll(ctx context.Context, o order) []result {
	ctx, cancel := context.WithTimeout(ctx, apiWait)
	defer cancel()
	b := &batch{api: a, order: o, results: make([]result, len(o.messages))}
	queues := byChannel(o.messages)
	work := make(chan []int)
	var workers sync.WaitGroup
	for range min(publishWorkers, len(queues)) {
		workers.Go(func() {
			for queue := range work {
				b.publish(ctx, queue)
			}
		})
	}
	for _, queue := range queues {
		work <- queue
	}
	close(work)
	workers.Wait()
	return b.results
}

// byChannel returns the indexes of messages, those of one channel together.
func byChannel(messages []message) [][]int {
	var queues [][]int
	at := make(map[string]int, len(messages))
	for i, m := range messages {
		q, ok := at[m.channel]
		if !ok {
			q = len(queues)
			at[m.channel] = q
			queues = append(queues, nil)
		}
		queues[q] = append(queues[q], i)
	}
	return queues
}

// publish publishes the messages of one channel.
func (b *batch) publish(ctx context.Context, queue []int) {
	for _, i := range queue {
		b.results[i] = result{Channel: b.messages[i].channel, Error: &fault{codeInternal, "this is a fault of the hub"}}
	}
	defer b.guard()
	for n, i := range queue {
		b.results[i] = b.publishOne(ctx, b.messages[i])
		if e := b.results[i].Error; e != nil && e.Code == codeUnavailable {
			for _, j := range queue[n+1:] {
				b.results[j].Error = &fault{codeUnavailable, "not tried, since redis did not take an earlier message of the channel"}
			}
			return
		}
	}
}

// guard costs a panic its channel's results, and not the process.
func (b *batch) guard() {
	if p := recover(); p != nil {
		b.log.Error("publishing panicked", "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	}
}

func (b *batch) publishOne(ctx context.Context, m message) result {
	failed := func(code, text string) result { return result{Channel: m.channel, Error: &fault{code, text}} }
	if int64(len(m.data)) > b.Message {
		return failed(codeTooLarge, "data is larger than a message may be")
	}
	done, err := b.Broker.Publish(ctx, m.channel, m.data, hub.PublishOptions{Key: m.key, Receipt: b.receipt})
	switch {
	case err == nil:
		return result{Channel: m.channel, Position: done.Position.String(), Duplicate: done.Duplicate, coming: done.Receipt}
	case errors.Is(err, hub.ErrInvalidMessage):
		return failed(codeInvalidMessage, err.Error())
	}
	b.told.Do(func() {
		b.log.LogAttrs(ctx, slog.LevelWarn, "publish by http failed", slog.Any("error", err), slog.Int("messages", len(b.messages)))
	})
	return failed(codeUnavailable, unavailableText)
}
