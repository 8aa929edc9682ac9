package crowd

import (
	"bytes"
	"testing"
)

func FuzzCutFrame(f *testing.F) {
	f.Add([]byte{0x81, 2, '{', '}', 0x89, 0})
	f.Add(append([]byte{0x81, 126, 0, 130}, bytes.Repeat([]byte{'x'}, 130)...))
	f.Add([]byte{0x81, 127, 0, 0, 0, 0, 0, 0, 0, 1, 'x'})
	f.Add([]byte{0x81, 127, 255, 255, 255, 255, 255, 255, 255, 255, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			_, payload, rest, ok := cutFrame(b)
			if !ok {
				if !bytes.Equal(rest, b) {
					t.Fatal("what is not whole was taken off")
				}
				return
			}
			if len(rest)+len(payload) >= len(b) {
				t.Fatal("a frame without a header")
			}
			b = rest
		}
	})
}

func TestCutFrameInPieces(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 125} {
		whole := append([]byte{0x81, byte(n)}, bytes.Repeat([]byte{'x'}, n)...)
		for i := range whole {
			if _, _, _, ok := cutFrame(whole[:i]); ok {
				t.Errorf("%d of %d bytes are a frame", i, len(whole))
			}
		}
		if op, payload, rest, ok := cutFrame(whole); !ok || op != opText || len(payload) != n || len(rest) != 0 {
			t.Errorf("%d bytes: %v", n, ok)
		}
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	b := []byte(`{"type":"message","position":"k3:17-9","data":{"due":1790000000,"pad":""}}`)
	if n, ok := number(b, `"due":`); !ok || n != 1790000000 {
		t.Error(n, ok)
	}
	if _, ok := number(b, `"pad":`); ok {
		t.Error("a string is no number")
	}
	if got := text(b, `"position":"`); string(got) != "k3:17-9" {
		t.Errorf("%q", got)
	}
	if got := text(b, `"absent":"`); got != nil {
		t.Errorf("%q", got)
	}
}
