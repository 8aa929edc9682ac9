package hub

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// model is what a session ought to be and to have received, worked out without
// the hub's index: what its token grants, what it has joined, and the numbers of
// the messages that were published while it had.
type model struct {
	client *client
	user   string
	rooms  []string
	teams  []string
	joined map[string]bool
	heard  []string
}

func (m *model) claims() claims { return claims{"rooms": m.rooms, "teams": m.teams} }

func some(r *rand.Rand, prefix string) []string {
	var all []string
	for i := range 6 {
		if r.IntN(2) == 0 {
			all = append(all, prefix+strconv.Itoa(i))
		}
	}
	return all
}

func (m *model) grants() map[string]bool {
	g := map[string]bool{"user:" + m.user: true, "broadcast": true}
	for _, r := range m.rooms {
		g["room:"+r] = true
	}
	for _, t := range m.teams {
		g["team:"+t] = false // on request
	}
	return g
}

// TestEverySessionReceivesExactlyWhatItsGrantsAllowed runs random joins, leaves,
// refreshes, reconnects and messages, and compares what each session received
// with the model: the same messages, each once, in the same order.
func TestEverySessionReceivesExactlyWhatItsGrantsAllowed(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, func(o *Options) { o.Limits.FramesPerSecond = 1 << 20 })
	sessions := make([]*model, 30)
	for i := range sessions {
		sessions[i] = &model{user: fmt.Sprintf("u%d", i%20), rooms: some(r, ""), teams: some(r, "t")}
		w.enter(sessions[i])
	}
	for n := range 3000 {
		if m := sessions[r.IntN(len(sessions))]; r.IntN(4) == 0 {
			w.act(r, m)
		}
		channel := anyChannel(r)
		w.hub.Deliver(channel, Position{}, strconv.AppendInt(nil, int64(n), 10))
		for _, m := range sessions {
			if m.joined[channel] {
				m.heard = append(m.heard, fmt.Sprint(channel, " ", n))
			}
		}
	}
	for _, m := range sessions {
		w.compare(m)
	}
}

func anyChannel(r *rand.Rand) string {
	switch r.IntN(4) {
	case 0:
		return "broadcast"
	case 1:
		return fmt.Sprintf("user:u%d", r.IntN(22))
	case 2:
		return fmt.Sprintf("team:t%d", r.IntN(7))
	default:
		return fmt.Sprintf("room:%d", r.IntN(7))
	}
}

func (w *world) enter(m *model) {
	m.client = w.login(m.user, m.claims())
	m.joined = map[string]bool{}
	for channel, auto := range m.grants() {
		if auto {
			m.joined[channel] = true
		}
	}
}

// act does one random thing with a session and waits until it is done.
func (w *world) act(r *rand.Rand, m *model) {
	switch r.IntN(4) {
	case 0: // ask for any channel
		channel := anyChannel(r)
		_, granted := m.grants()[channel]
		m.client.say(`{"type":"subscribe","id":1,"channel":"` + channel + `"}`)
		if w.answered(m)["type"] == "joined" != granted {
			w.t.Errorf("%s asked for %s, granted: %v", m.user, channel, granted)
		}
		if granted {
			m.joined[channel] = true
		}
	case 1: // leave one
		for channel := range m.joined {
			m.client.say(`{"type":"unsubscribe","id":1,"channel":"` + channel + `"}`)
			w.answered(m)
			delete(m.joined, channel)
			break
		}
	case 2: // other claims; what waits of a lost channel would be taken back
		m.client.say(`{"type":"ping","id":1}`)
		w.answered(m)
		before := m.grants()
		m.rooms, m.teams = some(r, ""), some(r, "t")
		now := m.grants()
		gained := 0
		for channel, auto := range now {
			if was, had := before[channel]; auto && (!had || !was) {
				if !m.joined[channel] {
					gained++
				}
				m.joined[channel] = true
			}
		}
		maps.DeleteFunc(m.joined, func(channel string, _ bool) bool { _, ok := now[channel]; return !ok })
		m.client.say(`{"type":"refresh","id":1,"token":"` + w.token(m.user, m.claims()) + `"}`)
		w.answered(m)
		for ; gained > 0; gained-- {
			w.until(m, func(f map[string]any) bool { return f["type"] == "joined" })
		}
	case 3: // reconnect
		w.compare(m)
		m.client.Close()
		m.heard = nil
		w.enter(m)
	}
}

// answered reads on to the answer with id 1.
func (w *world) answered(m *model) map[string]any {
	return w.until(m, func(f map[string]any) bool { return f["id"] == 1.0 })
}

// until reads to the frame that is the one. Messages on the way are put back, in
// order, for compare.
func (w *world) until(m *model, is func(map[string]any) bool) map[string]any {
	var kept []map[string]any
	defer func() {
		rest := drainFrames(m.client.frames)
		for _, f := range slices.Concat(kept, rest) {
			m.client.frames <- f
		}
	}()
	for {
		f := m.client.next()
		if is(f) {
			return f
		}
		kept = append(kept, f)
	}
}

func drainFrames(frames chan map[string]any) (all []map[string]any) {
	for len(frames) > 0 {
		all = append(all, <-frames)
	}
	return all
}

func (w *world) compare(m *model) {
	w.t.Helper()
	m.client.say(`{"type":"ping","id":"end"}`)
	var got []string
	for f := m.client.next(); f["id"] != "end"; f = m.client.next() {
		if f["type"] == "message" {
			got = append(got, fmt.Sprint(f["channel"], " ", f["data"]))
		}
	}
	if diff := cmp.Diff(m.heard, got); diff != "" {
		w.t.Fatalf("%s heard (-want +got):\n%s", m.user, diff)
	}
}
