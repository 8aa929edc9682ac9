package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// How a recorder records what it has heard.

// recordSome records the front of the queue, most messages at most, and returns how
// many it took.
func (r *recorder) recordSome(ctx context.Context, most int) (int, error) {
	r.mu.Lock()
	batch := r.queue[:min(len(r.queue), most)]
	r.mu.Unlock()
	if len(batch) == 0 {
		return 0, nil
	}
	if batch[0].marker != "" {
		return 1, r.answerMarker(ctx, batch[0].marker)
	}
	if i := slices.IndexFunc(batch, func(h heard) bool { return h.marker != "" }); i > 0 {
		batch = batch[:i]
	}
	ctx, cancel := r.toTheEnd(ctx)
	defer cancel()
	if err := r.recordBatch(ctx, batch); err != nil {
		if !errors.Is(err, errFenced) && !isUnsent(err) {
			r.open = max(r.open, len(batch))
		}
		return 0, err
	}
	r.taken(len(batch))
	r.metrics.recorded.Add(float64(len(batch)))
	return len(batch), nil
}

// answerMarker tells a standby that all before its marker is recorded.
func (r *recorder) answerMarker(ctx context.Context, marker string) error {
	ctx, cancel := r.toTheEnd(ctx)
	defer cancel()
	if err := r.client.Publish(ctx, r.own("marked"), marker).Err(); err != nil {
		return err
	}
	r.taken(1)
	r.follower, _, _ = strings.Cut(marker, markerCut)
	return nil
}

// taken takes n off the front of the queue.
func (r *recorder) taken(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.queue[:n] {
		if h.marker == "" {
			r.bytes -= len(h.data) + heardCost
			r.seq++
		}
	}
	clear(r.queue[:n])
	r.queue = r.queue[n:]
	r.open = max(0, r.open-n)
	if len(r.queue) == 0 {
		r.queue = nil
	}
}

// recordBatch runs the publish script for batch in one transaction, so that none of it
// is recorded before another that it follows. One whose answer was lost may be made
// again: the script knows the numbers.
func (r *recorder) recordBatch(ctx context.Context, batch []heard) error {
	err := r.transact(ctx, batch)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		if err := r.client.ScriptLoad(ctx, publishScript.text).Err(); err != nil {
			return err
		}
		err = r.transact(ctx, batch)
	}
	return err
}

func (r *recorder) transact(ctx context.Context, batch []heard) error {
	pipe := r.client.TxPipeline()
	answers := make([]*redis.Cmd, len(batch))
	for i, h := range batch {
		kept, _ := r.histories.Of(h.channel)
		args := append([]any{h.data}, keptArgs(kept)...)
		args = append(args, "lease", r.recording.key, "gen", r.recording.value, "by", r.count, "seq", r.seq+uint64(i)+1, "origin", string(recordedPlain))
		answers[i] = pipe.EvalSha(ctx, publishScript.hash, []string{r.name(h.channel)}, args...)
	}
	_, err := pipe.Exec(ctx)
	if err != nil && answers[0].Err() == nil {
		err = nil // one of the commands, see below
	}
	if err != nil && !isAnswer(err) {
		return err
	}
	for i, answer := range answers {
		if err := r.judge(batch[i], answer.Err()); err != nil {
			return err
		}
	}
	return nil
}

func isAnswer(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer)
}

// judge says whether err, of one message, stands in the way of the others.
func (r *recorder) judge(h heard, err error) error {
	switch {
	case err == nil:
		return nil
	case redis.HasErrorPrefix(err, "FENCED"):
		return errFenced
	case strings.Contains(err.Error(), "WRONGTYPE"): // somebody else uses the channel's keys
		r.drop(reasonKeys, h.channel, len(h.data))
		return nil
	}
	return fmt.Errorf("record: %w", err)
}
