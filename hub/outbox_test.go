package hub

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestOutboxKeepsTheStream writes random frames in random pieces, takes some
// back, and expects exactly the others, whole and in order.
func TestOutboxKeepsTheStream(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	channels := []*channel{{name: "a"}, {name: "b"}, nil}
	for range 200 {
		var o outbox
		var got, want []byte
		scratch := make([]byte, 0, 64)
		var pending []*frame
		settle := func(n int) {
			for n > 0 {
				step := o.batch(scratch)
				if len(step) == 0 {
					return
				}
				k := 1 + random.IntN(len(step))
				got = append(got, step[:k]...)
				o.wrote(k)
				n -= k
			}
		}
		for range 100 {
			switch random.IntN(4) {
			case 0, 1:
				f := &frame{bytes: bytes.Repeat([]byte{byte(random.IntN(256))}, 1+random.IntN(150)), channel: channels[random.IntN(3)]}
				o.push(f)
				pending = append(pending, f)
			case 2:
				settle(random.IntN(300))
				for len(pending) > len(o.frames) { // begun, so it will go out
					want = append(want, pending[0].bytes...)
					pending = pending[1:]
				}
			case 3:
				gone := channels[random.IntN(2)]
				unwanted := func(f *frame) bool { return f.channel == gone }
				o.drop(unwanted)
				kept := pending[:0]
				for _, f := range pending {
					if !unwanted(f) {
						kept = append(kept, f)
					}
				}
				pending = kept
			}
		}
		for !o.empty() {
			settle(1000)
		}
		for _, f := range pending {
			want = append(want, f.bytes...)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: the stream differs", seed)
		}
		if o.cost != 0 || o.frames != nil || o.several != nil || o.single[0] != nil {
			t.Fatalf("seed %d: an empty outbox costs %d, keeps %d", seed, o.cost, cap(o.frames))
		}
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, seed := range []string{
		`{"type":"ping"}`, `{"type":"subscribe","id":3,"channel":"room:7"}`, `{"type":"publish","id":"x","channel":"a","data":{"b":[1]}}`,
		`null`, `[]`, `{"id":{}}`, ` {"type":"refresh","token":"a.b.c"}`, "{\"type\":\"\xff\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseCommand(b)
		if err == nil && c.Type == "" {
			t.Error("a command without a type")
		}
		// Whatever came in, the answer is a frame.
		answerFrame(answer{Type: "error", ID: c.ID, Code: codeBadFrame})
		if len(c.ID) > idBytes {
			t.Error("an id that is too long would be repeated")
		}
	})
}
