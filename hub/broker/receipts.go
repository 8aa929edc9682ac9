package broker

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
	"time"

	"aldaba/hub"

	"github.com/redis/go-redis/v9"
)

// receipts counts, for a publisher that wants to know, to how many sessions of how many
// replicas its message was handed. All replicas listen to one channel of questions. A
// question is published in one step with its message, so that it is the next thing that a
// replica hears; each answers to the probe's channel of the replica that asks.
type receipts struct {
	channel string // of questions
	replies string // where this replica is answered, with the prefix
	wait    time.Duration

	answers chan answerTo // to be sent

	mu   sync.Mutex
	open map[string]*openReceipt // by the question's id
}

// openReceipt is a receipt whose answers are coming in.
type openReceipt struct {
	hub.Receipt

	answers, asked int
	done           chan hub.Receipt // holds one
	late           *time.Timer
}

// question is what a replica is asked.
type question struct {
	id, replies string
	name        string       // of the channel, with the prefix
	at          hub.Position // of the entry; zero without history
}

// answerTo is the answer to a question.
type answerTo struct {
	question

	sessions int
}

const (
	receiptsChannel = "aldaba:receipts"
	answerFormat    = "r "
	maxAnswers      = 1024 // that wait to be sent
	answersAtOnce   = 128
)

func newReceipts(replies string, t timing) *receipts {
	return &receipts{
		channel: receiptsChannel, replies: replies, wait: t.receipt,
		answers: make(chan answerTo, maxAnswers), open: make(map[string]*openReceipt),
	}
}

// ask opens a receipt under an id of its own.
func (r *receipts) ask() (id string, receipt <-chan hub.Receipt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id = rand.Text()
	o := &openReceipt{asked: -1, done: make(chan hub.Receipt, 1)}
	o.late = time.AfterFunc(r.wait, func() { r.close(id) })
	r.open[id] = o
	return id, o.done
}

// expect says how many replicas were asked; less than none: nobody knows.
func (r *receipts) expect(id string, asked int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.open[id]; o != nil {
		o.asked = asked
		r.settle(id, o)
	}
}

// close gives id out as it is.
func (r *receipts) close(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.open[id]; o != nil {
		r.giveOut(id, o)
	}
}

// settle gives o out once it is complete. r.mu is held.
func (r *receipts) settle(id string, o *openReceipt) {
	if o.asked < 0 || o.answers < o.asked {
		return
	}
	o.Complete = true
	r.giveOut(id, o)
}

// giveOut hands o to who waits for it. r.mu is held.
func (r *receipts) giveOut(id string, o *openReceipt) {
	delete(r.open, id)
	o.late.Stop()
	o.done <- o.Receipt
}

// answered takes another replica's answer; it returns false for what is none.
func (r *receipts) answered(payload string) bool {
	rest, ok := strings.CutPrefix(payload, answerFormat)
	if !ok {
		return false
	}
	id, count, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.open[id]
	if o == nil {
		return true // too late
	}
	o.answers++
	if n > 0 {
		o.Sessions += n
		o.Replicas++
	}
	r.settle(id, o)
	return true
}

// answer has q answered soon. It does not wait: where too many are to be answered, who
// asks does not hear of this replica, and sees that.
func (r *receipts) answer(q question, sessions int) {
	select {
	case r.answers <- answerTo{q, sessions}:
	default:
	}
}

// run sends answers until ctx ends.
func (r *receipts) run(ctx context.Context, client redis.UniversalClient, patience time.Duration) {
	for {
		select {
		case <-ctx.Done():
			return
		case one := <-r.answers:
			r.send(ctx, client, patience, one)
		}
	}
}

// send sends one answer and those that wait behind it. One that Redis does not take
// makes a receipt incomplete, and no more.
func (r *receipts) send(ctx context.Context, client redis.UniversalClient, patience time.Duration, one answerTo) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pipe := client.Pipeline()
	for n := 0; ; n++ {
		pipe.Publish(ctx, one.replies, answerFormat+one.id+" "+strconv.Itoa(one.sessions))
		if n == answersAtOnce {
			break
		}
		select {
		case one = <-r.answers:
			continue
		default:
		}
		break
	}
	_, _ = pipe.Exec(ctx)
}

// parseQuestion reads `ID REPLIES NAME POSITION`. Answers go to replicas only.
func parseQuestion(payload, prefix string) (q question, ok bool) {
	parts := strings.Split(payload, " ")
	if len(parts) != 4 || !strings.HasPrefix(parts[1], prefix+probeChannel) {
		return q, false
	}
	q = question{id: parts[0], replies: parts[1], name: parts[2]}
	if parts[3] == "-" {
		return q, true
	}
	at, err := hub.ParsePosition(parts[3])
	q.at = at
	return q, err == nil
}

// handed is to how many sessions the last plain message was handed.
type handed struct {
	channel  string
	sessions int
}

// asked answers a question. It follows its message on the link, so a plain message can
// only be the last one that came.
func (s *subscriber) asked(payload string) {
	last := s.last
	s.last = handed{}
	q, ok := parseQuestion(payload, s.prefix)
	channel, mine := strings.CutPrefix(q.name, s.prefix)
	switch {
	case !ok || !mine:
	case !q.at.IsZero():
		s.follower.asked(channel, q)
	case last.channel == channel:
		s.receipts.answer(q, last.sessions)
	default:
		s.receipts.answer(q, 0)
	}
}

// maxQuestions is how many wait for one channel's log to be read.
const maxQuestions = 256

// asked answers a question about an entry once that has been delivered.
func (f *follower) asked(channel string, q question) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.channels[channel]
	if c == nil || c.at.IsZero() { // nobody listens here, or will have read the log
		f.receipts.answer(q, 0)
		return
	}
	if len(c.questions) < maxQuestions {
		c.questions = append(c.questions, q)
	}
	f.answerUpTo(c)
}

// answerUpTo answers what was asked about entries up to c.at. f.mu is held.
func (f *follower) answerUpTo(c *followed) {
	left := c.questions[:0]
	for _, q := range c.questions {
		switch {
		case q.at.Epoch != c.at.Epoch: // its entry comes no more
			f.receipts.answer(q, 0)
		case q.at.Offset <= c.at.Offset:
			f.receipts.answer(q, c.handed)
		default:
			left = append(left, q)
		}
	}
	if c.questions = left; len(left) == 0 {
		c.questions = nil
	}
}
